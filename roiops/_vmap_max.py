"""Batching rules of the operators that take a maximum: see NOTE [Batching] in _vmap.py."""

from typing import Any

import torch
from torch import Tensor

from roiops._library import ops as _ops
from roiops._vmap import (
    _channels,
    _flat,
    _fold_images,
    _Folded,
    _into_channels,
    _out_of_channels,
    _raise_like_eager,
)


def _public(name: str) -> None:
    op = getattr(_ops, name)

    def rule(info: Any, in_dims: Any, input: Tensor, boxes: Tensor, *options: Any) -> Any:
        size = info.batch_size
        input_dim, boxes_dim = in_dims[:2]

        def call(maps: list[Tensor], boxes: Tensor, extra: Tensor | None) -> Any:
            return op(maps[0], boxes, *options)

        _raise_like_eager(size, [input], boxes, None, ([input_dim], boxes_dim, None), call)
        if boxes_dim is None:
            channels = _channels(input, input_dim)
            results = op(_into_channels(input, input_dim, size), boxes, *options)
            return tuple(_out_of_channels(r, channels, size) for r in results), (2, 2)
        maps, images = _fold_images([input], [input_dim], size)
        folded = _Folded(size, boxes, boxes_dim, None, None, images)
        results = op(maps[0], folded.boxes, *options)
        return tuple(r.unflatten(0, (size, folded.count)) for r in results), (0, 0)

    torch.library.register_vmap(f"roiops::{name}", rule)


def _max_select(
    info: Any, in_dims: Any, input: Tensor, argmax: Tensor, boxes: Tensor,
    boxes_tangent: Tensor | None, op: str, options: Any,
) -> Any:  # fmt: skip
    size = info.batch_size
    input_dim, argmax_dim, boxes_dim, tangent_dim = in_dims[:4]
    maps, images = _fold_images([input], [input_dim], size)
    folded = _Folded(size, boxes, boxes_dim, None, None, images)
    tangent = _flat(boxes_tangent, tangent_dim, size)
    flat = _flat(argmax, argmax_dim, size)
    output = _ops._max_select(maps[0], flat, folded.boxes, tangent, op, options)
    return output.unflatten(0, (size, folded.count)), 0


def _max_backward(
    info: Any, in_dims: Any, grad: Tensor, argmax: Tensor, boxes: Tensor, input_size: list[int],
    op: str, options: Any,
) -> Any:  # fmt: skip
    size = info.batch_size
    grad_dim, argmax_dim, boxes_dim = in_dims[:3]
    images, *rest = input_size
    folded = _Folded(size, boxes, boxes_dim, None, None, images)
    flat_grad, flat_argmax = _flat(grad, grad_dim, size), _flat(argmax, argmax_dim, size)
    map = _ops._max_backward(
        flat_grad, flat_argmax, folded.boxes, [images * size, *rest], op, options
    )
    return map.unflatten(0, (size, images)), 0


def _max_backward_boxes(
    info: Any, in_dims: Any, grad: Tensor, input: Tensor, argmax: Tensor, boxes: Tensor, op: str,
    options: Any,
) -> Any:  # fmt: skip
    size = info.batch_size
    grad_dim, input_dim, argmax_dim, boxes_dim = in_dims[:4]
    maps, images = _fold_images([input], [input_dim], size)
    folded = _Folded(size, boxes, boxes_dim, None, None, images)
    flat_grad, flat_argmax = _flat(grad, grad_dim, size), _flat(argmax, argmax_dim, size)
    output = _ops._max_backward_boxes(flat_grad, maps[0], flat_argmax, folded.boxes, op, options)
    return output.unflatten(0, (size, folded.count)).to(boxes.dtype), 0


_public("roi_pool")
_public("roi_align_max")
torch.library.register_vmap("roiops::_max_select", _max_select)
torch.library.register_vmap("roiops::_max_backward", _max_backward)
torch.library.register_vmap("roiops::_max_backward_boxes", _max_backward_boxes)
