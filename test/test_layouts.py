"""Layouts, empty sizes, channel tails, threads and chunks: none of them changes a value."""

from __future__ import annotations

import pytest
import torch
from boxes import as_rois, finite_boxes, hard_boxes
from op_table import DTYPES, Op, Options, each_op, few_options
from tolerance import assert_close, assert_same_bits

H, W = 11, 13

all_types = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
channel_counts = pytest.mark.parametrize("channels", [1, 3, 8, 33, 70], ids=lambda c: f"C{c}")


def features(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape or (2, 3, H, W), generator=generator, dtype=torch.float64)


def some_rois(options: Options, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return as_rois(hard_boxes(H, W), options.spatial_scale, dtype=dtype)


@few_options
@channel_counts
@all_types
def test_channels_last_gives_the_same_bits_in_channels_last(
    op, options, channels, dtype, device, generator
) -> None:
    x = features(generator, 2, channels, H, W).to(device, dtype)
    rois = some_rois(options).to(device)
    expected = op.overload(x, rois, *options.args)
    actual = op.overload(x.to(memory_format=torch.channels_last), rois, *options.args)
    assert expected.is_contiguous()
    assert actual.is_contiguous(memory_format=torch.channels_last)
    assert_same_bits(actual, expected)


@few_options
@channel_counts
@all_types
def test_input_gradient_keeps_the_layout_of_grad(
    op, options, channels, dtype, device, generator
) -> None:
    rois = some_rois(options).to(device)
    shape = (2, channels, H, W)
    grad = features(generator, len(rois), channels, *options.output_size).to(device, dtype)
    expected = op.input_gradient(grad, rois, shape, *options.args)
    last = grad.to(memory_format=torch.channels_last)
    actual = op.input_gradient(last, rois, shape, *options.args)
    assert expected.dtype == actual.dtype == dtype
    assert expected.is_contiguous()
    assert actual.is_contiguous(memory_format=torch.channels_last)
    assert_same_bits(actual, expected)


@few_options
@channel_counts
def test_channels_do_not_mix(op, options, channels, device, generator) -> None:
    x = features(generator, 2, channels, H, W).to(device)
    rois = some_rois(options).to(device)
    whole = op.overload(x, rois, *options.args)
    for c in (0, channels // 2, channels - 1):
        assert_same_bits(whole[:, c : c + 1], op.overload(x[:, c : c + 1], rois, *options.args))


NON_CONTIGUOUS = {
    "sliced": lambda x: x[::2, ::2, 1:-1, ::2],
    "offset": lambda x: x[1:3, 1:4, 2:13, 3:16],
    "transposed": lambda x: x.transpose(2, 3)[:2, :3, :H, :W],
    "images_and_channels_swapped": lambda x: x.transpose(0, 1)[:2, :3, :H, :W],
    "expanded_images": lambda x: x[:1, :3, :H, :W].expand(2, -1, -1, -1),
    "expanded_channels": lambda x: x[:2, :1, :H, :W].expand(-1, 3, -1, -1),
    "expanded_pixels": lambda x: x[:2, :3, :1, :1].expand(-1, -1, H, W),
    "channels_last_slice": lambda x: x.to(memory_format=torch.channels_last)[:2, 1:4, :H, :W],
}


@few_options
@pytest.mark.parametrize("view", NON_CONTIGUOUS.values(), ids=NON_CONTIGUOUS.keys())
def test_any_strides_of_the_input(op, options, view, device, generator) -> None:
    x = view(features(generator, 4, 6, 20, 26).to(device))
    assert not x.is_contiguous()
    rois = some_rois(options).to(device)
    expected = op.overload(x.contiguous(), rois, *options.args)
    actual = op.overload(x, rois, *options.args)
    assert_same_bits(actual, expected)
    wide = torch.cat([torch.ones_like(rois), rois, torch.ones_like(rois)], 1)[:, 5:10]
    assert_same_bits(op.overload(x, wide, *options.args), expected, "strided rois")
    column_major = rois.t().contiguous().t()
    assert_same_bits(op.overload(x, column_major, *options.args), expected, "transposed rois")


@few_options
@pytest.mark.parametrize("view", NON_CONTIGUOUS.values(), ids=NON_CONTIGUOUS.keys())
def test_any_strides_of_the_gradient(op, options, view, device, generator) -> None:
    grad = view(features(generator, 4, 6, 20, 26).to(device))
    args = Options(tuple(grad.shape[2:]), *options.python_args[1:]).args
    rois = some_rois(options)[: len(grad)].to(device)
    x = features(generator, 2, grad.shape[1], H, W).to(device)
    expected = op.input_gradient(grad.contiguous(), rois, x.shape, *args)
    assert_same_bits(op.input_gradient(grad, rois, x.shape, *args), expected)
    expected = op.box_gradient(grad.contiguous(), x, rois, *args)
    assert_same_bits(op.box_gradient(grad, x, rois, *args), expected)


EMPTY = {
    "no_rois": ((2, 3, H, W), 0),
    "no_images": ((0, 3, H, W), 0),
    "no_channels": ((2, 0, H, W), 4),
    "no_rows": ((2, 3, 0, W), 4),
    "no_columns": ((2, 3, H, 0), 4),
    "no_pixels": ((2, 3, 0, 0), 4),
    "nothing": ((0, 0, 0, 0), 0),
}


@few_options
@pytest.mark.parametrize("shape, k", EMPTY.values(), ids=EMPTY.keys())
@pytest.mark.parametrize("last", [False, True], ids=("contiguous", "channels_last"))
def test_empty_sizes_give_zeros(op, options, shape, k, last, device) -> None:
    form = torch.channels_last if last else torch.contiguous_format
    x = torch.ones(shape, device=device).to(memory_format=form).requires_grad_()
    rois = some_rois(options)[:k].to(device).requires_grad_()
    out = op.overload(x, rois, *options.args)
    assert out.shape == (k, shape[1], *options.output_size)
    assert not out.any()
    grad_x, grad_rois = torch.autograd.grad(out, (x, rois), torch.ones_like(out))
    assert grad_x.shape == x.shape and not grad_x.any()
    assert grad_rois.shape == rois.shape and not grad_rois.any()


@each_op
def test_list_of_boxes_is_the_rois_tensor(op, device, generator) -> None:
    x = features(generator, 3, 2, H, W).to(device)
    boxes = features(generator, 6, 4).to(device) + 4
    per_image = [boxes[:2], boxes[:0], boxes[2:]]
    column = torch.tensor([0.0, 0, 2, 2, 2, 2], dtype=boxes.dtype, device=device)
    rois = torch.cat([column[:, None], boxes], 1)
    for options in op.few_options:
        expected = op.overload(x, rois, *options.args)
        assert_same_bits(op.function(x, rois, *options.python_args), expected)
        assert_same_bits(op.function(x, per_image, *options.python_args), expected)
        assert_same_bits(op.function(x, tuple(per_image), *options.python_args), expected)
        assert_same_bits(op.module(*options.python_args)(x, rois), expected)
        assert_same_bits(op.module(*options.python_args)(x, per_image), expected)
    square = op.function(x, per_image, 3)
    assert_same_bits(square, op.function(x, rois, (3, 3)))
    assert op.function(x, [boxes[:0]] * 3, 3).shape == (0, 2, 3, 3)
    assert op.function(x[:0], [], 3).shape == (0, 2, 3, 3)


@each_op
def test_order_of_rois_does_not_matter(op, device, generator) -> None:
    x = features(generator, 5, 3, H, W).to(device)
    rois = as_rois(hard_boxes(H, W), images=5).to(device)
    order = torch.randperm(len(rois), generator=generator).to(device)
    for options in op.few_options:
        expected = op.overload(x, rois, *options.args)[order]
        assert_same_bits(op.overload(x, rois[order], *options.args), expected)


@few_options
@all_types
def test_thread_count_does_not_change_a_bit(
    op, options, dtype, at_each_thread_count, generator
) -> None:
    x = features(generator, 2, 37, H, W).to(dtype)
    boxes = as_rois(hard_boxes(H, W), options.spatial_scale, dtype=torch.float32)
    rois = boxes.repeat(4, 1)  # several RoIs add into each pixel
    grad = features(generator, len(rois), 37, *options.output_size).to(dtype)

    def everything():
        return (
            op.overload(x, rois, *options.args),
            op.overload(x.to(memory_format=torch.channels_last), rois, *options.args),
            op.input_gradient(grad, rois, x.shape, *options.args),
            op.box_gradient(grad, x, rois, *options.args),
            op.box_jvp(x, rois, torch.ones_like(rois), *options.args),
        )

    first, *others = at_each_thread_count(everything)
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert_same_bits(b, a)


def whole_map_rois(side: int, count: int) -> torch.Tensor:
    """Slightly different boxes of about the whole map: adaptive, they have about side^2 taps."""
    shift = torch.arange(count, dtype=torch.float32)[:, None] / 8
    edges = torch.tensor([[0.0, 0.0, side - 4.0, side - 4.0]])
    return torch.cat([torch.zeros(count, 1), edges + shift], 1)


MANY_TAPS = {"many_rois": (300, 30, (7, 7)), "one_roi_of_many_taps": (1200, 2, (7, 5))}


@each_op
@all_types
@pytest.mark.parametrize("side, count, size", MANY_TAPS.values(), ids=MANY_TAPS.keys())
def test_more_taps_than_one_chunk_holds(op, side, count, size, dtype, device, generator) -> None:
    """The engine lists about 2^20 taps at a time. RoIs one by one are the reference."""
    args = Options(size).args
    x = features(generator, 1, 2, side, side).to(device, dtype)
    rois = whole_map_rois(side, count).to(device)
    grad = features(generator, count, 2, *size).to(device, dtype)
    out = op.overload(x, rois, *args)
    for k in range(count):
        assert_same_bits(out[k : k + 1], op.overload(x, rois[k : k + 1], *args))
    # A half type may be rounded once, after the last chunk, not once per chunk.
    working = torch.float64 if dtype == torch.float64 else torch.float32
    one_by_one = sum(
        op.input_gradient(grad[k : k + 1].to(working), rois[k : k + 1], x.shape, *args).double()
        for k in range(count)
    )
    magnitude = op.input_gradient(grad.to(working).abs(), rois, x.shape, *args).double().cpu()
    actual = op.input_gradient(grad, rois, x.shape, *args)
    assert_close(actual, one_by_one.cpu(), magnitude)
    by_box = op.box_gradient(grad, x, rois, *args)
    for k in range(count):
        one = op.box_gradient(grad[k : k + 1], x, rois[k : k + 1], *args)
        assert_same_bits(by_box[k : k + 1], one)


@few_options
@all_types
@pytest.mark.parametrize("size", [(H, W), (1, 1), (1, W), (H, 1), (2, 2)], ids=str)
def test_input_gradient_equals_reference(op: Op, options, dtype, size, device, generator) -> None:
    boxes = finite_boxes(H, W)  # one image each, so that rows are boxes
    rois = as_rois(boxes, options.spatial_scale, images=len(boxes), dtype=torch.float32)
    grad = features(generator, len(boxes), 3, *options.output_size).to(dtype)
    shape = (len(boxes), 3, *size)
    expected, slack = op.reference_input_gradient(grad, rois, shape, *options.args)
    magnitude, _ = op.reference_input_gradient(grad.abs(), rois, shape, *options.args)
    actual = op.input_gradient(grad.to(device), rois.to(device), shape, *options.args)
    assert_close(actual, expected, magnitude, slack, list(boxes))
