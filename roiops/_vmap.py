"""Batching rules: ``torch.vmap`` over an operator is one call of the operator.

NOTE [Batching]
If only the features have the batch, it is folded into their channels: an operator treats every
channel alike, and lists the boxes' taps once. Otherwise, and for position-sensitive operators, it
is folded into the images and into the boxes, and a box's image number is shifted by its batch
entry's number times the number of images.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch._guards import detect_fake_mode
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from roiops._library import ops as _ops

_POSITION_SENSITIVE = ("ps_roi_align", "ps_roi_pool")


def _front(tensor: Tensor | None, dim: int | None, size: int) -> Tensor | None:
    """The batch dimension in front, made by expansion where there is none."""
    if tensor is None:
        return None
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _flat(tensor: Tensor | None, dim: int | None, size: int) -> Tensor | None:
    """[B, K, ...] -> [B * K, ...]."""
    front = _front(tensor, dim, size)
    return None if front is None else front.flatten(0, 1)


def _into_channels(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """[B, A, C, H, W] -> [A, C * B, H, W]."""
    tensor = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return tensor.movedim(0, 2).flatten(1, 2)


def _images(tensor: Tensor, dim: int | None) -> int:
    """A of [A, C, H, W] with a batch dimension somewhere."""
    return tensor.shape[0 if dim is None or dim > 0 else 1]


def _channels(tensor: Tensor, dim: int | None) -> int:
    """C of [A, C, H, W] with a batch dimension somewhere."""
    return tensor.shape[1 if dim is None or dim > 1 else 2]


def _out_of_channels(output: Tensor, channels: int, size: int) -> Tensor:
    """[A, C * B, H, W] -> [A, C, B, H, W]."""
    result: Tensor = output.unflatten(1, (channels, size))
    return result


def _valid(images: Tensor, count: int) -> Tensor:
    """Which image numbers, truncated, lie in [0, count)."""
    return (images > -1) & (images < count)


def _shift(images: Tensor, size: int, count: int) -> Tensor:
    """[B, K] image numbers, shifted so that each batch entry has `count` images of its own."""
    step = torch.arange(size, device=images.device).mul(count).to(images.dtype).view(-1, 1)
    # A number that is out of range must not become another batch entry's image.
    return torch.where(_valid(images, count), images.trunc() + step, -images.abs() - 1)


class _Folded:
    """Boxes and the extra tensor of B calls as those of one, on B times as many images."""

    def __init__(
        self, size: int, boxes: Tensor, boxes_dim: int | None, extra: Tensor | None,
        extra_dim: int | None, images: int | None,
    ) -> None:  # fmt: skip
        # images is None if all calls read the same ones
        front = _front(boxes, boxes_dim, size)
        assert front is not None  # boxes are never None
        self.count = front.shape[1]
        self.extra = _front(extra, extra_dim, size)
        if images is not None and self.extra is not None and not self.extra.is_floating_point():
            self.extra = _shift(self.extra, size, images)  # box_indices of crop_and_resize
        elif images is not None:
            # 16-bit floats would round when the number of an image is shifted
            front = front.float() if front.dtype.itemsize == 2 else front
            shifted = _shift(front[..., 0], size, images).unsqueeze(-1)
            front = torch.cat([shifted, front[..., 1:]], -1)
        self.boxes = front.flatten(0, 1)
        self.extra = None if self.extra is None else self.extra.flatten(0, 1)


def _is_batched(dims: Any) -> bool:
    return any(d is not None for d in (dims if isinstance(dims, (list, tuple)) else [dims]))


def _fold_images(inputs: list[Tensor], dims: Any, size: int) -> tuple[list[Tensor], int | None]:
    """The maps of all batch entries, and how many images each has; None if they are shared."""
    if not _is_batched(dims):
        return list(inputs), None
    folded = [_flat(t, d, size) for t, d in zip(inputs, dims, strict=True)]
    return [t for t in folded if t is not None], _images(inputs[0], dims[0])


def _sample(tensor: Tensor | None, dim: int | None, number: int) -> Tensor | None:
    """The tensor of one batch entry."""
    return tensor if tensor is None or dim is None else tensor.select(dim, number)


def _has_values(tensor: Tensor) -> bool:
    """Whether the rule may look at them: not while a graph is made of it, nor where it would wait
    for a device, nor if an outer vmap has several, whose own rule looks at them all."""
    # torch 2.11 traces a compiled vmap with fake tensors, and is_compiling() does not say so there.
    traced = torch.compiler.is_compiling() or detect_fake_mode(tensor) is not None
    if traced or torch.jit.is_tracing() or get_proxy_mode() is not None:
        return False
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return False
        tensor = functorch.get_unwrapped(tensor)
    return tensor.device.type == "cpu"


def _raise_like_eager(
    size: int, inputs: list[Tensor], boxes: Tensor, extra: Tensor | None, dims: Any, call: Any
) -> None:
    """If a batch entry looks wrong, calls the operator on it: the error is eager's, not ours."""
    input_dims, boxes_dim, extra_dim = dims
    ranks = [t.dim() - (d is not None) == 4 for t, d in zip(inputs, input_dims, strict=True)]
    fine = all(ranks) and boxes.dim() - (boxes_dim is not None) == 2
    indexed = extra is not None and not extra.is_floating_point()
    fine = fine and boxes.is_floating_point() and boxes.shape[-1] > 0
    holder = extra if indexed and extra is not None else boxes
    if fine and _has_values(holder):
        rows = boxes if boxes_dim is None else boxes.movedim(boxes_dim, 0)
        numbers = holder if indexed else rows[..., 0]
        fine = bool(_valid(numbers, _images(inputs[0], input_dims[0])).all())
    for number in range(0 if fine else size):
        maps = [_sample(t, d, number) for t, d in zip(inputs, input_dims, strict=True)]
        call(maps, _sample(boxes, boxes_dim, number), _sample(extra, extra_dim, number))


def _apply(
    size: int,
    position_sensitive: bool,
    inputs: list[Tensor],
    boxes: Tensor,
    extra: Tensor | None,
    dims: Any,
    call: Callable[[list[Tensor], Tensor, Tensor | None], Tensor],
) -> tuple[Tensor, int]:
    """call(inputs, boxes, extra) -> [K, C, PH, PW] of an average-type operator, for all B calls."""
    input_dims, boxes_dim, extra_dim = dims
    _raise_like_eager(size, inputs, boxes, extra, dims, call)
    if boxes_dim is None and extra_dim is None and not position_sensitive:
        maps = [_into_channels(t, d, size) for t, d in zip(inputs, input_dims, strict=True)]
        channels = _channels(inputs[0], input_dims[0])
        return _out_of_channels(call(maps, boxes, extra), channels, size), 2
    maps, images = _fold_images(inputs, input_dims, size)
    folded = _Folded(size, boxes, boxes_dim, extra, extra_dim, images)
    return call(maps, folded.boxes, folded.extra).unflatten(0, (size, folded.count)), 0


def _public(name: str, has_extra: bool = False, has_list: bool = False) -> None:
    """The rule of a public operator: features, boxes, maybe an extra tensor, then options."""
    op = getattr(_ops, name)

    def rule(info: Any, in_dims: Any, input: Any, boxes: Tensor, *rest: Any) -> Any:
        extra = rest[0] if has_extra else None
        options = rest[1:] if has_extra else rest
        dims = (
            in_dims[0] if has_list else [in_dims[0]],
            in_dims[1],
            in_dims[2] if has_extra else None,
        )

        def call(maps: list[Tensor], boxes: Tensor, extra: Tensor | None) -> Tensor:
            middle = (extra,) if has_extra else ()
            output: Tensor = op(maps if has_list else maps[0], boxes, *middle, *options)
            return output

        inputs = list(input) if has_list else [input]
        return _apply(
            info.batch_size, name in _POSITION_SENSITIVE, inputs, boxes, extra, dims, call
        )

    torch.library.register_vmap(f"roiops::{name}", rule)


def _mean(
    info: Any, in_dims: Any, input: Tensor, boxes: Tensor, extra: Tensor | None,
    output_size: Any, op: str, options: Any,
) -> Any:  # fmt: skip
    def call(maps: list[Tensor], boxes: Tensor, extra: Tensor | None) -> Tensor:
        output: Tensor = _ops._mean(maps[0], boxes, extra, output_size, op, options)
        return output

    dims = ([in_dims[0]], *in_dims[1:3])
    return _apply(info.batch_size, op in _POSITION_SENSITIVE, [input], boxes, extra, dims, call)


def _mean_jvp_boxes(
    info: Any, in_dims: Any, input: Tensor, boxes: Tensor, extra: Tensor | None,
    boxes_tangent: Tensor | None, extra_tangent: Tensor | None, output_size: Any, op: str,
    options: Any,
) -> Any:  # fmt: skip
    size = info.batch_size
    input_dim, boxes_dim, extra_dim, boxes_tangent_dim, extra_tangent_dim = in_dims[:5]
    maps, images = _fold_images([input], [input_dim], size)
    folded = _Folded(size, boxes, boxes_dim, extra, extra_dim, images)
    output = _ops._mean_jvp_boxes(
        maps[0],
        folded.boxes,
        folded.extra,
        _flat(boxes_tangent, boxes_tangent_dim, size),
        _flat(extra_tangent, extra_tangent_dim, size),
        output_size,
        op,
        options,
    )
    return output.unflatten(0, (size, folded.count)), 0


def _mean_backward(
    info: Any, in_dims: Any, grad: Tensor, boxes: Tensor, extra: Tensor | None,
    input_size: list[int], op: str, options: Any,
) -> Any:  # fmt: skip
    size = info.batch_size
    grad_dim, boxes_dim, extra_dim = in_dims[:3]
    images, channels, *pixels = input_size
    if boxes_dim is None and extra_dim is None and op not in _POSITION_SENSITIVE:
        grad = _into_channels(grad, grad_dim, size)
        folded_size = [images, channels * size, *pixels]
        map = _ops._mean_backward(grad, boxes, extra, folded_size, op, options)
        return _out_of_channels(map, channels, size), 2
    folded = _Folded(size, boxes, boxes_dim, extra, extra_dim, images)
    folded_size = [images * size, channels, *pixels]
    flat = _flat(grad, grad_dim, size)
    map = _ops._mean_backward(flat, folded.boxes, folded.extra, folded_size, op, options)
    return map.unflatten(0, (size, images)), 0


def _mean_backward_boxes(
    info: Any, in_dims: Any, grad: Tensor, input: Tensor, boxes: Tensor, extra: Tensor | None,
    op: str, options: Any,
) -> Any:  # fmt: skip
    # The result sums over channels, so only the images can hold the batch.
    size = info.batch_size
    grad_dim, input_dim, boxes_dim, extra_dim = in_dims[:4]
    maps, images = _fold_images([input], [input_dim], size)
    folded = _Folded(size, boxes, boxes_dim, extra, extra_dim, images)
    by_boxes, by_extra = _ops._mean_backward_boxes(
        _flat(grad, grad_dim, size), maps[0], folded.boxes, folded.extra, op, options
    )
    by_boxes = by_boxes.unflatten(0, (size, folded.count)).to(boxes.dtype)
    if by_extra.dim() == 1:  # no gradient by the extra tensor
        return (by_boxes, by_extra), (0, None)
    return (by_boxes, by_extra.unflatten(0, (size, folded.count))), (0, 0)


for _name in ("roi_align", "ps_roi_align", "ps_roi_pool", "roi_align_rotated", "prroi_pool"):
    _public(_name)
_public("crop_and_resize", has_extra=True)
_public("deform_roi_pool", has_extra=True)
_public("multiscale_roi_align", has_list=True)
torch.library.register_vmap("roiops::_mean", _mean)
torch.library.register_vmap("roiops::_mean_backward", _mean_backward)
torch.library.register_vmap("roiops::_mean_backward_boxes", _mean_backward_boxes)
torch.library.register_vmap("roiops::_mean_jvp_boxes", _mean_jvp_boxes)
