"""What may be off in an overlap: the bound of a rotated one, and one-sided derivatives of upright
ones, whose autograd may take any value between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import reference_boxes
import torch
from torch import Tensor

UNITS = 2  # in the last place, of lengths: a quarter of the bound has been seen


class Expected(NamedTuple):
    """An IoU; a bound of infinity: 0 to 1, or NaN."""

    value: float
    bound: float


def rotated(a: Tensor, b: Tensor, clockwise: bool) -> Expected:
    """Of rows in the type of the arithmetic.

    Corners are wrong by some units of the boxes' reach, and so are the edges of the part that is
    shared, which is convex and no longer around than either box. What has no area in the type, or
    too much, follows NOTE [IoU].
    """
    limits = torch.finfo(a.dtype)
    exact = reference_boxes.iou_rotated(a, b, clockwise)
    if math.isnan(exact) or min(*a[2:4].tolist(), *b[2:4].tolist()) <= 0:
        return Expected(exact, 0.0)
    with np.errstate(all="ignore"):
        own = [row[2:4].numpy() for row in (a, b)]
        areas = [float(w * h) for w, h in own]
        whole = float(own[0][0] * own[0][1] + own[1][0] * own[1][1])
    if not math.isfinite(whole):
        return Expected(0.0, math.inf if min(areas) == math.inf else 0.0)
    if whole == 0:
        return Expected(0.0, 0.0)
    sides = [[float(side) for side in row] for row in own]
    radii = [math.hypot(*pair) / 2 for pair in sides]
    away = math.hypot(*(a[:2].double() - b[:2].double()).tolist())
    if away > sum(radii) * (1 + 1e-5) + UNITS * limits.smallest_normal:
        return Expected(0.0, 0.0)
    smallest = limits.smallest_normal * limits.eps
    off = UNITS * (limits.eps * sum(radii) + smallest)
    around = min(2 * sum(pair) for pair in sides)
    return Expected(exact, (off * around + UNITS * smallest) / max(areas) + UNITS * limits.eps)


class Slope(NamedTuple):
    """Of an overlap by a coordinate: between `low` and `high`, with the sum of absolute terms."""

    low: float
    high: float
    terms: float


def side_slopes(low: Sequence[float], high: Sequence[float]) -> list[tuple[float, float]]:
    """Of min(high) - max(low), where that is positive: by the first low and the first high; least
    and largest."""
    length = min(high) - max(low)
    results = []
    for own, other, sign in ((-low[0], -low[1], -1.0), (high[0], high[1], 1.0)):
        choices = {0.0} if own > other else {sign} if own < other else {0.0, sign}
        choices = {0.0} if length < 0 else choices | ({0.0} if length == 0 else set())
        results.append((min(choices), max(choices)))
    return results


def slopes(a: Sequence[float], b: Sequence[float]) -> list[Slope]:
    """Of the IoU of two finite boxes by the coordinates of the first."""
    sides = [(box[2] - box[0], box[3] - box[1]) for box in (a, b)]
    shared = [max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0.0) for i in range(2)]
    inner, total = shared[0] * shared[1], sum(w * h for w, h in sides)
    whole = total - inner
    if whole <= 0:
        return [Slope(0.0, 0.0, 0.0)] * 4
    result = []
    for i in range(4):
        axis = i % 2
        pair = [(a[j], b[j]) for j in (axis, axis + 2)]
        ends = [e * shared[1 - axis] for e in side_slopes(*pair)[i // 2]]
        by_area = (1.0 if i >= 2 else -1.0) * sides[0][1 - axis]
        values = [(e * total - inner * by_area) / whole**2 for e in ends]
        biggest = max(abs(e) for e in ends) * (abs(total) + inner) + 2 * inner * abs(by_area)
        result.append(Slope(min(values), max(values), biggest / whole**2))
    return result


def gradient(boxes1: Tensor, boxes2: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By boxes1 [N, 4]: least, largest, and sum of absolute terms."""
    low, high, terms = (torch.zeros(len(boxes1), 4, dtype=torch.float64) for _ in range(3))
    for i, a in enumerate(boxes1.double().tolist()):
        for j, b in enumerate(boxes2.double().tolist()):
            weight = float(grad[i, j])
            for k, slope in enumerate(slopes(a, b)):
                ends = slope.low * weight, slope.high * weight
                low[i, k] += min(ends)
                high[i, k] += max(ends)
                terms[i, k] += abs(weight) * slope.terms
    return low, high, terms
