"""Layouts, empty sizes, channel tails and threads: none of them changes a value."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from cases import DTYPES, Case, Options, grad_of, make_case
from op_table import Op, few_options, some_ops
from tolerance import assert_close, assert_same_bits

H, W = 11, 13

all_types = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
channel_counts = pytest.mark.parametrize("channels", [1, 8, 37], ids=lambda c: f"C{c}")


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(memory_format=torch.channels_last)


def case_of(op: Op, options: Options, generator, device: str = "cpu", **rest) -> Case:
    rest = {"boxes_dtype": torch.float32, "dtype": torch.float32} | rest
    return make_case(op, options, generator, device=device, **rest)


@few_options
@channel_counts
@all_types
def test_channels_last_gives_the_same_bits_in_channels_last(
    op, options, channels, dtype, device, generator
) -> None:
    case = case_of(op, options, generator, device, channels=channels, dtype=dtype)
    expected, actual = case(), case.map(channels_last)()
    assert expected.is_contiguous()
    assert actual.is_contiguous(memory_format=torch.channels_last)
    assert_same_bits(actual, expected)


@few_options
@channel_counts
@all_types
def test_input_gradient_keeps_the_layout_of_grad(
    op, options, channels, dtype, device, generator
) -> None:
    case = case_of(op, options, generator, device, channels=channels, dtype=dtype)
    grad = grad_of(case, generator)
    expected, actual = case.input_gradients(grad), case.input_gradients(channels_last(grad))
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype == dtype
        assert b.is_contiguous()
        assert a.is_contiguous(memory_format=torch.channels_last)
        assert_same_bits(a, b)


def lost(layout: torch.memory_format, pooled: torch.Tensor) -> torch.Tensor:
    """What a flattening head, or another layer, makes of a gradient's layout."""
    other = {torch.contiguous_format: torch.channels_last}.get(layout, torch.contiguous_format)
    return pooled.contiguous(memory_format=other) * 2.0


@few_options
@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=("nchw", "last")
)
@pytest.mark.parametrize("head", ["lost", "kept", "summed"])
def test_gradient_has_the_layout_of_the_features(op, options, layout, head, device, generator):
    """As that of PyTorch's pooling: a backbone in channels_last must not get it back in another."""
    case = case_of(op, options, generator, device).map(lambda m: m.contiguous(memory_format=layout))
    leaves = case.leaves()
    out = leaves()
    pooled = lost(layout, out) if head == "lost" else out * 2.0 if head == "kept" else out
    weight = torch.rand(pooled.shape, generator=generator).to(device)
    loss = pooled.sum() if head == "summed" else (pooled * weight).sum()
    gradients = torch.autograd.grad(loss, leaves.maps)
    expected = case.input_gradients(
        torch.ones_like(out) if head == "summed" else (2 * weight).contiguous(memory_format=layout)
    )
    for got, exact in zip(gradients, expected, strict=True):
        assert got.is_contiguous(memory_format=layout)
        assert_same_bits(got, exact)


# Maps of fewer channels are summed plane by plane, in an order of their own.
FEW = 4


@few_options
def test_few_channels_agree_in_channels_last(op, options, device, generator) -> None:
    case = case_of(op, options, generator, device, channels=FEW - 1)
    if op.takes_maximum:
        assert_same_bits(case.map(channels_last)(), case())
        return
    assert_close(case.map(channels_last)(), case().double(), case.map(torch.abs)().double())
    grad = grad_of(case, generator)
    both = [case.input_gradients(g) for g in (channels_last(grad), grad, grad.abs())]
    for actual, expected, magnitude in zip(*both, strict=True):
        assert_close(actual, expected.double(), magnitude.double())


@few_options
@pytest.mark.parametrize("channels, width", [(3, 1), (3, 2), (33, FEW)])
def test_channels_do_not_mix(op, options, channels, width, device, generator) -> None:
    case = case_of(op, options, generator, device, channels=channels)
    whole, one = case(), op.channels_per_output(options)
    for c in (0, (channels - width) // 2, channels - width):
        part = case.map(lambda m, c=c: m[:, c * one : (c + width) * one])()
        assert_same_bits(whole[:, c : c + width], part)


def expanded(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    return tensor.narrow(dim, 0, 1).expand_as(tensor)


# Other strides for the same values, or for those of fewer different pixels.
NON_CONTIGUOUS = {
    "sliced": lambda x: x.repeat_interleave(2, 1).repeat_interleave(2, 3)[:, ::2, :, ::2],
    "offset": lambda x: torch.nn.functional.pad(x, (2, 1, 1, 3, 1, 2))[:, 1:-2, 1:-3, 2:-1],
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "images_and_channels_swapped": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "expanded_images": lambda x: expanded(x, 0),
    "expanded_channels": lambda x: expanded(x, 1),
    "expanded_pixels": lambda x: expanded(expanded(x, 2), 3),
    "channels_last_slice": lambda x: channels_last(torch.cat([x, x], 1))[:, : x.shape[1]],
}
strided = pytest.mark.parametrize("view", NON_CONTIGUOUS.values(), ids=NON_CONTIGUOUS.keys())


@few_options
@strided
def test_any_strides_of_the_input(op, options, view, device, generator) -> None:
    case = case_of(op, options, generator, device, channels=FEW + 1).map(view)
    assert not any(m.is_contiguous() for m in case.maps)
    expected = case.map(torch.Tensor.contiguous)()
    assert_same_bits(case(), expected)
    boxes = case.boxes
    wide = torch.cat([torch.ones_like(boxes), boxes, torch.ones_like(boxes)], 1)
    for other in (wide[:, boxes.shape[1] : -boxes.shape[1]], boxes.t().contiguous().t()):
        assert_same_bits(dataclasses.replace(case, boxes=other)(), expected, "strided boxes")
    if case.extra is not None:
        extra = torch.stack([case.extra, case.extra], -1)[..., 0]
        assert_same_bits(dataclasses.replace(case, extra=extra)(), expected, "strided extra")


@few_options
@strided
def test_any_strides_of_the_gradient(op, options, view, device, generator) -> None:
    case = case_of(op, options, generator, device, channels=FEW + 1)
    grad = view(grad_of(case, generator))
    assert_same_gradients(case, grad, grad.contiguous())


def assert_same_gradients(case: Case, grad: torch.Tensor, other: torch.Tensor) -> None:
    for a, b in zip(case.input_gradients(grad), case.input_gradients(other), strict=True):
        assert_same_bits(a, b)
    for a, b in zip(case.box_gradients(grad), case.box_gradients(other), strict=True):
        assert_same_bits(a, b)


EMPTY = {
    "no_boxes": ({}, 0, (H, W)),
    "no_images": ({"images": 0}, 0, (H, W)),
    "no_channels": ({"channels": 0}, 4, (H, W)),
    "no_rows": ({}, 4, (0, W)),
    "no_columns": ({}, 4, (H, 0)),
    "no_pixels": ({}, 4, (0, 0)),
    "nothing": ({"images": 0, "channels": 0}, 0, (0, 0)),
}


@few_options
@pytest.mark.parametrize("shape, k, size", EMPTY.values(), ids=EMPTY.keys())
@pytest.mark.parametrize("last", [False, True], ids=("contiguous", "channels_last"))
def test_empty_sizes_give_zeros(op, options, shape, k, size, last, device, generator) -> None:
    case = case_of(op, options, generator, device, **shape).rows(slice(k))
    case = case.map(lambda m: m[:, :, : size[0], : size[1]].contiguous())
    case = (case.map(channels_last) if last else case).leaves()
    out = case()
    assert out.shape == case.output_shape and out.shape[0] == k
    assert torch.equal(out, torch.full_like(out, options.extrapolation_value))
    gradients = torch.autograd.grad(out, case.trainable, torch.ones_like(out))
    for tensor, gradient in zip(case.trainable, gradients, strict=True):
        assert gradient.shape == tensor.shape and not gradient.any()


@some_ops(lambda op: op.lists)
def test_list_of_boxes_is_the_rois_tensor(op, device, generator) -> None:
    for options in op.few_options:
        case = case_of(op, options, generator, device, images=3, dtype=torch.float64).rows(slice(6))
        case.boxes[:, 0] = torch.tensor([0.0, 0, 2, 2, 2, 2])
        first, _, *extra = case.leading(list(case.maps))
        boxes = case.boxes[:, 1:]
        per_image, expected = [boxes[:2], boxes[:0], boxes[2:]], case()
        python_args, module = op.python_args(options), op.module(*op.python_args(options))
        for form in (case.boxes, per_image, tuple(per_image)):
            assert_same_bits(op.function(first, form, *extra, *python_args), expected)
        for form in (case.boxes, per_image):
            assert_same_bits(module(first, form, *extra), expected)
        none = case.rows(slice(0)).leading(list(case.maps))[2:]
        assert op.function(first, [boxes[:0]] * 3, *none, *python_args).shape[0] == 0
        no_images = case.rows(slice(0)).map(lambda m: m[:0])
        first, _, *extra = no_images.leading(list(no_images.maps))
        assert op.function(first, [], *extra, *python_args).shape == no_images.output_shape


@few_options
def test_order_of_boxes_does_not_matter(op, options, device, generator) -> None:
    case = case_of(op, options, generator, device, images=5)
    order = torch.randperm(len(case.boxes), generator=generator).to(device)
    assert_same_bits(case.rows(order)(), case()[order])
    grad = grad_of(case, generator)
    by_boxes = case.box_gradient(grad)
    assert_same_bits(case.rows(order).box_gradient(grad[order]), by_boxes[order])


@few_options
@all_types
@pytest.mark.parametrize("images", [1, 5])
def test_thread_count_does_not_change_a_bit(
    op, options, dtype, images, at_each_thread_count, generator
) -> None:
    """Panels of one image are fewer than eight threads, which share them."""
    channels = 9 if op.position_sensitive else 37
    case = case_of(op, options, generator, images=images, channels=channels, dtype=dtype)
    # Several boxes add into each pixel, and all together are worth the threads.
    index = torch.arange(len(case.boxes)).repeat(8)
    case = case.rows(index)
    grad = grad_of(case, generator)

    def everything():
        tangent = torch.ones_like(case.boxes)
        return (
            case(),
            case.map(channels_last)(),
            *case.input_gradients(grad),
            *case.box_gradients(grad),
            case.box_jvp(tangent),
        )

    first, *others = at_each_thread_count(everything)
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert_same_bits(b, a)


@few_options
@all_types
def test_box_gradients_do_not_depend_on_layout_nor_on_other_boxes(
    op, options, dtype, device, generator
) -> None:
    """Many channels: several panels that boxes share, if there are enough of them."""
    case = case_of(op, options, generator, device, channels=70, dtype=dtype)
    case = case.rows(torch.arange(len(case.boxes)).repeat(3))
    grad = grad_of(case, generator)
    together = case.box_gradients(grad)
    in_channels_last = case.map(channels_last).box_gradients(channels_last(grad))
    for a, b in zip(in_channels_last, together, strict=True):
        assert_same_bits(a, b)
    for row in (slice(k, k + 1) for k in range(0, len(case.boxes) // 3, 4)):
        for a, b in zip(case.rows(row).box_gradients(grad[row]), together, strict=True):
            assert_same_bits(a, b[row] if b.dim() > 1 else b)
