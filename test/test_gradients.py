"""First and higher derivatives, in both modes, by the input and by the boxes."""

from __future__ import annotations

import pytest
import torch
from boxes import as_rois, finite_boxes, hard_boxes, non_finite_boxes
from op_table import DTYPES, Op, Options, each_op, each_option, few_options
from reference import geometry_of, rois_axes
from tolerance import HALF_TYPES, assert_close, assert_same_bits
from torch.autograd import gradcheck, gradgradcheck

H, W = 11, 13


def features(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Row by row."""
    return (a * b).flatten(1).sum(1)


def assert_equal_products(left, right, scale, names) -> None:
    error = (left - right).abs()
    bad = ~(error <= 1e-12 * scale)
    assert not bad.any(), [
        (names[k], float(left[k]), float(right[k])) for k in bad.nonzero().flatten().tolist()
    ]


@each_option
def test_backward_is_adjoint_of_forward(op: Op, options, device, generator) -> None:
    """<A x, g> = <x, A^T g>, box by box: each has an image of its own."""
    boxes = hard_boxes(H, W)
    rois = as_rois(boxes, options.spatial_scale, images=len(boxes)).to(device)
    x = features(generator, len(boxes), 3, H, W).to(device)
    grad = features(generator, len(boxes), 3, *options.output_size).to(device)
    left = dot(op.overload(x, rois, *options.args), grad)
    right = dot(x, op.input_gradient(grad, rois, x.shape, *options.args))
    scale = dot(op.overload(x.abs(), rois, *options.args), grad.abs())
    assert_equal_products(left, right, scale, list(boxes))
    assert (left != 0).sum() > len(boxes) // 4


@each_option
def test_box_gradient_is_adjoint_of_box_jvp(op: Op, options, device, generator) -> None:
    """<J t, g> = <t, J^T g>, also where the derivative jumps."""
    boxes = hard_boxes(H, W)
    rois = as_rois(boxes, options.spatial_scale).to(device)
    x = features(generator, 2, 3, H, W).to(device)
    grad = features(generator, len(boxes), 3, *options.output_size).to(device)
    tangent = features(generator, len(boxes), 5).to(device)
    left = dot(op.box_jvp(x, rois, tangent, *options.args), grad)
    right = dot(tangent, op.box_gradient(grad, x, rois, *options.args))
    size = options.spatial_scale * x.abs().max() * 4 * tangent.abs().sum(1)
    assert_equal_products(left, right, size * grad.abs().flatten(1).sum(1), list(boxes))
    assert (left != 0).sum() > len(boxes) // 4


@each_option
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=("float64", "float32"))
def test_box_gradient_equals_reference(op: Op, options, dtype, device, generator) -> None:
    boxes = hard_boxes(H, W)
    # As they are, many boxes have all samples on kinks; a little further, none has.
    boxes |= {f"{n}_moved": tuple(v + 0.0137 for v in box) for n, box in boxes.items()}
    rois = as_rois(boxes, options.spatial_scale, dtype=dtype)
    x = features(generator, 2, 3, H, W).to(dtype)
    grad = features(generator, len(boxes), 3, *options.output_size).to(dtype)
    expected, slack = op.reference_box_gradient(grad, x, rois, *options.args)
    terms = grad.double().abs().flatten(1).sum(1)[:, None]
    magnitude = 4 * float(x.abs().max()) * options.spatial_scale * terms
    doubtful = float((slack > 0.01 * magnitude).double().mean())
    assert doubtful < 0.4, f"rounding decides {doubtful:.0%} of the rows: this compares too little"
    actual = op.box_gradient(grad.to(device), x.to(device), rois.to(device), *options.args)
    assert actual.dtype == dtype
    assert_close(actual, expected, magnitude, slack, list(boxes))


@few_options
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("size", [(H, W), (1, 1), (1, W), (H, 1), (2, 2)], ids=str)
def test_box_gradient_equals_reference_in_all_types(
    op: Op, options, dtype, size, device, generator
) -> None:
    boxes = hard_boxes(*size) | {f"{n}_of_large_map": b for n, b in hard_boxes(H, W).items()}
    rois = as_rois(boxes, options.spatial_scale, dtype=torch.float32)
    x = features(generator, 2, 3, *size).to(dtype)
    grad = features(generator, len(boxes), 3, *options.output_size).to(dtype)
    expected, slack = op.reference_box_gradient(grad, x, rois, *options.args)
    terms = grad.double().abs().flatten(1).sum(1)[:, None]
    magnitude = 4 * float(x.abs().max()) * options.spatial_scale * terms
    actual = op.box_gradient(grad.to(device), x.to(device), rois.to(device), *options.args)
    assert actual.dtype == torch.float32
    assert_close(actual, expected, magnitude, slack, list(boxes))


@few_options
@pytest.mark.parametrize("dtype", HALF_TYPES, ids=("float16", "bfloat16"))
def test_box_jvp_rounds_half_types_once(op: Op, options, dtype, device, generator) -> None:
    rois = as_rois(hard_boxes(H, W), options.spatial_scale, dtype=torch.float32).to(device)
    x = features(generator, 2, 3, H, W).to(device, dtype)
    tangent = features(generator, len(rois), 5).float().to(device)
    exact = op.box_jvp(x.float(), rois, tangent, *options.args).double().cpu()
    actual = op.box_jvp(x, rois, tangent, *options.args)
    assert actual.dtype == dtype and exact.any()
    assert_close(actual, exact, 16 * float(x.abs().max()) * options.spatial_scale)


@few_options
def test_box_gradient_at_kinks_is_the_right_hand_derivative(op: Op, options, device) -> None:
    """One sample at exactly p on the row 0, 1, 4, 9, 16, 25: at the border pixel the slope is 0."""
    squares = (torch.arange(6.0, dtype=torch.float64, device=device) ** 2).expand(1, 1, 6, 6)
    args = Options((1, 1), 1.0, 1, True).args
    slope = {-1.5: 0, -1: 0, -0.5: 0, 0: 1, 0.5: 1, 1: 3, 4: 9, 4.5: 9, 5: 0, 5.5: 0, 6: 0, 7: 0}
    for p, expected in slope.items():
        rois = torch.tensor([[0.0, p, 2.5, p + 1.0, 3.5]], dtype=torch.float64, device=device)
        gradient = op.box_gradient(squares.new_ones(1, 1, 1, 1), squares, rois, *args)
        assert gradient.tolist() == [[0, expected / 2, 0, expected / 2, 0]], p


@few_options
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
def test_boxes_without_a_derivative_get_zeros(op: Op, options, dtype, device, generator) -> None:
    boxes = non_finite_boxes(H, W)
    rois = as_rois(boxes, dtype=dtype).to(device).requires_grad_()
    x = features(generator, 2, 3, H, W).to(device, dtype).requires_grad_()
    out = op.overload(x, rois, *options.args)
    for gradient in torch.autograd.grad(out, (x, rois), torch.ones_like(out)):
        assert_same_bits(gradient, torch.zeros_like(gradient))


@few_options
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("rois_dtype", DTYPES, ids=lambda d: f"rois_{str(d)[6:]}")
def test_gradients_have_the_types_of_their_tensors(
    op: Op, options, dtype, rois_dtype, device, generator
) -> None:
    boxes = finite_boxes(H, W)
    rois = as_rois(boxes, options.spatial_scale, dtype=rois_dtype).to(device).requires_grad_()
    x = features(generator, 2, 3, H, W).to(device, dtype).requires_grad_()
    out = op.overload(x, rois, *options.args)
    by_x, by_rois = torch.autograd.grad(out, (x, rois), torch.ones_like(out))
    assert (by_x.dtype, by_x.shape) == (dtype, x.shape)
    assert (by_rois.dtype, by_rois.shape) == (rois_dtype, rois.shape)
    assert by_rois.isfinite().all() and by_rois[:, 1:].any()
    assert not by_rois[:, 0].any()


def smooth_boxes(options: Options) -> torch.Tensor:
    """[K, 4] in image coordinates whose samples lie off the pixels and whose grid is stable."""
    boxes = torch.tensor(
        [
            [1.137, 0.731, 4.571, 3.979],
            [-1.383, 1.123, 2.627, 5.337],
            [3.271, 2.823, 7.417, 6.691],
            [2.171, 1.263, 2.629, 1.817],
            [4.571, 3.979, 1.137, 0.731],
        ],
        dtype=torch.float64,
    )
    rois = torch.cat([torch.zeros(len(boxes), 1), boxes], 1) / options.spatial_scale
    for axes in rois_axes((2, 2, 5, 6), rois, *options.args, geometry_of(boxes.dtype)):
        for axis in axes[1:]:
            distance = abs(axis.position - axis.position.round())
            assert distance.min(initial=1) >= 1e-3, "a sample sits on a kink"
    return boxes / options.spatial_scale


def small_problem(options: Options, device: str, generator: torch.Generator):
    boxes = smooth_boxes(options).to(device)
    image = torch.tensor([0.0, 1, 1, 0, 1], dtype=torch.float64, device=device)[:, None]
    x = features(generator, 2, 2, 5, 6).to(device)
    return x, boxes, lambda b: torch.cat([image, b], 1)


SMOOTH = [
    Options((2, 3), 1.0, ratio, aligned) for aligned in (False, True) for ratio in (-1, 1, 2, 3)
] + [Options((3, 2), 0.5, 2, True)]
smooth_options = pytest.mark.parametrize("options", SMOOTH, ids=str)


@each_op
@smooth_options
def test_gradcheck_by_input(op: Op, options, device, generator) -> None:
    x, boxes, rois = small_problem(options, device, generator)
    assert gradcheck(
        lambda x: op.overload(x, rois(boxes), *options.args), x.requires_grad_(),
        check_forward_ad=True, check_batched_grad=True, check_undefined_grad=True,
        check_batched_forward_grad=True,
    )  # fmt: skip


@each_op
@smooth_options
def test_gradcheck_by_boxes(op: Op, options, device, generator) -> None:
    x, boxes, rois = small_problem(options, device, generator)
    assert gradcheck(
        lambda b: op.overload(x, rois(b), *options.args), boxes.requires_grad_(),
        check_forward_ad=True, check_batched_grad=True, check_undefined_grad=True,
        check_batched_forward_grad=True,
    )  # fmt: skip


@each_op
@smooth_options
def test_gradcheck_by_both(op: Op, options, device, generator) -> None:
    x, boxes, rois = small_problem(options, device, generator)
    assert gradcheck(
        lambda x, b: op.overload(x, rois(b), *options.args),
        (x.requires_grad_(), boxes.requires_grad_()),
        check_forward_ad=True, check_batched_grad=True,
    )  # fmt: skip


@each_op
@smooth_options
def test_gradgradcheck_by_input(op: Op, options, device, generator) -> None:
    x, boxes, rois = small_problem(options, device, generator)
    x.requires_grad_()
    # The op is linear: squared, it has a second derivative that is not zero.
    assert gradgradcheck(
        lambda x: op.overload(x, rois(boxes), *options.args) ** 2, x,
        check_fwd_over_rev=True, check_batched_grad=True, check_undefined_grad=False,
    )  # fmt: skip


@each_op
def test_a_box_below_one_pixel_moves_but_does_not_grow(op: Op, device, generator) -> None:
    """The minimum size of aligned=False: all of the derivative goes to the first corner."""
    x = features(generator, 1, 2, 5, 6).to(device)
    rois = torch.tensor([[0, 2.3, 1.2, 2.7, 1.9]], dtype=torch.float64, device=device)
    grad = features(generator, 1, 2, 2, 2).to(device)
    args = Options((2, 2), 1.0, 2).args
    gradient = op.box_gradient(grad, x, rois, *args)[0]
    assert gradient[1:3].all() and not gradient[3:].any()
    rois[0, 3:] = rois[0, 1:3] + 1  # one pixel exactly is not clamped
    assert op.box_gradient(grad, x, rois, *args)[0, 1:].all()


@few_options
def test_autograd_is_the_backward_op(op: Op, options, device, generator) -> None:
    rois = as_rois(finite_boxes(H, W), options.spatial_scale).to(device)
    x = features(generator, 2, 3, H, W).to(device)
    grad = features(generator, len(rois), 3, *options.output_size).to(device)
    for need_x, need_rois in ((True, False), (False, True), (True, True)):
        leaves = (x.clone().requires_grad_(need_x), rois.clone().requires_grad_(need_rois))
        op.overload(*leaves, *options.args).backward(grad)
        for leaf, needed, expected in (
            (leaves[0], need_x, op.input_gradient(grad, rois, x.shape, *options.args)),
            (leaves[1], need_rois, op.box_gradient(grad, x, rois, *options.args)),
        ):
            if needed:
                assert_same_bits(leaf.grad, expected)
            else:
                assert leaf.grad is None


@each_op
def test_no_graph_without_a_reason(op: Op, device, generator) -> None:
    x = features(generator, 2, 3, H, W).to(device)
    rois = as_rois(finite_boxes(H, W)).to(device)
    args = op.few_options[0].args
    assert op.overload(x, rois, *args).grad_fn is None
    with torch.no_grad():
        assert op.overload(x.requires_grad_(), rois, *args).grad_fn is None
    with torch.inference_mode():
        assert op.overload(x, rois, *args).is_inference()
    assert op.overload(x, rois, *args).grad_fn is not None
    assert op.overload(x.detach(), rois.requires_grad_(), *args).requires_grad


@each_op
def test_gradient_of_an_expanded_scalar(op: Op, device, generator) -> None:
    """out.sum().backward() hands the op a gradient of strides 0."""
    x = features(generator, 2, 3, H, W).to(device).requires_grad_()
    rois = as_rois(finite_boxes(H, W)).to(device).requires_grad_()
    out = op.overload(x, rois, *op.few_options[0].args)
    summed = torch.autograd.grad(out.sum(), (x, rois), retain_graph=True)
    dense = torch.autograd.grad(out, (x, rois), torch.ones_like(out))
    for a, b in zip(summed, dense, strict=True):
        assert_same_bits(a, b)


@each_op
def test_second_derivative_through_boxes_raises_by_name(op: Op, device, generator) -> None:
    x = features(generator, 2, 3, H, W).to(device).requires_grad_()
    rois = as_rois(finite_boxes(H, W)).to(device).requires_grad_()
    out = op.overload(x, rois, *op.few_options[0].args)
    by_x, by_rois = torch.autograd.grad(out.square().sum(), (x, rois), create_graph=True)
    for first in (by_x, by_rois):
        with pytest.raises(RuntimeError, match=op.name):
            torch.autograd.grad(first.sum(), rois, retain_graph=True)
    with pytest.raises(RuntimeError, match=op.name):
        torch.autograd.grad(by_rois.sum(), x)
