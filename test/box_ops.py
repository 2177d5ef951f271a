"""The operators on boxes alone: suppression and overlaps.

They pool no features, so that the rows of op_table.py, and the tests that are parametrised by them,
say nothing about them. Tests of all operators of the library add these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import roiops

BOX_OPS = ("box_iou", "box_iou_rotated", "nms_padded", "soft_nms_padded")
#: Functions that cut the result of one of them, in Python and in C++.
CUT_FUNCTIONS = ("nms", "batched_nms", "nms_rotated", "soft_nms")

Boxes = tuple[torch.Tensor, torch.Tensor]


def random_boxes(
    count: int, generator: torch.Generator, extent: float = 100.0, size: float = 30.0
) -> Boxes:
    """Boxes [N, 4] and scores [N], float32."""
    corner = torch.rand(count, 2, generator=generator) * extent
    side = torch.rand(count, 2, generator=generator) * size
    return torch.cat([corner, corner + side], 1), torch.rand(count, generator=generator)


def random_rotated(
    count: int, generator: torch.Generator, extent: float = 100.0, size: float = 40.0
) -> Boxes:
    """Boxes [N, 5] and scores [N], float32; angles beyond a turn."""
    boxes, scores = random_boxes(count, generator, extent, size)
    corner, end = boxes[:, :2], boxes[:, 2:]
    angle = torch.rand(count, 1, generator=generator) * 18 - 9
    return torch.cat([(corner + end) / 2, end - corner, angle], 1), scores


NAN, INF = float("nan"), float("inf")
HARD_BOXES = {
    "plain": (1.0, 2.0, 9.0, 8.0),
    "the_same": (1.0, 2.0, 9.0, 8.0),
    "inside": (2.0, 3.0, 8.5, 7.5),
    "touches": (9.0, 2.0, 17.0, 8.0),
    "no_width": (4.0, 2.0, 4.0, 8.0),
    "point": (5.0, 5.0, 5.0, 5.0),
    "same_point": (5.0, 5.0, 5.0, 5.0),
    "reversed_x": (9.0, 2.0, 1.0, 8.0),
    "reversed": (9.0, 8.0, 1.0, 2.0),
    "negative": (-11.0, -11.0, -1.0, -1.0),
    "nan_x1": (NAN, 2.0, 9.0, 8.0),
    "nan_y2": (1.0, 2.0, 9.0, NAN),
    "all_nan": (NAN, NAN, NAN, NAN),
    "infinite": (1.0, 2.0, INF, 8.0),
    "everything": (-INF, -INF, INF, INF),
    "at_infinity": (INF, INF, INF, INF),
    "huge": (-3e38, -3e38, 3e38, 3e38),
    "wide": (-1e30, 2.0, 1e30, 8.0),
    "far": (1e30, 1e30, 1.1e30, 1.1e30),
    "tiny": (1.0, 1.0, 1.0 + 1e-6, 1.0 + 1e-6),
    "denormal": (0.0, 0.0, 1e-20, 1e-22),
    "same_denormal": (0.0, 0.0, 1e-20, 1e-22),
    "half_denormal": (0.0, 0.0, 0.5e-20, 1e-22),
}


def hard_boxes() -> Boxes:
    """Every hard box twice, with scores that are equal, NaN, infinite and of both zeros."""
    boxes = torch.tensor(list(HARD_BOXES.values())).repeat(2, 1)
    scores = torch.linspace(-1, 1, len(boxes))[torch.arange(len(boxes)) * 7 % len(boxes)]
    for i, score in enumerate((NAN, INF, -INF, 0.0, -0.0, 0.5, 0.5, 0.0)):
        scores[3 * i] = score
    return boxes, scores


BoxCall = tuple[Callable[..., Any], tuple[Any, ...]]


def sample_calls(upright: Boxes, rotated: Boxes) -> dict[str, BoxCall]:
    """Each function with its arguments, tensors first; and the operator that has none."""
    (boxes, scores), (turned, others) = upright, rotated
    idxs = torch.arange(len(scores)) % 3
    images = torch.stack([boxes, boxes.flip(0)]), torch.stack([scores, scores])
    return {
        "nms": (roiops.nms, (boxes, scores, 0.3)),
        "batched_nms": (roiops.batched_nms, (boxes, scores, idxs, 0.3)),
        "nms_rotated": (roiops.nms_rotated, (turned, others, 0.3)),
        "soft_nms": (roiops.soft_nms, (boxes, scores)),
        "nms_padded": (roiops.nms_padded, (*images, 0.3, len(scores))),
        "soft_nms_padded": (torch.ops.roiops.soft_nms_padded, (turned, others, len(others))),
        "box_iou": (roiops.box_iou, (boxes, boxes)),
        "box_iou_rotated": (roiops.box_iou_rotated, (turned, turned)),
    }


def results_of(call: BoxCall) -> tuple[torch.Tensor, ...]:
    function, arguments = call
    result = function(*arguments)
    return result if isinstance(result, tuple) else (result,)
