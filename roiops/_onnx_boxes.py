"""Translations of the operators on boxes alone into ONNX: see roiops.onnx.

NOTE [NonMaxSuppression]
ONNX's operator takes corners in any order and scores of type float32, says nothing of equal scores,
and returns classes one after the other. So boxes are sorted first and get their rank as a score,
which also makes the order of its results known; a reversed box, or one that is not finite, which
must suppress nothing, becomes one without area; and each class has a row of scores. A single image
is a batch of one.
"""

from __future__ import annotations

from math import inf
from typing import Any

import torch

from roiops._onnx_graph import (
    BOOL,
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


def _without_area(boxes: Value) -> Value:
    """Boxes as they are, or points if they are reversed or their area is not finite."""
    x1, y1, x2, y2 = (op.Slice(boxes, [i], [i + 1], [2]) for i in range(4))
    width, height, zero = x2 - x1, y2 - y1, typed(0.0, FLOAT)
    area, upright = width * height, op.And(width >= zero, height >= zero)
    return op.Where(op.And(upright, area <= typed(LARGEST[FLOAT], FLOAT)), boxes, zero)


def _order(scores: Value, dtype: Any) -> Value:
    """[B, N]: the numbers of an image's boxes by decreasing score, equal ones in order; NaN counts
    as infinite."""
    wide = DOUBLE if dtype == DOUBLE else FLOAT
    values = cast(scores, dtype, wide)
    values = op.Where(op.IsNaN(values), typed(inf, wide), values)
    return op.TopK(values, size_of(scores, 1), axis=1)[1]


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
    require(
        boxes.shape[-1] == 4,
        "nms_padded: `boxes` must not be rotated to be exported, because ONNX's NonMaxSuppression "
        "knows upright boxes only.",
    )
    require(
        boxes.dtype != DOUBLE,
        "nms_padded: `boxes` must not be float64 to be exported, because ONNX's NonMaxSuppression "
        "is float32 only. Convert them.",
    )
    single, boxes_type, scores_type = len(boxes.shape) == 2, boxes.dtype, scores.dtype
    if single:
        boxes, scores = op.Unsqueeze(boxes, [0]), op.Unsqueeze(scores, [0])
    limit, count = _limit(max_output), size_of(scores, 1)
    order = _order(scores, scores_type)
    corners = _without_area(cast(boxes, boxes_type, FLOAT))
    corners = op.GatherND(corners, op.Unsqueeze(order, [2]), batch_dims=1)

    ranks = op.Cast(count - _numbers(count), to=FLOAT)  # [N]; the best has N
    ranks = op.Expand(ranks, op.Concat(size_of(scores, 0), typed([1], INT64), count, axis=0))
    if score_threshold is not None:
        enough = op.Greater(scores, op.Cast(typed(score_threshold, DOUBLE), to=scores_type))
        enough = op.Cast(op.GatherElements(op.Cast(enough, to=INT64), order, axis=1), to=BOOL)
        ranks = op.Where(op.Unsqueeze(enough, [1]), ranks, typed(-1.0, FLOAT))
    if idxs is not None:
        values, _, number, _ = op.Unique(op.Cast(idxs, to=INT64))
        number = op.GatherElements(op.Reshape(number, op.Shape(scores), allowzero=1), order, axis=1)
        classes = op.Unsqueeze(_numbers(size_of(values, 0)), [1])
        own = op.Equal(op.Unsqueeze(number, [1]), classes)
        ranks = op.Where(own, ranks, typed(-1.0, FLOAT))  # [B, classes, N]
    selected = op.NonMaxSuppression(
        corners,
        ranks,
        limit,
        typed([_threshold_in_float32(iou_threshold)], FLOAT),
        typed([0.0], FLOAT),
    )
    kept, counts = _in_rows(selected, order, limit)
    return (op.Squeeze(kept, [0]), op.Squeeze(counts, [0])) if single else (kept, counts)


def _numbers(count: Value) -> Value:
    return op.Range(typed(0, INT64), op.Squeeze(count, [0]), typed(1, INT64))


def _in_rows(selected: Value, order: Value, limit: Value) -> tuple[Value, Value]:
    """What NonMaxSuppression returns, (image, class, rank) [M, 3] of all images, as the numbers of
    boxes [B, limit], and how many each image has [B]."""
    images = size_of(order, 0)
    row = size_of(order, 1) + typed([1], INT64)  # no division by zero
    key = op.Squeeze(columns(selected, 0, 1) * row + columns(selected, 2, 3), [1])
    key = op.TopK(key, size_of(key, 0), axis=0, largest=0)[0]  # by image, then by rank
    image = op.Div(key, row)
    rank = key - image * row
    box = op.GatherND(order, op.Concat(op.Unsqueeze(image, [1]), op.Unsqueeze(rank, [1]), axis=1))
    own = op.Equal(op.Unsqueeze(_numbers(images), [1]), op.Unsqueeze(image, [0]))
    counts = op.ReduceSum(op.Cast(own, to=INT64), [1], keepdims=0)
    before = op.CumSum(counts, typed(0, INT64), exclusive=1)
    place = _numbers(size_of(key, 0)) - op.Gather(before, image, axis=0)
    at = op.Concat(op.Unsqueeze(image, [1]), op.Unsqueeze(place, [1]), axis=1)
    fits = place < limit
    rows = op.Expand(typed(-1, INT64), op.Concat(images, limit, axis=0))
    rows = op.ScatterND(rows, op.Compress(at, fits, axis=0), op.Compress(box, fits, axis=0))
    return rows, op.Where(counts < limit, counts, limit)


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
