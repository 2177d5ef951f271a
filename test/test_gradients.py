"""First derivatives, in both modes, by every tensor: against the references and each other."""

from __future__ import annotations

import pytest
import reference
import torch
from boxes import finite_boxes, hard_boxes, non_finite_boxes
from cases import DTYPES, Case, Options, features, grad_of, make_case
from op_table import Op, each_op, each_option, few_options, one_option, some_ops
from tolerance import HALF_TYPES, assert_close, assert_same_bits

H, W = 11, 13

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))

# The others are covered by the full grid of options, and by the layouts.
half_and_single = pytest.mark.parametrize("dtype", DTYPES[1:3], ids=("float32", "float16"))


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Row by row."""
    return (a * b).flatten(1).sum(1)


def assert_equal_products(left, right, scale, names) -> None:
    error = (left - right).abs()
    bad = ~(error <= 1e-12 * scale)
    assert not bad.any(), [
        (names[k], float(left[k]), float(right[k])) for k in bad.nonzero().flatten().tolist()
    ]


@few_options
@each_dtype
def test_the_operator_is_its_linear_map(op: Op, options, dtype, device, generator) -> None:
    """Which double backward and tangents apply to other features."""
    case = make_case(op, options, generator, dtype=dtype, device=device).linear
    # The sum over levels takes the sign of what has underflowed: -0 + 0 = 0.
    assert_same_bits(case.apply(case.maps) + 0, case() + 0)


@each_option
def test_backward_is_adjoint_of_forward(op: Op, options, device, generator) -> None:
    """<A x, g> = <x, A^T g>, box by box: each has an image of its own."""
    boxes = hard_boxes(H, W)
    case = make_case(op, options, generator, images=len(boxes), device=device).linear
    grad = grad_of(case, generator)
    left = dot(case(), grad)
    gradients = case.input_gradients(grad)
    right = sum(dot(m, g) for m, g in zip(case.maps, gradients, strict=True))
    scale = dot(case.map(torch.abs)(), grad.abs())
    assert_equal_products(left, right, scale, list(boxes))
    assert (left != 0).sum() > len(boxes) // 5


@each_option
def test_box_gradient_is_adjoint_of_box_jvp(op: Op, options, device, generator) -> None:
    """<J t, g> = <t, J^T g>, also where the derivative jumps; offsets too."""
    boxes = list(hard_boxes(H, W))
    case = make_case(op, options, generator, device=device)
    grad, tangent = grad_of(case, generator), features(generator, *case.boxes.shape).to(device)
    extra_tangent = None
    by_boxes, by_extra = case.box_gradients(grad)
    right = dot(tangent, by_boxes)
    bound = reference.box_gradient(case, grad)
    scale = dot(tangent.abs().cpu(), bound.magnitude)
    if bound.by_extra is not None:
        extra_tangent = features(generator, *case.extra.shape).to(device)
        right = right + dot(extra_tangent, by_extra)
        scale = scale + dot(extra_tangent.abs().cpu(), bound.extra_magnitude)
    left = dot(case.box_jvp(tangent, extra_tangent), grad)
    assert_equal_products(left, right, scale.to(device), boxes)
    if case.op.differentiates_boxes(options):
        assert (left != 0).sum() > len(boxes) // 6


def check_box_gradient(case: Case, names: list[str], most_doubtful: float, generator) -> None:
    grad = grad_of(case, generator)
    expected = reference.box_gradient(case, grad)
    doubtful = float((expected.slack > 0.01 * expected.magnitude).double().mean())
    assert doubtful < most_doubtful, f"rounding decides {doubtful:.0%} of the rows"
    by_boxes, by_extra = case.box_gradients(grad)
    assert by_boxes.dtype == case.boxes.dtype
    if case.op.differentiates_boxes(case.options):
        assert_close(by_boxes, expected.by_boxes, expected.magnitude, expected.slack, names)
    else:
        assert not by_boxes.any()
    if expected.by_extra is None:
        assert by_extra.shape == (0,)
    else:
        assert by_extra.dtype == case.extra.dtype
        slack = expected.extra_slack
        assert_close(by_extra, expected.by_extra, expected.extra_magnitude, slack, names)


@each_option
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=("float64", "float32"))
def test_box_gradient_equals_reference(op: Op, options, dtype, device, generator) -> None:
    boxes = hard_boxes(H, W)
    # As they are, many boxes have all samples on kinks; a little further, none has.
    boxes |= {f"{n}_moved": tuple(v + 0.0137 for v in box) for n, box in boxes.items()}
    case = make_case(op, options, generator, boxes=boxes, dtype=dtype, device=device)
    check_box_gradient(case, list(boxes), 0.4, generator)


@one_option
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("channels", [37, 70, 130])
def test_box_gradient_equals_reference_in_many_channels(
    op: Op, options, channels, dtype, device, generator
) -> None:
    boxes = hard_boxes(H, W)
    channels = 11 if op.position_sensitive else channels
    case = make_case(op, options, generator, boxes=boxes, channels=channels, dtype=dtype,
                     boxes_dtype=torch.float32, device=device)  # fmt: skip
    check_box_gradient(case, list(boxes), 0.6, generator)


@few_options
@half_and_single
@pytest.mark.parametrize("size", [(H, W), (1, W), (2, 2)], ids=str)
def test_box_gradient_equals_reference_on_small_maps(
    op: Op, options, dtype, size, device, generator
) -> None:
    boxes = hard_boxes(*size) | {f"{n}_of_large_map": b for n, b in hard_boxes(H, W).items()}
    case = make_case(
        op, options, generator, size, boxes, dtype=dtype, boxes_dtype=torch.float32, device=device
    )
    check_box_gradient(case, list(boxes), 0.6, generator)


@few_options
@half_and_single
@pytest.mark.parametrize("size", [(H, W), (1, W), (2, 2)], ids=str)
def test_input_gradient_equals_reference(op: Op, options, dtype, size, device, generator) -> None:
    boxes = finite_boxes(H, W)  # one image each, so that rows are boxes
    case = make_case(
        op, options, generator, size, boxes, len(boxes), dtype=dtype, boxes_dtype=torch.float32
    )
    grad = grad_of(case, generator)
    expected = reference.input_gradients(case, grad)
    magnitude = reference.input_gradients(case, grad.abs())
    actual = case.to(device).input_gradients(grad.to(device))
    for result, (exact, slack), (terms, _) in zip(actual, expected, magnitude, strict=True):
        assert result.dtype == dtype
        assert_close(result, exact, terms, slack, list(boxes))


@few_options
@pytest.mark.parametrize("dtype", HALF_TYPES, ids=("float16", "bfloat16"))
def test_box_jvp_rounds_half_types_once(op: Op, options, dtype, device, generator) -> None:
    case = make_case(op, options, generator, dtype=dtype, boxes_dtype=torch.float32, device=device)
    tangent = features(generator, *case.boxes.shape).float().to(device)
    extra = torch.ones_like(case.extra) if op.has_offset and options.offset else None
    exact = case.map(lambda m: m.float()).box_jvp(tangent, extra).double().cpu()
    actual = case.box_jvp(tangent, extra)
    assert actual.dtype == dtype
    assert_close(actual, exact, 16 * float(exact.abs().max()))


# A unit square whose one sample lies at (2, p), as the boxes of each operator.
SLOPES = {
    "right": {-1.5: 0, -1: 0, -0.5: 0, 0: 1, 0.5: 1, 1: 3, 4: 9, 4.5: 9, 5: 0, 5.5: 0, 6: 0, 7: 0},
    "zero": {-1.5: 0, -1: 0, -0.5: 0, 0: 0, 0.5: 1, 1: 0, 4: 0, 4.5: 9, 5: 0, 5.5: 0, 6: 0, 7: 0},
}


@some_ops(lambda op: op.samples or op.has_indices)
def test_box_gradient_at_kinks(op: Op, device, generator) -> None:
    """One sample at exactly p on the row 0, 1, 4, 9, 16, 25: the right-hand derivative, and none
    where the position is clamped; in crop_and_resize none at a whole pixel, as in TensorFlow."""
    options = Options((1, 1), 1.0, 1, True, offset=False)
    for p, slope in SLOPES[op.kinks].items():
        moved = 0.0 if op.has_indices else 0.5
        box = {"box": (p - 0.5 + moved, 2.0, p + 0.5 + moved, 3.0)}
        case = make_case(op, options, generator, (6, 6), box, 1, 1, device=device)
        squares = torch.arange(6.0, dtype=torch.float64, device=device) ** 2
        case = case.map(lambda m, s=squares: s[: m.shape[3]].expand(m.shape))
        gradient = case.box_gradient(torch.ones_like(case()))[0]
        if op.columns == 5:
            expected = [0, slope, 0, 0, 0, 0]
        elif op.has_indices:
            expected = [0, slope / 2 * 5, 0, slope / 2 * 5]
        else:
            expected = [0, slope / 2, 0, slope / 2, 0]
        assert gradient.tolist() == pytest.approx(expected, abs=1e-12), p


@few_options
@each_dtype
def test_boxes_without_a_derivative_get_zeros(op: Op, options, dtype, device, generator) -> None:
    boxes = non_finite_boxes(H, W)
    case = make_case(op, options, generator, boxes=boxes, dtype=dtype, device=device).leaves()
    out = case()
    for gradient in torch.autograd.grad(out, case.trainable, torch.ones_like(out)):
        assert_same_bits(gradient, torch.zeros_like(gradient))


@one_option
@each_dtype
@pytest.mark.parametrize("boxes_dtype", DTYPES, ids=lambda d: f"boxes_{str(d)[6:]}")
def test_gradients_have_the_types_of_their_tensors(
    op: Op, options, dtype, boxes_dtype, device, generator
) -> None:
    boxes = {n: b for n, b in finite_boxes(H, W).items() if "huge" not in n}
    case = make_case(
        op, options, generator, boxes=boxes, dtype=dtype, boxes_dtype=boxes_dtype, device=device
    ).leaves()
    out = case()
    gradients = torch.autograd.grad(out, case.trainable, torch.ones_like(out))
    for tensor, gradient in zip(case.trainable, gradients, strict=True):
        assert (gradient.dtype, gradient.shape) == (tensor.dtype, tensor.shape)
        assert gradient.isfinite().all() and gradient.any()
    if op.has_image_column and case.boxes.requires_grad:
        assert not gradients[len(case.maps)][:, 0].any()


@some_ops(lambda op: "aligned" in op.option_names)
def test_a_box_below_one_pixel_moves_but_does_not_grow(op: Op, device, generator) -> None:
    """The minimum size of aligned=False: all of the derivative goes to the position."""
    options = Options((2, 2), 1.0, 2)
    box = {"small": (2.3, 1.2, 2.7, 1.9)}
    case = make_case(op, options, generator, (5, 6), box, 1, device=device)
    grad = grad_of(case, generator)
    gradient = case.box_gradient(grad)[0]
    assert gradient[1:3].all() and not gradient[3:5].any()
    # one pixel exactly is not clamped
    case.boxes[0, 3:5] = 1 if op.columns == 5 else case.boxes[0, 1:3] + 1
    assert case.box_gradient(grad)[0, 1:5].all()


@few_options
def test_autograd_is_the_backward_op(op: Op, options, device, generator) -> None:
    case = make_case(op, options, generator, boxes=finite_boxes(H, W), device=device)
    grad = grad_of(case, generator)
    expected = [*case.input_gradients(grad), *case.box_gradients(grad)]
    can = case.needs
    for only in (*range(len(can)), None):
        needs = [need and only in (i, None) for i, need in enumerate(can)]
        if not any(needs):
            continue
        leaves = case.leaves(needs)
        leaves().backward(grad)
        for leaf, need, gradient in zip(leaves.tensors, needs, expected, strict=False):
            if need:
                assert_same_bits(leaf.grad, gradient)
            else:
                assert leaf.grad is None


@each_op
def test_constant_tensors_get_no_gradient(op: Op, device, generator) -> None:
    """Piecewise constant operators say so: None, not zeros."""
    for options in op.few_options:
        case = make_case(op, options, generator, boxes=finite_boxes(H, W), device=device)
        maps, boxes = case.leaves().maps, case.boxes.clone().requires_grad_()
        out = case.of(*maps, boxes, *([] if case.extra is None else [case.extra]))()
        (gradient,) = torch.autograd.grad(out.sum(), boxes, allow_unused=True)
        assert (gradient is not None) == op.differentiates_boxes(options)
        alone = case.of(*case.maps, *[boxes], *([] if case.extra is None else [case.extra]))()
        assert alone.requires_grad == op.differentiates_boxes(options)


@each_op
def test_no_graph_without_a_reason(op: Op, device, generator) -> None:
    case = make_case(op, op.few_options[0], generator, device=device)
    assert case().grad_fn is None
    leaves = case.leaves()
    with torch.no_grad():
        assert leaves().grad_fn is None
    with torch.inference_mode():
        assert leaves().is_inference()
    assert leaves().grad_fn is not None


@each_op
def test_gradient_of_an_expanded_scalar(op: Op, device, generator) -> None:
    """out.sum().backward() hands the op a gradient of strides 0."""
    boxes = finite_boxes(H, W)
    case = make_case(op, op.few_options[0], generator, boxes=boxes, device=device).leaves()
    out = case()
    summed = torch.autograd.grad(out.sum(), case.trainable, retain_graph=True)
    dense = torch.autograd.grad(out, case.trainable, torch.ones_like(out))
    for a, b in zip(summed, dense, strict=True):
        assert_same_bits(a, b)
