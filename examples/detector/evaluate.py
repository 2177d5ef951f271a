"""Average precision as COCO defines it: areas, crowds and limits aside."""

from typing import NamedTuple

import torch
from torch import Tensor

THRESHOLDS = torch.arange(0.5, 1.0, 0.05)  # of intersection over union
RECALLS = torch.linspace(0, 1, 101, dtype=torch.float64)


class Found(NamedTuple):
    """What was found in an image, beside what there is."""

    scores: Tensor  # [D]
    labels: Tensor  # [D]
    overlaps: Tensor  # [D, G], intersection over union of each detection and each object
    truth: Tensor  # [G], labels of the objects


def hits(found: Found, threshold: float) -> Tensor:
    """[D] bool: which detections are right, when the best scores choose first.

    A detection takes the object of its class that it overlaps most and that is not taken yet, if it
    overlaps that by `threshold` or more.
    """
    right = torch.zeros(len(found.scores), dtype=torch.bool)
    free = torch.ones(len(found.truth), dtype=torch.bool)
    for d in found.scores.argsort(descending=True, stable=True).tolist():
        allowed = free & (found.truth == found.labels[d])
        overlaps = torch.where(allowed, found.overlaps[d], -1.0)
        if len(overlaps) and overlaps.max() >= threshold:
            right[d], free[overlaps.argmax()] = True, False
    return right


def average_precision(scores: Tensor, right: Tensor, count: int) -> float:
    """The mean precision at 101 recalls, of detections of one class and `count` objects."""
    right = right[scores.argsort(descending=True, stable=True)].double()
    recall = right.cumsum(0) / count
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
    # At each recall, the best precision at that recall or any higher one.
    precision = precision.flip(0).cummax(0).values.flip(0)
    at = torch.searchsorted(recall, RECALLS - 1e-9)
    return torch.cat([precision, torch.zeros(1)])[at].mean().item()


def mean_average_precision(images: list[Found]) -> tuple[float, float]:
    """AP@[.5:.95] and AP@.5, means over the classes that there are."""
    scores = torch.cat([f.scores for f in images])
    labels = torch.cat([f.labels for f in images])
    truth = torch.cat([f.truth for f in images])
    rows = []
    for threshold in THRESHOLDS.tolist():
        right = torch.cat([hits(f, threshold - 1e-6) for f in images])
        classes = truth.unique().tolist()
        each = [
            average_precision(scores[labels == c], right[labels == c], int((truth == c).sum()))
            for c in classes
        ]
        rows.append(sum(each) / len(each))
    return sum(rows) / len(rows), rows[0]
