"""What suppression keeps of more candidates than it takes at once, by the overlaps of all with all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from box_ops import random_boxes, random_rotated

import roiops


def greedy(ious: np.ndarray, scores: torch.Tensor, threshold: float, idxs: torch.Tensor):
    """What is kept, by the overlaps of all with all."""
    left = np.ones(len(ious), bool)
    same = (idxs[:, None] == idxs).numpy()
    kept = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if left[i]:
            kept.append(i)
            left &= ~((ious[i] > threshold) & same[i])
    return kept


def numpy_overlaps(boxes: torch.Tensor) -> np.ndarray:
    """Of upright boxes, in the arithmetic of reference_boxes.iou."""
    x1, y1, x2, y2 = boxes.T.numpy()
    width, height = (
        np.maximum(np.minimum.outer(high, high) - np.maximum.outer(low, low), 0)
        for low, high in ((x1, x2), (y1, y2))
    )
    area = (x2 - x1) * (y2 - y1)
    inner = width * height
    return inner / (np.add.outer(area, area) - inner)


@pytest.mark.parametrize("extent", [100.0, 900.0], ids=("few_kept", "many_kept"))
@pytest.mark.parametrize("threshold", [0.1, 0.7])
def test_several_blocks_of_candidates(extent, threshold, device, generator) -> None:
    """More than the 1024 that the search takes at once, in one class and in some."""
    boxes, scores = random_boxes(3000, generator, extent)
    ious = numpy_overlaps(boxes)
    one, three = torch.zeros(3000).long(), torch.randint(0, 3, (3000,), generator=generator)
    on_device = boxes.to(device), scores.to(device)
    expected = greedy(ious, scores, threshold, one)
    assert roiops.nms(*on_device, threshold).tolist() == expected
    for most in (1023, 1025, 3000):
        numbers, count = roiops.nms_padded(*on_device, threshold, most)
        assert numbers[: int(count)].tolist() == expected[:most]
    got = roiops.batched_nms(*on_device, three.to(device), threshold)
    assert got.tolist() == greedy(ious, scores, threshold, three)


def test_several_blocks_of_rotated_candidates(device, generator) -> None:
    """By the operator's own overlaps, which test_box_iou.py compares."""
    boxes, scores = random_rotated(2500, generator, extent=700.0)
    order = scores.argsort(descending=True, stable=True)
    boxes, scores = boxes[order], scores[order]  # rows: the kept; columns: the candidates
    ious = roiops.box_iou_rotated(boxes, boxes).numpy()
    expected = greedy(ious, scores, 0.3, torch.zeros(2500).long())
    assert len(expected) > 1024
    assert roiops.nms_rotated(boxes.to(device), scores.to(device), 0.3).tolist() == expected
