"""Suppression and overlaps, slowly: plain loops from the papers.

IoU of axis-aligned boxes is in the boxes' own type, because suppression compares it with a
threshold; that of rotated boxes, and everything about soft suppression, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

Point = tuple[float, float]


def iou(a: Tensor, b: Tensor) -> float:
    """Of two rows (x1, y1, x2, y2), in numpy scalars of their type."""
    with np.errstate(all="ignore"):
        ax1, ay1, ax2, ay2 = a.numpy()
        bx1, by1, bx2, by2 = b.numpy()
        zero = a.numpy().dtype.type(0)
        width = max(zero, min(ax2, bx2) - max(ax1, bx1))
        height = max(zero, min(ay2, by2) - max(ay1, by1))
        inner = width * height
        whole = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - inner
        return 0.0 if whole <= 0 else float(inner / whole)


def corners(box: Sequence[float], clockwise: bool = False) -> list[Point]:
    """Of (cx, cy, w, h, angle), in the order of the box's own axes."""
    cx, cy, w, h, angle = box
    turn = -angle if clockwise else angle
    cosine, sine = math.cos(turn), math.sin(turn)
    own = [(-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2)]
    return [(cx + x * cosine + y * sine, cy + y * cosine - x * sine) for x, y in own]


def turned_back(polygon: list[Point], angle: float, clockwise: bool) -> list[Point]:
    """As seen along the axes of a box at this angle."""
    turn = -angle if clockwise else angle
    cosine, sine = math.cos(turn), math.sin(turn)
    return [(x * cosine - y * sine, y * cosine + x * sine) for x, y in polygon]


def clip(polygon: list[Point], start: Point, end: Point) -> list[Point]:
    """The part on the left of a line (Sutherland and Hodgman, 1974)."""

    def side(p: Point) -> float:
        return (end[0] - start[0]) * (p[1] - start[1]) - (end[1] - start[1]) * (p[0] - start[0])

    result: list[Point] = []
    for i, p in enumerate(polygon):
        q = polygon[(i + 1) % len(polygon)]
        of_p, of_q = side(p), side(q)
        if of_p >= 0:
            result.append(p)
        if (of_p >= 0) != (of_q >= 0):
            t = of_p / (of_p - of_q)
            result.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
    return result


def area(polygon: list[Point]) -> float:
    """Seen from the first corner, so that far boxes lose nothing."""
    if len(polygon) < 3:
        return 0.0
    x0, y0 = polygon[0]
    moved = [(x - x0, y - y0) for x, y in polygon]
    pairs = zip(moved, moved[1:] + moved[:1], strict=True)
    return sum(p[0] * q[1] - p[1] * q[0] for p, q in pairs) / 2


def iou_rotated(a: Tensor, b: Tensor, clockwise: bool = False) -> float:
    first, second = a.double().tolist(), b.double().tolist()
    if not all(map(math.isfinite, first + second)):
        return math.nan
    if min(*first[2:4], *second[2:4]) <= 0:
        return 0.0
    if first[2] + first[3] > second[2] + second[3]:
        first, second = second, first
    unit = max(second[2:4])  # a product of lengths may leave the range of numbers
    (w1, h1), (w2, h2) = ([side / unit for side in box[2:4]] for box in (first, second))
    x, y = ((b - a) / unit for a, b in zip(first[:2], second[:2], strict=True))
    if not max(abs(x), abs(y)) < 3:  # each reaches less than 1
        return 0.0
    inner = turned_back(corners((x, y, w2, h2, second[4]), clockwise), first[4], clockwise)
    frame = corners((0.0, 0.0, w1, h1, 0.0))  # the smaller one, seen from itself
    for i in range(4):
        inner = clip(inner, frame[i], frame[(i + 1) % 4])
    shared = area(inner)
    whole = w1 * h1 + w2 * h2 - shared
    return shared / whole if whole > 0 else 0.0


def matrix(overlap: Callable[[Tensor, Tensor], float], boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """[N, M], float64."""
    rows = [[overlap(a, b) for b in boxes2] for a in boxes1]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(boxes1), len(boxes2))


def iou_function(boxes: Tensor, clockwise: bool = False) -> Callable[[Tensor, Tensor], float]:
    return partial(iou_rotated, clockwise=clockwise) if boxes.shape[1] == 5 else iou


def order_of(scores: Tensor) -> list[int]:
    """By decreasing score; NaN first, equal ones in order."""
    values = scores.double().tolist()
    return sorted(
        range(len(values)),
        key=lambda i: (0, 0.0) if math.isnan(values[i]) else (1, -values[i]),
    )


def nms(
    boxes: Tensor, scores: Tensor, threshold: float, idxs: Tensor | None = None,
    score_threshold: float | None = None, clockwise: bool = False,
) -> list[int]:  # fmt: skip
    overlap = iou_function(boxes, clockwise)
    kept: list[int] = []
    for i in order_of(scores):
        if score_threshold is not None and not scores[i] > score_threshold:
            continue
        rivals = [j for j in kept if idxs is None or idxs[i] == idxs[j]]
        if not any(overlap(boxes[j], boxes[i]) > threshold for j in rivals):
            kept.append(i)
    return kept


def soft_nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float = 0.3, sigma: float = 0.5,
    min_score: float = 1e-3, method: str = "linear", idxs: Tensor | None = None,
) -> tuple[list[int], list[float]]:  # fmt: skip
    """Bodla et al., arXiv:1704.04503, figure 2."""
    overlap = iou_function(boxes)
    left = dict(enumerate(scores.double().tolist()))
    kept: list[tuple[int, float]] = []
    while left:
        best = order_of(torch.tensor(list(left.values()), dtype=torch.float64))[0]
        number = list(left)[best]
        score = left.pop(number)
        if score < min_score:
            break
        kept.append((number, score))
        for i, value in left.items():
            if idxs is not None and idxs[i] != idxs[number]:
                continue
            shared = overlap(boxes[number].double(), boxes[i].double())
            factor = 1.0
            if method == "gaussian" and shared > 0:
                factor = math.exp(-(shared**2) / sigma)
            elif method == "linear" and shared >= iou_threshold and shared > 0:
                factor = 1 - shared
            left[i] = value * factor if factor or math.isnan(value) else 0.0
    return [k for k, _ in kept], [s for _, s in kept]
