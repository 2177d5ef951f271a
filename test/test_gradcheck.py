"""Derivatives of both modes and of second order against finite differences."""

from __future__ import annotations

import pytest
import reference
import torch
from cases import Case, Options, make_case
from op_table import OPS, Op, each_op, label, some_ops
from torch.autograd import gradcheck, gradgradcheck

# Off the pixels, and with sample grids that a small step does not change.
SMOOTH_BOXES = {
    "inside": (1.137, 0.731, 4.571, 3.979),
    "over_two_borders": (-1.383, 1.123, 2.627, 5.337),
    "over_the_far_corner": (3.271, 2.823, 7.417, 6.691),
    "small": (2.171, 1.263, 2.629, 1.817),
    "reversed": (4.571, 3.979, 1.137, 0.731),
}


def smooth_options(op: Op) -> list[Options]:
    if op.has_indices:
        return [Options((2, 3)), Options((1, 4), extrapolation_value=0.5),
                Options((3, 2), method="nearest")]  # fmt: skip
    if not op.samples:
        return [Options((2, 3)), Options((3, 2), 0.5)]
    aligned = (False, True) if "aligned" in op.option_names else (False,)
    options = [Options((2, 3), 1.0, ratio, a) for a in aligned for ratio in (-1, 2)]
    return [*options, Options((3, 2), 0.5, 3, True, clockwise=True, offset=False)]


smooth = pytest.mark.parametrize(
    "op, options", [pytest.param(op, o, id=label(op, o)) for op in OPS for o in smooth_options(op)]
)


def small_case(op: Op, options: Options, device: str, generator: torch.Generator) -> Case:
    case = make_case(op, options, generator, (5, 6), SMOOTH_BOXES, 2, 2 - op.position_sensitive)
    if op.has_image_column:  # a step must not name another image
        case.boxes[:, 0] += 0.25
    if op.columns == 5:
        case.boxes[:, 5] += 0.1
    if op.kinks == "right":
        margin = min(taps.margin for taps in reference.all_taps(case))
        assert margin >= 1e-4, "a sample sits on a kink"
    return case.to(device)


def subset(case: Case, chosen: list[int]):
    """The call as a function of some of its tensors, and these."""

    def run(*some: torch.Tensor) -> torch.Tensor:
        tensors = list(case.tensors)
        for i, tensor in zip(chosen, some, strict=True):
            tensors[i] = tensor
        return case.run(*tensors)

    return run, [case.tensors[i].clone().requires_grad_() for i in chosen]


CHECKS = {"check_forward_ad": True, "check_batched_grad": True}


@smooth
def test_gradcheck_by_each_tensor(op: Op, options, device, generator) -> None:
    case = small_case(op, options, device, generator)
    for i, need in enumerate(case.needs):
        if need:
            run, leaves = subset(case, [i])
            assert gradcheck(
                run, leaves, check_undefined_grad=True, check_batched_forward_grad=True, **CHECKS
            )


@smooth
def test_gradcheck_by_all_tensors(op: Op, options, device, generator) -> None:
    case = small_case(op, options, device, generator)
    run, leaves = subset(case, [i for i, need in enumerate(case.needs) if need])
    assert gradcheck(run, leaves, fast_mode=True, **CHECKS)


@smooth
def test_gradgradcheck_by_input(op: Op, options, device, generator) -> None:
    case = small_case(op, options, device, generator)
    run, leaves = subset(case, list(range(len(case.maps))))
    # The op is linear: squared, it has a second derivative that is not zero.
    assert gradgradcheck(
        lambda *maps: run(*maps) ** 2, leaves, check_fwd_over_rev=True, check_batched_grad=True,
        check_undefined_grad=False, fast_mode=op.pyramid,
    )  # fmt: skip


@each_op
def test_second_derivative_through_boxes_raises_by_name(op: Op, device, generator) -> None:
    case = small_case(op, op.few_options[0], device, generator).leaves()
    gradients = torch.autograd.grad(case().square().sum(), case.trainable, create_graph=True)
    others = [t for t in case.trainable if all(t is not m for m in case.maps)]
    for leaf in others:
        for first in gradients:
            with pytest.raises(RuntimeError, match=f"{op.name}: second derivatives"):
                torch.autograd.grad(first.sum(), leaf, retain_graph=True)
    if not others:  # constant in the boxes: the second derivative by the maps is all there is
        assert torch.autograd.grad(gradients[0].sum(), case.maps[0])[0].any()
        return
    with pytest.raises(RuntimeError, match=f"{op.name}: second derivatives"):
        torch.autograd.grad(gradients[len(case.maps)].sum(), case.maps[0])


@each_op
def test_vectorized_jacobian_equals_the_loop(op: Op, device, generator) -> None:
    case = small_case(op, op.few_options[0], device, generator)
    run, leaves = subset(case, [i for i, need in enumerate(case.needs) if need])
    jacobian = torch.autograd.functional.jacobian
    leaves = tuple(t.detach() for t in leaves)
    expected = jacobian(run, leaves)
    for strategy in ("reverse-mode", "forward-mode"):
        actual = jacobian(run, leaves, vectorize=True, strategy=strategy)
        for a, b in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, b)


@some_ops(lambda op: op.has_offset)
def test_gradient_by_offsets_reaches_every_bin(op: Op, device, generator) -> None:
    case = small_case(op, Options((2, 3), 1.0, 2), device, generator).leaves()
    case().square().sum().backward()
    inside = case.extra.grad[0]
    assert inside.shape == (2, 2, 3) and inside.all()
