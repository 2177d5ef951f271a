"""What the fuzzer draws: recipes of calls, bounded so that the slow reference stays affordable.

Of the boxes of a call one is ordinary and lies on the map, but for few calls; beside it are others, half
of whose numbers are ordinary, a quarter where rules change, and a quarter anything that a float can
hold. Empty tensors and enormous scales are rare: nearly every call must have numbers to compare.
"""

from __future__ import annotations

from math import copysign, inf, isqrt, nan
from typing import TypeVar

from cases import Options
from hypothesis import strategies as st
from operators import Op
from recipes import LAYOUTS, Recipe

# The reference lists every sample of a box: at most so many, whatever the options.
MOST_SAMPLES = 16384
MOST_VALUES = 4096  # channels times bins

HOSTILE = (nan, inf, -inf, 0.0, -0.0, 1e-45, -1e-45, 1e-38, 1e9, -1e9, 1e30, -1e30, 3.4e38, -3.4e38,
           2.0**24, 2.0**31, -(2.0**31), 2.0**63, 65504.0, 65520.0, 1e300, -1e300, 5e-324)  # fmt: skip
ANY_FLOAT = st.one_of(st.sampled_from(HOSTILE), st.floats(width=32), st.floats(width=64))
T = TypeVar("T")


def mostly(usual: st.SearchStrategy[T], rare: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """The rare in one draw of sixteen; one_of() would take a repeated strategy once."""
    return st.sampled_from((usual,) * 15 + (rare,)).flatmap(lambda chosen: chosen)


SIDES = st.one_of(st.integers(1, 14), st.sampled_from((1, 2, 31, 32, 33, 65)))
SIZES = mostly(
    st.one_of(st.tuples(SIDES, SIDES), st.sampled_from(((1, 200), (200, 1), (9, 8), (33, 17)))),
    st.sampled_from(((0, 5), (5, 0), (0, 0))),
)
CHANNELS = mostly(st.sampled_from((1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 48, 65)), st.just(0))
BINS = st.one_of(
    st.tuples(st.integers(1, 7), st.integers(1, 7)), st.sampled_from(((1, 1), (1, 17), (17, 1)))
)
SCALES = st.one_of(
    st.sampled_from((1.0, 0.5, 0.25, 1 / 16, 0.3, 3.7)),
    st.floats(1 / 64, 64),
    mostly(st.floats(0.1, 10), st.floats(1e-6, 1e6)),
)
HOSTILE_SCALES = st.sampled_from((1e-30, 1e-37, 1e30, 3e38))
OFFSETS = st.sampled_from((1.0, 1.0, 0.3, 0.0, 30.0))
HOSTILE_OFFSETS = st.sampled_from((1e9, 1e30, inf, nan))
TYPES = ("float64", "float32", "float16", "bfloat16")


def coordinates(n: int) -> st.SearchStrategy[float]:
    """In pixels of an axis of `n`: eighths, anything near, where rules change, anything."""
    near = st.floats(-3.0 * n - 3, 4.0 * n + 3, width=32)
    edges = st.sampled_from((-1.0, -0.5, 0.0, 0.5, n - 1.0, n - 0.5, float(n), n + 0.5, n + 1.0))
    eighths = st.integers(-16, 8 * n + 16).map(lambda i: i / 8)
    return st.one_of(eighths, near, edges, ANY_FLOAT)


@st.composite
def spans(draw: st.DrawFn, n: int) -> tuple[float, float]:
    """Two ends: of any kind, or a start and a size, which may be tiny, whole or many maps."""
    if draw(st.booleans()):
        return draw(coordinates(n)), draw(coordinates(n))
    start = draw(st.floats(-2.0, n + 2.0, width=32))
    size = draw(st.one_of(st.floats(0, 2.0 * n + 2, width=32), st.integers(-2, n).map(float),
                          st.sampled_from((1e-6, 1e-3, 1.0, 1e5))))  # fmt: skip
    return start, start + size


@st.composite
def ordinary(draw: st.DrawFn, n: int) -> tuple[float, float]:
    """Ends whose middle lies on the axis."""
    middle, size = (
        draw(st.one_of(st.integers(8 * a, 8 * b).map(lambda i: i / 8), st.floats(a, b, width=32)))
        for a, b in ((0, n), (1, n + 2))
    )
    return middle - size / 2, middle + size / 2


@st.composite
def boxes(
    draw: st.DrawFn, op: Op, size: tuple[int, int], scale: float, hostile: bool
) -> tuple[float, ...]:
    (y1, y2), (x1, x2) = (draw(spans(n) if hostile else ordinary(n)) for n in size)
    if op.columns == 5:
        angles = st.floats(-7, 7, width=32)
        angle = draw(st.one_of(angles, ANY_FLOAT) if hostile else angles)
        middle = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        return (*(v / scale for v in middle), angle)
    if op.has_indices:
        last_y, last_x = (float(max(n - 1, 1)) for n in size)
        return y1 / last_y, x1 / last_x, y2 / last_y, x2 / last_x
    return x1 / scale, y1 / scale, x2 / scale, y2 / scale


@st.composite
def options(draw: st.DrawFn, op: Op, enormous: bool) -> Options:
    height, width = size = draw(BINS)
    bins = height * width
    listed = bins**2 if op.has_offset else bins  # the reference lists every bin for each
    most = min(op.most_samples, max(isqrt(MOST_SAMPLES // listed), 1))
    ratio = st.one_of(st.integers(-1, 4), st.integers(-(2**62), 0), st.integers(1, most))
    return Options(
        size,
        spatial_scale=draw(mostly(SCALES, HOSTILE_SCALES) if enormous else SCALES),
        sampling_ratio=draw(ratio),
        aligned=draw(st.booleans()),
        clockwise=draw(st.booleans()),
        method=draw(st.sampled_from(("bilinear", "nearest"))),
        extrapolation_value=draw(st.sampled_from((0.0, -2.5, 0.75, 6e4))),
        gamma=draw(st.sampled_from((0.1, 0.1, 0.3, 0.0, -0.5, 7.0, 1e3))),
        offset=draw(st.booleans()),
        canonical_scale=draw(st.sampled_from((1, 4, 224, 2**62))),
        canonical_level=draw(st.sampled_from((0, 1, 4, -5, 2**62, -(2**62)))),
    )


def tamed(value: float) -> float:
    """What float32 cannot hold is infinite there; in float64, sums of its multiples would be."""
    return copysign(1e60, value) if 1e60 < abs(value) < inf else value


@st.composite
def lists_of_boxes(
    draw: st.DrawFn, op: Op, size: tuple[int, int], scale: float
) -> list[tuple[float, ...]]:
    """An ordinary one among hostile ones, but for few lists."""
    drawn = draw(st.lists(boxes(op, size, scale, True), max_size=3))
    if draw(mostly(st.just(True), st.just(False))):
        drawn.insert(draw(st.integers(0, len(drawn))), draw(boxes(op, size, scale, False)))
    return drawn


@st.composite
def recipes(draw: st.DrawFn, op: Op, enormous: bool) -> Recipe:
    """enormous: also scales, features and offsets whose derivatives leave float32."""
    size, chosen = draw(SIZES), draw(options(op, enormous))
    bins = chosen.output_size[0] * chosen.output_size[1]
    channels = draw(CHANNELS)
    channels = min(channels, MOST_VALUES // bins // (bins if op.position_sensitive else 1))
    dtype = draw(st.sampled_from(TYPES))
    scale = 1.0 if op.has_indices else chosen.spatial_scale
    wide = dtype in ("float64", "float32") and enormous
    return Recipe(
        op.name,
        chosen,
        size,
        images=draw(st.integers(1, 3)),
        channels=channels,
        dtype=dtype,
        boxes_dtype=draw(st.sampled_from(TYPES)),
        layout=draw(st.sampled_from(sorted(LAYOUTS))),
        magnitude=draw(st.sampled_from((1.0, 1e3, 1e-3, 1e30, 1e-30))) if wide else 1.0,
        offset=draw(mostly(OFFSETS, HOSTILE_OFFSETS) if enormous else OFFSETS),
        boxes=tuple(
            tuple(v if enormous else tamed(v) for v in box)
            for box in draw(lists_of_boxes(op, size, scale))
        ),
        seed=draw(st.integers(0, 2**16)),
    )
