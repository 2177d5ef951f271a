"""Translations of the operators on boxes alone into ONNX: see roiops.onnx.

NOTE [NonMaxSuppression]
ONNX's operator takes corners in any order and scores of type float32, says nothing of equal scores,
and returns classes one after the other. So boxes are sorted first and get their rank as a score,
which also makes the order of its results known; a reversed box, or one that is not finite, which
must suppress nothing, becomes one without area; and each class has a row of scores.
"""

from __future__ import annotations

from math import inf
from typing import Any

import torch

from roiops._onnx_graph import (
    DOUBLE,
    FLOAT,
    INT64,
    LARGEST,
    Value,
    cast,
    columns,
    op,
    require,
    size_of,
    typed,
)


def _one_image(name: str, boxes: Value) -> None:
    require(
        len(boxes.shape) == 2,
        f"{name}: `boxes` must be those of one image, [N, 4], to be exported, but got "
        f"{len(boxes.shape)} dimensions. Export one call for each image.",
    )


def _without_area(boxes: Value) -> Value:
    """Boxes as they are, or points if they are reversed or their area is not finite."""
    side = columns(boxes, 2, 4) - columns(boxes, 0, 2)
    area = columns(side, 0, 1) * columns(side, 1, 2)
    zero = typed(0.0, FLOAT)
    upright = op.And(columns(side, 0, 1) >= zero, columns(side, 1, 2) >= zero)
    return op.Where(op.And(upright, area <= typed(LARGEST[FLOAT], FLOAT)), boxes, zero)


def _order(scores: Value) -> Value:
    """The numbers of the boxes by decreasing score, equal ones in order; NaN counts as infinite."""
    wide = DOUBLE if scores.dtype == DOUBLE else FLOAT
    values = cast(scores, scores.dtype, wide)
    values = op.Where(op.IsNaN(values), typed(inf, wide), values)
    return op.TopK(values, size_of(scores, 0), axis=0)[1]


def _threshold_in_float32(threshold: float) -> float:
    """The largest one that is not above it."""
    near = torch.tensor(threshold, dtype=torch.float32)
    return (near if near.item() <= threshold else near.nextafter(torch.tensor(-1.0))).item()


def _limit(max_output: Any) -> Value:
    """[1] int64, of a number or of a size in the graph."""
    if isinstance(max_output, int):
        return typed([max_output], INT64)
    return op.Reshape(op.Cast(max_output, to=INT64), typed([1], INT64))


def nms_padded(
    boxes: Value,
    scores: Value,
    iou_threshold: float,
    max_output: Any,
    idxs: Value | None = None,
    score_threshold: float | None = None,
    clockwise: bool = False,
) -> tuple[Value, Value]:
    _one_image("nms_padded", boxes)
    require(
        boxes.shape[1] == 4,
        "nms_padded: `boxes` must not be rotated to be exported, because ONNX's NonMaxSuppression "
        "knows upright boxes only.",
    )
    require(
        boxes.dtype != DOUBLE,
        "nms_padded: `boxes` must not be float64 to be exported, because ONNX's NonMaxSuppression "
        "is float32 only. Convert them.",
    )
    order, limit, count = _order(scores), _limit(max_output), size_of(scores, 0)
    sorted_boxes = op.Gather(_without_area(cast(boxes, boxes.dtype, FLOAT)), order, axis=0)
    places = op.Range(typed(0, INT64), op.Squeeze(count), typed(1, INT64))
    ranks = op.Unsqueeze(op.Cast(count - places, to=FLOAT), [0])  # [1, N]; the best has N
    if score_threshold is not None:
        least = op.Cast(typed(score_threshold, DOUBLE), to=scores.dtype)
        enough = op.Gather(op.Greater(scores, least), order, axis=0)
        ranks = op.Where(enough, ranks, typed(-1.0, FLOAT))
    if idxs is not None:
        values, _, number, _ = op.Unique(op.Cast(idxs, to=INT64))
        classes = op.Range(typed(0, INT64), op.Squeeze(size_of(values, 0)), typed(1, INT64))
        own = op.Equal(op.Gather(number, order, axis=0), op.Unsqueeze(classes, [1]))
        ranks = op.Where(own, ranks, typed(-1.0, FLOAT))
    selected = op.NonMaxSuppression(
        op.Unsqueeze(sorted_boxes, [0]),
        op.Unsqueeze(ranks, [0]),
        limit,
        typed([_threshold_in_float32(iou_threshold)], FLOAT),
        typed([0.0], FLOAT),
    )
    kept = op.Squeeze(columns(selected, 2, 3), [1])
    kept = op.TopK(kept, size_of(kept, 0), axis=0, largest=0)[0]
    kept = op.Gather(order, op.Slice(kept, [0], limit, [0]), axis=0)
    padding = op.Expand(typed([-1], INT64), limit - size_of(kept, 0))
    return op.Concat(kept, padding, axis=0), op.Size(kept)


def soft_nms_padded(*args: Any, **kwargs: Any) -> None:
    require(False, "soft_nms cannot be exported: ONNX has no operator for it. Use nms.")


def box_iou(boxes1: Value, boxes2: Value) -> Value:
    wide = DOUBLE if DOUBLE in (boxes1.dtype, boxes2.dtype) else FLOAT
    first, second = (cast(b, b.dtype, wide) for b in (boxes1, boxes2))
    rank = len(boxes1.shape)

    def column(boxes: Value, i: int) -> Value:
        return op.Slice(boxes, [i], [i + 1], [rank - 1])

    def of_second(i: int) -> Value:
        return op.Unsqueeze(op.Squeeze(column(second, i), [rank - 1]), [rank - 2])

    def shared(low: int, high: int) -> Value:
        end = op.Min(column(first, high), of_second(high))
        return op.Max(end - op.Max(column(first, low), of_second(low)), typed(0.0, wide))

    def area(of: Any) -> Value:
        return (of(2) - of(0)) * (of(3) - of(1))

    inner = shared(0, 2) * shared(1, 3)
    whole = area(lambda i: column(first, i)) + area(of_second) - inner
    return op.Where(whole <= typed(0.0, wide), typed(0.0, wide), inner / whole)


def box_iou_rotated(*args: Any, **kwargs: Any) -> None:
    require(False, "box_iou_rotated cannot be exported: ONNX has no operator for it.")
