"""What must hold for every call of an operator on boxes alone that the fuzzer draws.

A suppression is decided by overlaps. Those of upright boxes are the reference's to the bit, and so
is what is kept. Those of rotated boxes are beside the reference's: what is kept follows to the bit
from the operator's own overlaps, and is the reference's where no overlap is as near to the
threshold as rounding can carry it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite, isnan

import numpy as np
import pytest
import reference_boxes
import reference_iou
import torch
from box_recipes import OVERLAPS, SOFT, SUPPRESSIONS, BoxCase, BoxRecipe, is_tame
from properties import threads
from soft_rule import assert_soft
from tolerance import assert_close, assert_same_bits
from torch import Tensor

import roiops


def wrong_option(recipe: BoxRecipe) -> str | None:
    """Which the call must refuse."""
    least = recipe.score_threshold
    if recipe.op not in OVERLAPS and not 0 <= recipe.threshold <= 1:
        return "iou_threshold"
    if recipe.op == "nms_padded" and least is not None and isnan(least):
        return "score_threshold"
    if recipe.op in SOFT and not (np.float32(recipe.sigma) > 0 and isfinite(recipe.sigma)):
        return "sigma"
    return "min_score" if recipe.op in SOFT and isnan(recipe.min_score) else None


def refuses(case: BoxCase) -> bool:
    """Whether the call is an error; then it must be the right one."""
    name = wrong_option(case.recipe)
    if name is not None:
        operator = "nms_padded" if case.recipe.op in SUPPRESSIONS else "soft_nms_padded"
        with pytest.raises(RuntimeError, match=rf"^{operator}: `{name}` must .*, but got .*\."):
            case()
    return name is not None


def assert_same(actual: Tensor, expected: Tensor, what: str) -> None:
    """To the bit, but for those of NaN: PyTorch's own conversions from 16 bits change them."""
    assert_same_bits(*(t.where(~t.isnan(), torch.nan) for t in (actual, expected)), what)


def own_overlaps(case: BoxCase, boxes1: Tensor, boxes2: Tensor) -> Tensor:
    boxes1, boxes2 = boxes1.to(case.arithmetic), boxes2.to(case.arithmetic)
    if case.recipe.rotated:
        return roiops.box_iou_rotated(boxes1, boxes2, case.recipe.clockwise)
    return roiops.box_iou(boxes1, boxes2)


def greedy(case: BoxCase, ious: np.ndarray) -> list[int]:
    """What suppression by these overlaps [kept, candidate] keeps of an image."""
    least, idxs = case.recipe.score_threshold, case.idxs
    classes = np.zeros(case.count) if idxs is None else idxs.numpy()
    kept: list[int] = []
    for i in reference_boxes.order_of(case.second):
        if least is not None and not case.second[i] > least:
            continue
        rivals = [j for j in kept if classes[j] == classes[i]]
        if not (ious[rivals, i] > case.recipe.threshold).any():
            kept.append(i)
    return kept[: case.most]


def rotated_overlaps(case: BoxCase) -> np.ndarray | None:
    """The reference's, if none is within its bound of the threshold."""
    boxes = case.boxes.to(case.arithmetic)
    ious = np.zeros((case.count, case.count))
    for i, j in zip(*np.triu_indices(case.count, 1), strict=True):
        expected = reference_iou.rotated(boxes[i], boxes[j], case.recipe.clockwise)
        if abs(expected.value - case.recipe.threshold) <= expected.bound:
            return None
        ious[i, j] = ious[j, i] = expected.value
    return ious


def check_suppression(case: BoxCase) -> None:
    (kept,) = case.kept()
    assert kept.dtype == torch.int64
    own = own_overlaps(case, case.boxes, case.boxes).double().numpy()
    assert kept.tolist() == greedy(case, own)
    if case.recipe.rotated:
        ious = rotated_overlaps(case)
        assert ious is None or kept.tolist() == greedy(case, ious)
        return
    expected = reference_boxes.nms(
        case.boxes.to(case.arithmetic), case.second, case.recipe.threshold, case.idxs,
        case.recipe.score_threshold,
    )  # fmt: skip
    assert kept.tolist() == expected[: case.most]


def check_soft(case: BoxCase) -> None:
    numbers, lowered = case.kept()
    assert numbers.dtype == torch.int64 and lowered.dtype == case.second.dtype
    boxes = case.boxes.to(case.arithmetic)
    if case.recipe.rotated:
        ious = own_overlaps(case, boxes, boxes)
    else:
        ious = reference_boxes.matrix(reference_boxes.iou, boxes, boxes).to(case.arithmetic)
    assert_soft(case, ious.numpy(), numbers.tolist(), lowered)


def check_overlaps(case: BoxCase) -> None:
    (ious,) = case()
    boxes1, boxes2 = (t.to(case.arithmetic) for t in (case.boxes, case.second))
    assert ious.shape == (len(boxes1), len(boxes2)) and ious.dtype == case.arithmetic
    assert (ious.isnan() | ((ious >= 0) & (ious <= 1))).all()
    if not case.recipe.rotated:
        expected = reference_boxes.matrix(reference_boxes.iou, boxes1, boxes2)
        assert_same(ious, expected.to(case.arithmetic), "overlaps and the reference's")
        assert_same(roiops.box_iou(boxes2, boxes1).T, ious, "exchanged sets")
        leaf = case.boxes.clone().requires_grad_()
        differentiated = roiops.box_iou(leaf, case.second).detach()
        assert_same(differentiated + 0.0, ious, "differentiated values")  # -0 is 0
        return
    for i, a in enumerate(boxes1):
        for j, b in enumerate(boxes2):
            value, bound = reference_iou.rotated(a, b, case.recipe.clockwise)
            got = float(ious[i, j])
            if bound < inf and not (isnan(value) and isnan(got)):
                assert abs(got - value) <= bound, (i, j, got, value, bound)


def check_values(recipe: BoxRecipe) -> None:
    """The result is the reference's, or the error that is documented."""
    case = recipe.case()
    if refuses(case):
        return
    check = (
        check_overlaps if recipe.op in OVERLAPS
        else check_soft if recipe.op in SOFT else check_suppression
    )  # fmt: skip
    for part in case.parts:
        check(part)


def check_gradients(recipe: BoxRecipe) -> None:
    """Those of box_iou by both sets lie between the one-sided derivatives."""
    if not all(map(is_tame, recipe.boxes + recipe.second)):  # of another check
        return
    for part in recipe.case().parts:
        leaves = [t.clone().requires_grad_() for t in (part.boxes, part.second)]
        ious = roiops.box_iou(*leaves)
        generator = torch.Generator().manual_seed(recipe.seed)
        grad = torch.randn(ious.shape, generator=generator, dtype=torch.float64).to(ious.dtype)
        actual = torch.autograd.grad(ious, leaves, grad)
        sets = [part.boxes, part.second]
        for got, boxes, others, weights in zip(
            actual, sets, sets[::-1], (grad, grad.T), strict=True
        ):
            assert got.dtype == boxes.dtype
            low, high, terms = reference_iou.gradient(boxes, others, weights)
            # Of what kinks allow, the nearest.
            assert_close(got, torch.clamp(got.double(), low, high), terms)


def check_bits(recipe: BoxRecipe) -> None:
    """Layout, threads and the other images change nothing."""
    case = recipe.case()
    if wrong_option(recipe) is not None:
        return
    with threads(1):
        first = case()
        for a, b in zip(case.of(torch.Tensor.contiguous)(), first, strict=True):
            assert_same(a, b, "layouts")
        for i, part in enumerate(case.parts if recipe.images else []):
            for a, b in zip(part(), first, strict=True):
                assert_same(a, b[i], "one image and all")
    with threads(3):
        for a, b in zip(case(), first, strict=True):
            assert_same(a, b, "threads")


def of_rows(case: BoxCase, rows: Tensor) -> BoxCase:
    return case.of(lambda t: t[rows], max_output=case.most)


def check_company_of_overlaps(case: BoxCase) -> None:
    """An overlap is the same in any row and column."""
    (ious,) = case()
    for i in range(min(case.count, 4)):
        pair = BoxCase(case.recipe, case.boxes[i : i + 1], case.second.flip(0))
        assert_same(pair()[0][0], ious[i].flip(0), "one box and all")


def check_parts(recipe: BoxRecipe) -> None:
    """Boxes of one class, or those above the threshold of scores, are treated as if alone; fewer
    are asked for, and the first of them come."""
    case = recipe.case()
    if wrong_option(recipe) is not None:
        return
    for part in case.parts:
        if recipe.op in OVERLAPS:
            check_company_of_overlaps(part)
            continue
        whole = part.of(torch.Tensor.contiguous, max_output=part.count)
        everything = whole.kept()
        for cut, full in zip(part.kept(), everything, strict=True):
            assert_same(cut, full[: part.most], "the first of them")
        if part.idxs is not None:
            for number in part.idxs.unique():
                check_subset(whole, everything, part.idxs == number)
        if recipe.score_threshold is not None:
            eligible = part.second > recipe.score_threshold
            check_subset(whole, everything, eligible, score_threshold=None)


def check_subset(
    whole: BoxCase, everything: tuple[Tensor, ...], chosen: Tensor, **options: None
) -> None:
    rows = chosen.nonzero().flatten()
    alone = whole.of(lambda t: t[rows], max_output=len(rows), **options).kept()
    among = chosen[everything[0]]
    for subset, full in zip((rows[alone[0]], *alone[1:]), everything, strict=True):
        assert_same(subset, full[among], "a class and all")


BoxCheck = Callable[[BoxRecipe], None]
BOX_CHECKS: dict[str, BoxCheck] = {
    "values": check_values,
    "bits": check_bits,
    "parts": check_parts,
}


def box_checks(op: str) -> dict[str, BoxCheck]:
    return BOX_CHECKS | ({"gradients": check_gradients} if op == "box_iou" else {})
