"""What the fuzzer draws for operators on boxes alone: see strategies.py."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isnan, nan, nextafter, pi

import reference_boxes
from box_ops import HARD_BOXES
from box_recipes import LAYOUTS, OVERLAPS, SOFT, BoxRecipe, Row, is_tame
from hypothesis import strategies as st
from strategies import ANY_FLOAT, TYPES

EIGHTHS = st.integers(-8, 80).map(lambda i: i / 8)
SIDES = st.one_of(st.integers(0, 64).map(lambda i: i / 8), st.floats(0, 20, width=32))
# Sizes whose areas are at the ends of the types' ranges.
UNITS = st.one_of(
    st.just(1.0),
    st.sampled_from((1e-45, 1e-24, 1e-22, 1e-20, 1e-19, 1e17, 1e18, 1e19, 1e37, 1e-162, 1e153)),
)
THIN = (1.0, 1.0, 1e-3, 1e-6, 1e-12, 1e-30)
TINY_OR_HUGE = st.sampled_from((1e-45, 1e-30, 1e-22, 1e-18, 1e15, 1e18, 1e19, 1e30, 1e150))
ANGLES = st.one_of(
    st.sampled_from((0.0, pi / 2, -pi / 2, pi, pi / 4, 0.3, 1e-7)), st.floats(-9, 9, width=32)
)
SCORES = st.one_of(
    st.sampled_from((0.5, 0.25, 0.75, 1.0)),
    st.floats(0, 1, width=32),
    st.sampled_from((nan, inf, -inf, 0.0, -0.0, -1.0, 1e-45, 1e-320, 3e38)),
)
THRESHOLDS = st.one_of(
    st.sampled_from((0.5, 0.25, 1 / 3, 0.3, 0.7, 0.0, 1.0, 1e-30, 1e-50)), st.floats(0, 1)
)
# Which the call must refuse.
FLAWS: dict[str, tuple[float, ...]] = {
    "threshold": (-0.1, 1.5, nan, inf), "score_threshold": (nan,), "sigma": (0.0, -1.0, 1e-50, nan, inf),
    "min_score": (nan,),
}  # fmt: skip
CLASSES = {
    "int64": (0, 1, -3, 2**62, -(2**63), 2**63 - 1), "int32": (0, 1, -(2**31)), "int8": (0, -128, 1),
    "uint8": (0, 1, 255), "bool": (0, 1),
}  # fmt: skip
MANY = 1100  # more than a block of candidates


@st.composite
def ordinary(draw: st.DrawFn, rotated: bool) -> Row:
    x, y, w, h = (draw(s) for s in (EIGHTHS, EIGHTHS, SIDES, SIDES))
    h *= draw(st.sampled_from(THIN))
    if rotated:
        return x, y, w, h, draw(ANGLES)
    return x, y, x + w, y + h


@st.composite
def relatives(draw: st.DrawFn, box: Row, rotated: bool) -> Row:
    """The same box, one beside it, a part of it, one that is a unit off, reversed, far larger."""
    a, b, c, d, *angle = box
    w, h = (c, d) if rotated else (c - a, d - b)
    across = draw(st.sampled_from((0.0, 1.0, 0.5, 1 / 3, -1.0, 0.25)))
    down = draw(st.sampled_from((0.0, 0.0, 1.0, 0.5)))
    factor = draw(st.one_of(st.sampled_from((1.0, -1.0, 0.0)), TINY_OR_HUGE))
    how = draw(
        st.sampled_from(("same", "moved", "moved", "part", "off", "times", "turned", "stretched"))
    )
    if how == "moved":
        x, y = across * w, down * h
        return (a + x, b + y, c, d, *angle) if rotated else (a + x, b + y, c + x, d + y)
    if how == "part":
        return (a, b, w * 0.5, h, *angle) if rotated else (a, b, a + w * 0.5, d)
    if how == "off":
        i, to = draw(st.integers(0, len(box) - 1)), draw(st.sampled_from((-inf, inf)))
        step = nextafter(box[i], to) - box[i]
        return (*box[:i], box[i] + step * 2.0 ** draw(st.sampled_from((0, 29))), *box[i + 1 :])
    if how == "times":
        return (*(v * factor for v in box[:4]), *angle)
    if how == "stretched":
        w, h = w * factor, h / (factor or 1.0)
        return (a, b, w, h, *angle) if rotated else (a, b, a + w, b + h)
    if how == "turned":
        return (a, b, d, c, angle[0] + pi / 2) if rotated else (c, d, a, b)
    return box


@st.composite
def rows(
    draw: st.DrawFn, rotated: bool, tame: bool, others: tuple[Row, ...] = ()
) -> tuple[Row, ...]:
    """Also relatives of `others`. tame: only such as have derivatives."""
    columns = 5 if rotated else 4
    drawn: list[Row] = []
    for _ in range(draw(st.sampled_from((0, 1, 2, 3, 5, 8)))):
        kinds = [ordinary(rotated)]
        if drawn or others:
            kinds += [relatives(draw(st.sampled_from((*drawn, *others))), rotated)] * 3
        if not tame:
            kinds.append(st.tuples(*[ANY_FLOAT] * columns))
            kinds.append(st.sampled_from([(*b, 0.3)[:columns] for b in HARD_BOXES.values()]))
        box = draw(draw(st.sampled_from(kinds)))  # one_of() would take a repeated kind once
        if not tame or is_tame(box):
            drawn.append(box)
    return tuple(drawn)


@st.composite
def sets(draw: st.DrawFn, count: int, rotated: bool, tame: bool) -> list[tuple[Row, ...]]:
    """One or two, in the same unit."""
    drawn = [draw(rows(rotated, tame))]
    drawn += [draw(rows(rotated, tame, drawn[0])) for _ in range(count - 1)]
    unit = 1.0 if tame else draw(UNITS)
    return [tuple((*(v * unit for v in box[:4]), *box[4:]) for box in each) for each in drawn]


@st.composite
def numbers(draw: st.DrawFn) -> tuple[str, tuple[int, ...]]:
    """Of classes, and their type."""
    dtype = draw(st.sampled_from(sorted(CLASSES)))
    return dtype, draw(st.lists(st.sampled_from(CLASSES[dtype]), min_size=1, max_size=4).map(tuple))


def thresholds_of(recipe: BoxRecipe) -> list[float]:
    """The overlaps of the drawn boxes, which are not above themselves."""
    case = replace(recipe, more=0, images=0, layout="contiguous").case()
    boxes = case.boxes.to(case.arithmetic)
    ious = reference_boxes.matrix(
        reference_boxes.iou_function(boxes, recipe.clockwise), boxes, boxes
    ).to(case.arithmetic)
    return sorted({v for v in ious.flatten().tolist() if 0 < v < 1}) or [0.5]


@st.composite
def spoiled(draw: st.DrawFn, recipe: BoxRecipe) -> BoxRecipe:
    """With an option that the call must refuse."""
    own = ("sigma", "min_score") if recipe.op in SOFT else ("score_threshold",)
    names = ("threshold", *(own if recipe.op in ("nms_padded", *SOFT) else ()))
    name = draw(st.sampled_from(names))
    return replace(recipe, **{name: draw(st.sampled_from(FLAWS[name]))})


@st.composite
def box_recipes(draw: st.DrawFn, op: str, check: str) -> BoxRecipe:
    tame, overlaps, padded = check == "gradients", op in OVERLAPS, op.endswith("padded")
    rotated = op.endswith("rotated") or ((padded or op in SOFT) and draw(st.booleans()))
    takes_classes = op not in ("nms", *OVERLAPS) and (op == "batched_nms" or draw(st.booleans()))
    classes_dtype, classes = draw(numbers())
    more = (0, 0, 3, 20) if check != "bits" or overlaps or op in SOFT else (0, 20, 70, MANY)
    boxes, *second = draw(sets(1 + overlaps, rotated, tame))
    scores = draw(st.lists(SCORES, min_size=1, max_size=8).map(tuple))
    recipe = BoxRecipe(
        op,
        boxes=boxes,
        second=second[0] if second else (),
        scores=scores,
        classes=classes if takes_classes else None,
        rotated=rotated,
        more=draw(st.sampled_from(more)),
        images=draw(st.integers(0, 3)) if padded or overlaps else 0,
        dtype=draw(st.sampled_from(TYPES)),
        second_dtype=draw(st.sampled_from(TYPES)),
        classes_dtype=classes_dtype,
        layout=draw(st.sampled_from(sorted(LAYOUTS))),
        threshold=draw(THRESHOLDS),
        max_output=draw(st.sampled_from((5, 40, 1, 0, 2000))),
        clockwise=draw(st.booleans()),
        method=draw(st.sampled_from(("linear", "gaussian"))),
        sigma=draw(st.sampled_from((0.5, 0.1, 7.0, 1e-30, 1e30))),
        min_score=draw(st.sampled_from((1e-3, 0.1, 0.3, 0.0, -1.0, -inf, inf))),
        seed=draw(st.integers(0, 2**16)),
    )
    if op == "nms_padded" and draw(st.booleans()):
        least = draw(st.sampled_from([s for s in (*scores, -inf) if not isnan(s)]))
        recipe = replace(recipe, score_threshold=least)
    if not overlaps and draw(st.booleans()):
        recipe = replace(recipe, threshold=draw(st.sampled_from(thresholds_of(recipe))))
    return draw(spoiled(recipe)) if not overlaps and draw(st.integers(0, 9)) == 9 else recipe
