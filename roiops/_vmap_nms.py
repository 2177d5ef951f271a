"""Batching rules of the operators on boxes alone: a batch is a dimension of images in front."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from roiops._library import ops as _ops
from roiops._vmap import _front

_Images = list[Tensor | None]


def _in_front(size: int, tensors: _Images, dims: Any) -> _Images:
    return [_front(t, d, size) for t, d in zip(tensors, dims, strict=True)]


def _over_images(size: int, tensors: _Images, call: Callable[..., Any]) -> Any:
    """The operator on [V, N, ...], or on [V, B, N, ...] as [V * B, N, ...]."""
    boxes = tensors[0]
    assert boxes is not None
    if boxes.dim() == 3:
        return call(*tensors)
    images = boxes.shape[1]
    results = call(*(None if t is None else t.flatten(0, 1) for t in tensors))
    if isinstance(results, Tensor):
        return results.unflatten(0, (size, images))
    return tuple(r.unflatten(0, (size, images)) for r in results)


def _nms_padded(
    info: Any, in_dims: Any, boxes: Tensor, scores: Tensor, iou_threshold: float, max_output: int,
    idxs: Tensor | None = None, *options: Any,
) -> Any:  # fmt: skip
    def call(boxes: Tensor, scores: Tensor, idxs: Tensor | None) -> Any:
        return _ops.nms_padded(boxes, scores, iou_threshold, max_output, idxs, *options)

    dims = (*in_dims[:2], in_dims[4] if len(in_dims) > 4 else None)
    front = _in_front(info.batch_size, [boxes, scores, idxs], dims)
    return _over_images(info.batch_size, front, call), (0, 0)


def _soft_nms_padded(
    info: Any, in_dims: Any, boxes: Tensor, scores: Tensor, max_output: int,
    iou_threshold: float = 0.3, sigma: float = 0.5, min_score: float = 0.001,
    method: str = "linear", idxs: Tensor | None = None, *options: Any,
) -> Any:  # fmt: skip
    rule = (iou_threshold, sigma, min_score, method)

    def call(boxes: Tensor, scores: Tensor, idxs: Tensor | None) -> Any:
        return _ops.soft_nms_padded(boxes, scores, max_output, *rule, idxs, *options)

    dims = (*in_dims[:2], in_dims[7] if len(in_dims) > 7 else None)
    front = _in_front(info.batch_size, [boxes, scores, idxs], dims)
    return _over_images(info.batch_size, front, call), (0, 0, 0)


def _register_iou(name: str) -> None:
    op = getattr(_ops, name)

    def rule(info: Any, in_dims: Any, boxes1: Tensor, boxes2: Tensor, *options: Any) -> Any:
        front = _in_front(info.batch_size, [boxes1, boxes2], in_dims[:2])
        return _over_images(info.batch_size, front, lambda a, b: op(a, b, *options)), 0

    torch.library.register_vmap(f"roiops::{name}", rule)


torch.library.register_vmap("roiops::nms_padded", _nms_padded)
torch.library.register_vmap("roiops::soft_nms_padded", _soft_nms_padded)
_register_iou("box_iou")
_register_iou("box_iou_rotated")
