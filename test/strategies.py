"""What the fuzzer draws: recipes of calls, bounded so that the slow reference stays affordable.

Half of the numbers are ordinary, a quarter lies where rules change, and a quarter is anything that a
float can hold.
"""

from __future__ import annotations

from math import copysign, inf, isqrt, nan

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
SIDES = st.one_of(st.integers(1, 14), st.sampled_from((1, 2, 31, 32, 33, 65)))
SIZES = st.one_of(
    st.tuples(SIDES, SIDES), st.sampled_from(((0, 5), (5, 0), (0, 0), (1, 200), (200, 1)))
)
CHANNELS = st.sampled_from((0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 48, 65))
BINS = st.one_of(
    st.tuples(st.integers(1, 7), st.integers(1, 7)), st.sampled_from(((1, 1), (1, 17), (17, 1)))
)
SCALES = st.one_of(
    st.sampled_from((1.0, 0.5, 0.25, 1 / 16, 0.3, 3.7)),
    st.floats(1e-6, 1e6),
)
HOSTILE_SCALES = st.sampled_from((1e-30, 1e-37, 1e30, 3e38))
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
def boxes(draw: st.DrawFn, op: Op, size: tuple[int, int], scale: float) -> tuple[float, ...]:
    (x1, x2), (y1, y2) = draw(spans(size[1])), draw(spans(size[0]))
    if op.columns == 5:
        angle = draw(st.one_of(st.floats(-7, 7, width=32), ANY_FLOAT))
        middle = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        return (*(v / scale for v in middle), angle)
    if op.has_indices:
        last_y, last_x = (float(max(n - 1, 1)) for n in size)
        return y1 / last_y, x1 / last_x, y2 / last_y, x2 / last_x
    return x1 / scale, y1 / scale, x2 / scale, y2 / scale


@st.composite
def options(draw: st.DrawFn, op: Op, enormous: bool) -> Options:
    height, width = size = draw(BINS)
    most = min(op.most_samples, max(isqrt(MOST_SAMPLES // (height * width)), 1))
    ratio = st.one_of(st.integers(-1, 4), st.integers(-(2**62), 0), st.integers(1, most))
    return Options(
        size,
        spatial_scale=draw(st.one_of(SCALES, HOSTILE_SCALES) if enormous else SCALES),
        sampling_ratio=draw(ratio),
        aligned=draw(st.booleans()),
        clockwise=draw(st.booleans()),
        method=draw(st.sampled_from(("bilinear", "nearest"))),
        extrapolation_value=draw(st.sampled_from((0.0, -2.5, 0.75, 6e4))),
        gamma=draw(st.sampled_from((0.1, 0.0, -0.5, 7.0, 1e3))),
        offset=draw(st.booleans()),
        canonical_scale=draw(st.sampled_from((1, 4, 224, 2**62))),
        canonical_level=draw(st.sampled_from((0, 1, 4, -5, 2**62, -(2**62)))),
    )


def tamed(value: float) -> float:
    """What float32 cannot hold is infinite there; in float64, sums of its multiples would be."""
    return copysign(1e60, value) if 1e60 < abs(value) < inf else value


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
        offset=draw(
            st.sampled_from((1.0, 0.0, 30.0, *((1e9, 1e30, inf, nan) if enormous else ())))
        ),
        boxes=tuple(
            tuple(v if enormous else tamed(v) for v in box)
            for box in draw(st.lists(boxes(op, size, scale), max_size=4))
        ),
        seed=draw(st.integers(0, 2**16)),
    )
