"""Batching rules: ``torch.vmap`` over an operator is one call of the operator.

NOTE [Batching]
If the boxes are shared, the batch is folded into the channels: the operator treats every channel
alike, and lists the boxes' taps once. If they differ, it is folded into the images and the boxes'
image column is shifted by the batch entry's number times the number of images.
"""

from typing import Any

import torch
from torch import Tensor

from roiops._library import ops as _ops


def _front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The batch dimension in front, made by expansion where there is none."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _into_channels(tensor: Tensor, dim: int) -> Tensor:
    """[B, A, C, H, W] -> [A, C * B, H, W]."""
    return tensor.movedim(dim, 2).flatten(1, 2)


def _shift_images(rois: Tensor, images: int) -> Tensor:
    """[B, K, 5] -> [B * K, 5], each batch entry with `images` images of its own."""
    if rois.dtype in (torch.float16, torch.bfloat16):
        rois = rois.float()  # exact, where adding to a 16-bit image column would round
    shift = torch.arange(len(rois), device=rois.device, dtype=rois.dtype).mul(images)
    # An index that is out of range here must not become another batch entry's image.
    valid = (rois[..., :1] > -1) & (rois[..., :1] < images)
    image = torch.where(valid, rois[..., :1].trunc() + shift.view(-1, 1, 1), float("nan"))
    return torch.cat([image, rois[..., 1:]], -1).flatten(0, 1)


def _into_images(input: Tensor, dim: int | None, rois: Tensor) -> tuple[Tensor, Tensor]:
    """The features [B * N, C, H, W] and boxes [B * K, 5] of rois [B, K, 5]."""
    if dim is None:  # all batch entries read the same images
        return input, rois.flatten(0, 1)
    input = input.movedim(dim, 0)
    return input.flatten(0, 1), _shift_images(rois, input.shape[1])


def _out_of_channels(output: Tensor, size: int) -> tuple[Tensor, int]:
    """The inverse of _into_channels, with the batch dimension where it then is."""
    return output.unflatten(1, (output.shape[1] // size, size)), 2


def _forward(op: Any) -> Any:
    """The rule of an average-type operator op(input, boxes, *options)."""

    def rule(info: Any, in_dims: Any, input: Tensor, boxes: Tensor, *options: Any) -> Any:
        input_dim, boxes_dim = in_dims[:2]
        size = info.batch_size
        if boxes_dim is None:
            output = op(_into_channels(input, input_dim), boxes, *options)
            return _out_of_channels(output, size)
        boxes = boxes.movedim(boxes_dim, 0)
        count = boxes.shape[1]
        input, boxes = _into_images(input, input_dim, boxes)
        return op(input, boxes, *options).unflatten(0, (size, count)), 0

    return rule


def _mean_jvp_boxes(
    info: Any, in_dims: Any, input: Tensor, boxes: Tensor, tangent: Tensor, *options: Any
) -> Any:
    input_dim, boxes_dim, tangent_dim = in_dims[:3]
    size = info.batch_size
    if boxes_dim is None and tangent_dim is None:
        output = _ops._mean_jvp_boxes(_into_channels(input, input_dim), boxes, tangent, *options)
        return _out_of_channels(output, size)
    boxes, tangent = _front(boxes, boxes_dim, size), _front(tangent, tangent_dim, size)
    count = boxes.shape[1]
    input, boxes = _into_images(input, input_dim, boxes)
    output = _ops._mean_jvp_boxes(input, boxes, tangent.flatten(0, 1), *options)
    return output.unflatten(0, (size, count)), 0


def _mean_backward(
    info: Any, in_dims: Any, grad: Tensor, boxes: Tensor, input_size: list[int], *options: Any
) -> Any:
    grad_dim, boxes_dim = in_dims[:2]
    size = info.batch_size
    images, channels, *pixels = input_size
    if boxes_dim is None:
        grad = _into_channels(grad, grad_dim)
        output = _ops._mean_backward(grad, boxes, [images, channels * size, *pixels], *options)
        return _out_of_channels(output, size)
    boxes = _shift_images(boxes.movedim(boxes_dim, 0), images)
    grad = _front(grad, grad_dim, size).flatten(0, 1)
    output = _ops._mean_backward(grad, boxes, [images * size, channels, *pixels], *options)
    return output.unflatten(0, (size, images)), 0


def _mean_backward_boxes(
    info: Any, in_dims: Any, grad: Tensor, input: Tensor, boxes: Tensor, *options: Any
) -> Any:
    # The result sums over channels, so only the images can hold the batch.
    grad_dim, input_dim, boxes_dim = in_dims[:3]
    size = info.batch_size
    grad, boxes = _front(grad, grad_dim, size), _front(boxes, boxes_dim, size)
    dtype, count = boxes.dtype, boxes.shape[1]
    input, boxes = _into_images(input, input_dim, boxes)
    output = _ops._mean_backward_boxes(grad.flatten(0, 1), input, boxes, *options)
    return output.unflatten(0, (size, count)).to(dtype), 0


torch.library.register_vmap("roiops::roi_align", _forward(_ops.roi_align))
torch.library.register_vmap("roiops::_mean", _forward(_ops._mean))
torch.library.register_vmap("roiops::_mean_backward", _mean_backward)
torch.library.register_vmap("roiops::_mean_backward_boxes", _mean_backward_boxes)
torch.library.register_vmap("roiops::_mean_jvp_boxes", _mean_jvp_boxes)
