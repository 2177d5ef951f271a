"""Soft suppression against the paper's loop in float64."""

from __future__ import annotations

import pytest
import reference_boxes
import torch
from box_ops import hard_boxes, random_boxes, random_rotated
from cases import DTYPES
from tolerance import HALF_TYPES

import roiops

each_method = pytest.mark.parametrize("method", ["linear", "gaussian"])


def check(boxes, scores, device, least=0.05, **options) -> int:
    """Rounding may exchange boxes of nearly the same score: here none are so near."""
    numbers, lowered = roiops.soft_nms(
        boxes.to(device), scores.to(device), min_score=least, **options
    )
    idxs = options.pop("idxs", None)
    wide = boxes if boxes.dtype == torch.float64 else boxes.float()
    kept, values = reference_boxes.soft_nms(wide, scores, min_score=least, idxs=idxs, **options)
    assert numbers.tolist() == kept and numbers.dtype == torch.int64
    assert lowered.dtype == scores.dtype
    bound = torch.finfo(scores.dtype).eps if scores.dtype in HALF_TYPES else 1e-5
    expected = torch.tensor(values, dtype=torch.float64)
    assert ((lowered.cpu().double() - expected).abs() <= bound * expected.abs()).all()
    return len(kept)


@each_method
def test_an_infinite_score_never_becomes_nan(method, device) -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [9, 9, 12, 12]], device=device)
    scores = torch.tensor([torch.inf, torch.inf, 0.5], device=device)
    kept, lowered = roiops.soft_nms(boxes, scores, sigma=1e-30, method=method)
    assert kept.tolist() == [0, 2] and lowered.tolist() == [torch.inf, 0.5]


@each_method
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).split(".")[1])
def test_follows_the_paper(method, dtype, device, generator) -> None:
    boxes, scores = random_boxes(120, generator, extent=40.0)
    assert 20 < check(boxes.to(dtype), scores, device, method=method) < 120


@each_method
def test_scores_keep_their_type(method, device, generator) -> None:
    boxes, _ = random_boxes(60, generator, extent=20.0)
    scores = torch.randperm(60, generator=generator) / 64 + 1 / 64
    for dtype in DTYPES:
        check(boxes, scores.to(dtype), device, method=method)


@each_method
def test_classes(method, device, generator) -> None:
    boxes, scores = random_boxes(100, generator, extent=20.0)
    idxs = torch.randint(0, 3, (100,), generator=generator)
    check(boxes, scores, device, method=method, idxs=idxs)


def test_options(device, generator) -> None:
    boxes, scores = random_boxes(100, generator, extent=20.0)
    narrow = check(boxes, scores, device, sigma=0.1, method="gaussian")
    assert narrow < check(boxes, scores, device, sigma=2.0, method="gaussian")
    assert check(boxes, scores, device, iou_threshold=0.0) < check(
        boxes, scores, device, iou_threshold=0.9
    )


def test_rotated_boxes(device, generator) -> None:
    check(*random_rotated(60, generator), device)


@each_method
def test_hard_boxes_and_scores(method, device) -> None:
    boxes, scores = hard_boxes()
    numbers, lowered = roiops.soft_nms(
        boxes.to(device), scores.to(device), method=method, min_score=0.1
    )
    assert len(set(numbers.tolist())) == len(numbers)
    assert lowered[0].isnan() and not (lowered < 0.1).any()
    finite = lowered[~lowered.isnan()]
    assert (finite[1:] <= finite[:-1]).all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_boxes(count, device, generator) -> None:
    boxes, scores = random_boxes(count, generator)
    numbers, lowered = roiops.soft_nms(boxes.to(device), scores.to(device), min_score=0)
    assert sorted(numbers.tolist()) == list(range(count)) and len(lowered) == count


def test_padded_and_in_batches(device, generator) -> None:
    images = [random_boxes(50, generator, extent=20.0) for _ in range(3)]
    boxes, scores = (torch.stack(list(t)).to(device) for t in zip(*images, strict=True))
    numbers, lowered, count = torch.ops.roiops.soft_nms_padded(boxes, scores, 60, min_score=0.1)
    for i in range(3):
        kept, values = roiops.soft_nms(boxes[i], scores[i], min_score=0.1)
        size = len(kept)
        assert count[i].item() == size < 50
        assert torch.equal(numbers[i, :size], kept) and (numbers[i, size:] == -1).all()
        assert torch.equal(lowered[i, :size], values) and (lowered[i, size:] == 0).all()


def test_backward_raises(device, generator) -> None:
    boxes, scores = (t.to(device).requires_grad_() for t in random_boxes(9, generator))
    numbers, lowered = roiops.soft_nms(boxes, scores)
    assert not numbers.requires_grad
    with pytest.raises(RuntimeError, match="roiops::soft_nms_padded is not implemented"):
        lowered.sum().backward()
