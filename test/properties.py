"""What must hold for every call that the fuzzer draws.

Each check takes a recipe, and raises, or says of how many numbers it would have noticed an error.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from math import prod

import numpy as np
import reference
import torch
from cases import Case, features, grad_of
from recipes import Recipe
from test_layouts import FEW
from tolerance import assert_close, assert_same_bits
from torch import Tensor


def generator_of(recipe: Recipe) -> torch.Generator:
    return torch.Generator().manual_seed(recipe.seed + 1)


def underflow(dtype: torch.dtype) -> float:
    """What is lost where sums fall below the normal numbers."""
    return 64 * torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).tiny


def growth(case: Case) -> float:
    """By how much sums of many samples may exceed the tolerance, which is that of a few terms: a
    unit in the last place for each term."""
    if case.op.columns == 5:  # samples are not merged
        counts = [np.bincount(taps.bin).max(initial=0) for taps in reference.all_taps(case)]
        return 1 + max(counts, default=0) / 32
    return 1 + max(case.options.sampling_ratio, 0) / 32 if case.op.samples else 1


def telling(expected: Tensor, slack: Tensor) -> int:
    """Of how many numbers a wrong result would be noticed."""
    return int((expected.abs() > 8 * slack).sum())


def check_values(recipe: Recipe) -> int:
    """The result is the reference's."""
    case = recipe.in_layout(recipe.case())
    expected, slack = reference.values(case)
    magnitude = reference.largest_of(case) + abs(case.options.extrapolation_value)
    magnitude *= growth(case)
    actual = case()
    assert actual.dtype == case.dtype
    assert_close(actual, expected, magnitude, slack + underflow(case.dtype))
    return telling(expected, slack)


def summed(gradient: Tensor, case: Case) -> Tensor:
    """Sums are those of the features' type, whatever the boxes' is."""
    wide = gradient.dtype == torch.float64 and case.dtype != torch.float64
    return gradient.float() if wide else gradient


def check_gradients(recipe: Recipe) -> int:
    """Those by the features, the boxes and the offsets are the reference's."""
    case = recipe.in_layout(recipe.case())
    grad = grad_of(case, generator_of(recipe))
    expected = reference.input_gradients(case, grad)
    magnitude = reference.input_gradients(case, grad.abs())
    grown, compared = growth(case), 0
    for actual, (exact, slack), (terms, _) in zip(
        case.input_gradients(grad), expected, magnitude, strict=True
    ):
        assert_close(actual, exact, grown * terms, slack)
        compared += telling(exact, slack)
    if not recipe.row.differentiates_boxes(recipe.options):
        return compared
    bound = reference.box_gradient(case, grad)
    by_boxes, by_extra = case.box_gradients(grad)
    assert by_boxes.dtype == case.boxes.dtype
    assert_close(summed(by_boxes, case), bound.by_boxes, grown * bound.magnitude, bound.slack)
    if bound.by_extra is not None:
        magnitude = grown * bound.extra_magnitude
        assert_close(summed(by_extra, case), bound.by_extra, magnitude, bound.extra_slack)
    return compared + telling(bound.by_boxes, bound.slack)


def check_transposes(recipe: Recipe) -> int:
    """<A x, g> = <x, A^T g> and <J t, g> = <t, J^T g>, in float64."""
    case = recipe.case(dtype="float64", boxes_dtype="float64").linear
    generator = generator_of(recipe)
    grad = grad_of(case, generator)
    left = (case() * grad).sum()
    gradients = case.input_gradients(grad)
    right = sum((m * g).sum() for m, g in zip(case.maps, gradients, strict=True))
    scale = float((case.map(torch.abs)() * grad.abs()).sum())
    assert abs(float(left - right)) <= 1e-11 * scale + 1e-300, (left, right, scale)
    if not recipe.row.differentiates_boxes(recipe.options):
        return int(scale > 0)
    bound = reference.box_gradient(case, grad)
    by_boxes, by_extra = case.box_gradients(grad)
    tangent = features(generator, *case.boxes.shape)
    right, scale = (by_boxes * tangent).sum(), (bound.magnitude * tangent.abs()).sum()
    extra_tangent = None
    if bound.by_extra is not None:
        extra_tangent = features(generator, *case.extra.shape)
        right = right + (by_extra * extra_tangent).sum()
        scale = scale + (bound.extra_magnitude * extra_tangent.abs()).sum()
    left = (case.box_jvp(tangent, extra_tangent) * grad).sum()
    assert abs(float(left - right)) <= 1e-11 * float(scale) + 1e-300, (left, right, scale)
    return int(scale > 0)


@contextmanager
def threads(count: int):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def everything(case: Case, grad: Tensor) -> list[Tensor]:
    tangent = torch.ones_like(case.boxes)
    return [case(), *case.input_gradients(grad), *case.box_gradients(grad), case.box_jvp(tangent)]


def check_bits(recipe: Recipe) -> int:
    """Layout, threads, the order of boxes and other boxes change nothing."""
    case = recipe.in_layout(recipe.case())
    grad = recipe.laid_out(grad_of(case, generator_of(recipe)))
    dense = case.map(torch.Tensor.contiguous)
    with threads(1):
        first = everything(case, grad)
        few = recipe.channels < FEW and not recipe.row.takes_maximum
        if not few:  # which are summed plane by plane if they are planes
            for a, b in zip(everything(dense, grad.contiguous()), first, strict=True):
                assert_same_bits(a, b, "layouts")
        order = torch.arange(len(case.boxes)).flip(0)
        assert_same_bits(case.rows(order)(), first[0][order], "orders of boxes")
        for k in range(len(case.boxes)):
            assert_same_bits(case.rows(slice(k, k + 1))()[0], first[0][k], "one box and all")
    with threads(3):
        for a, b in zip(everything(case, grad), first, strict=True):
            assert_same_bits(a, b, "threads")
    return int(first[0].count_nonzero())


def place_specials(case: Case, generator: torch.Generator) -> None:
    """Where some box reads, if any does, and anywhere."""
    specials = (torch.nan, torch.inf, -torch.inf)
    taps = [taps for taps in reference.all_taps(case) if len(taps.bin) > 0]
    for m in case.maps:
        for value in specials if m.numel() > 0 else ():
            where = torch.randint(m.numel(), (1,), generator=generator)
            m.view(-1)[where] = value
    for value in specials if taps and case.output_channels > 0 else ():
        box = taps[int(torch.randint(len(taps), (1,), generator=generator))]
        t = int(torch.randint(len(box.bin), (1,), generator=generator))
        channel = int(torch.randint(case.output_channels, (1,), generator=generator))
        if case.op.position_sensitive:
            channel = channel * prod(case.options.output_size) + int(box.bin[t])
        case.maps[box.level][box.image, channel, int(box.y[t]), int(box.x[t])] = value


def check_special_pixels(recipe: Recipe) -> int:
    """NaN and inf reach the bins that the reference says, and no other: how many they reach."""
    case = recipe.case()
    place_specials(case, generator_of(recipe))
    case = recipe.in_layout(case)
    expected, _ = reference.values(case)
    sure = reference.certain(case).expand_as(expected)
    actual = case()
    assert actual.shape == case.output_shape
    assert torch.equal(actual[sure].isfinite(), expected[sure].isfinite())
    return int((~expected[sure].isfinite()).sum())


CHECKS: dict[str, Callable[[Recipe], int]] = {
    "values": check_values,
    "gradients": check_gradients,
    "transposes": check_transposes,
    "bits": check_bits,
    "special_pixels": check_special_pixels,
}
# Derivatives of enormous scales, features and offsets leave float32: these checks draw others.
ENORMOUS = {"values": True, "gradients": False, "transposes": False, "bits": True,
            "special_pixels": False}  # fmt: skip
