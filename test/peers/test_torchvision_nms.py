"""torchvision's nms, batched_nms and box_iou: the same boxes and bits; its defects are absent."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from box_ops import HARD_BOXES, hard_boxes, random_boxes, random_rotated

import roiops

torchvision = pytest.importorskip("torchvision", reason="compares with torchvision")
theirs = torchvision.ops

each_threshold = pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
two_types = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=("f64", "f32"))


def of_their_tests(count: int, threshold: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """test_ops.py: boxes of which one has nearly the threshold as its IoU with another."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 4, generator=generator) * 100
    boxes[:, 2:] += boxes[:, :2]
    boxes[-1] = boxes[0]
    x0, _, x1, _ = boxes[-1].tolist()
    boxes[-1, 2] += (x1 - x0) * (1 - (threshold + 1e-5)) / (threshold + 1e-5)
    return boxes, torch.rand(count, generator=generator)


@pytest.mark.parametrize("seed", range(10))
@each_threshold
def test_their_own_boxes(threshold, seed) -> None:
    boxes, scores = of_their_tests(1000, threshold, seed)
    assert torch.equal(roiops.nms(boxes, scores, threshold), theirs.nms(boxes, scores, threshold))


@two_types
@pytest.mark.parametrize("threshold", [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("extent", [30.0, 300.0, 3000.0])
def test_random_boxes(threshold, extent, dtype, generator) -> None:
    boxes, scores = (t.to(dtype) for t in random_boxes(2500, generator, extent=extent))
    scores = (scores * 500).round() / 500  # with ties
    assert torch.equal(roiops.nms(boxes, scores, threshold), theirs.nms(boxes, scores, threshold))


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 1.0])
def test_boxes_whose_overlaps_are_the_threshold(threshold, generator) -> None:
    """On whole numbers below five many overlaps are just that."""
    boxes = torch.randint(0, 5, (800, 4), generator=generator).float()
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.rand(800, generator=generator)
    assert torch.equal(roiops.nms(boxes, scores, threshold), theirs.nms(boxes, scores, threshold))


@two_types
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_hard_boxes_and_scores(threshold, dtype) -> None:
    boxes, scores = (t.to(dtype) for t in hard_boxes())
    assert torch.equal(roiops.nms(boxes, scores, threshold), theirs.nms(boxes, scores, threshold))


@each_threshold
@pytest.mark.parametrize("count", [1000, 5000])
def test_batched(threshold, count, generator) -> None:
    """By torchvision's loop over classes; its shifted coordinates round, and its last sort is not
    stable."""
    boxes, scores = random_boxes(count, generator)
    idxs = torch.randint(0, 4, (count,), generator=generator)
    expected = theirs.boxes._batched_nms_vanilla(boxes, scores, idxs, threshold)
    got = roiops.batched_nms(boxes, scores, idxs, threshold)
    assert torch.equal(got.sort()[0], expected.sort()[0])
    assert torch.equal(scores[got], scores[expected])


def test_classes_that_torchvision_lets_meet() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [-11, -11, -1, -1]])
    scores, idxs = torch.tensor([0.9, 0.8]), torch.tensor([0, 1])
    assert roiops.batched_nms(boxes, scores, idxs, 0.5).tolist() == [0, 1]
    assert theirs.batched_nms(boxes, scores, idxs, 0.5).tolist() == [0]  # or tell migration.md


@two_types
def test_box_iou_has_their_bits(dtype, generator) -> None:
    boxes1, boxes2 = (random_boxes(n, generator)[0].to(dtype) for n in (200, 130))
    assert torch.equal(roiops.box_iou(boxes1, boxes2), theirs.box_iou(boxes1, boxes2))


def test_box_iou_of_hard_boxes() -> None:
    """Where torchvision gives a number it is ours; NaN of boxes without area is 0 here."""
    boxes = torch.tensor(list(HARD_BOXES.values()))
    ours, other = roiops.box_iou(boxes, boxes), theirs.box_iou(boxes, boxes)
    numbers = ~other.isnan()
    assert torch.equal(ours[numbers], other[numbers])
    more = ~numbers & ~ours.isnan()
    assert (ours[more] == 0).all() and more.any()


@two_types
@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0, 1.5, math.nan])
def test_patched(threshold, dtype, generator) -> None:
    """Their function on our kernel, with any threshold that is not negative."""
    for boxes, scores in (random_boxes(700, generator), hard_boxes()):
        boxes, scores = boxes.to(dtype), scores.to(dtype)
        expected = theirs.nms(boxes, scores, threshold)
        with roiops.torchvision_patched():
            assert torch.equal(theirs.nms(boxes, scores, threshold), expected)
    with roiops.torchvision_patched():
        assert theirs.nms(boxes[:0], scores[:0], threshold).tolist() == []
        for wrong in ((boxes[0], scores), (boxes[:, :3], scores), (boxes, scores[:3])):
            with pytest.raises(RuntimeError):
                theirs.nms(*wrong, threshold)
        with pytest.raises(
            RuntimeError, match="`scores` must be float32 as `dets`, but got float64"
        ):
            theirs.nms(boxes.float(), scores.double(), threshold)
        with pytest.raises(
            RuntimeError, match="nms: `iou_threshold` must not be negative, but got -0.5"
        ):
            theirs.nms(boxes, scores, -0.5)


@pytest.mark.parametrize("name", ["nms", "batched_nms", "box_iou"])
def test_signatures(name) -> None:
    ours, other = (list(inspect.signature(getattr(m, name)).parameters) for m in (roiops, theirs))
    assert ours == other[: len(ours)]


@pytest.mark.skipif(
    not hasattr(torch.ops.torchvision, "box_iou_rotated"), reason="torchvision 0.29 has it"
)
@two_types
def test_box_iou_rotated(dtype, generator) -> None:
    """torchvision's angles are degrees, of the same direction."""
    boxes1, boxes2 = (random_rotated(n, generator)[0].to(dtype) for n in (60, 50))
    degrees = torch.tensor([1, 1, 1, 1, 180 / math.pi], dtype=dtype)
    other = torch.ops.torchvision.box_iou_rotated(boxes1 * degrees, boxes2 * degrees)
    assert (roiops.box_iou_rotated(boxes1, boxes2) - other).abs().max() < 1e-4


def test_rotated_overlaps(generator) -> None:
    """Those of torchvision 0.29, in degrees. It returns float32 for float64 boxes, 2e-6 off; of
    float32 boxes single pairs are wrong by 0.46, so that nothing can be compared."""
    if not hasattr(torch.ops.torchvision, "box_iou_rotated"):
        pytest.skip("this torchvision has no overlaps of rotated boxes")
    for extent in (2.0, 50.0, 400.0):
        turned = [random_rotated(200, generator, extent)[0].double() for _ in range(2)]
        degrees = [torch.cat([t[:, :4], t[:, 4:].rad2deg()], 1) for t in turned]
        expected = theirs.box_iou(*degrees, fmt="cxcywhr")
        ours = roiops.box_iou_rotated(*turned)
        torch.testing.assert_close(ours, expected.double(), rtol=0, atol=1e-5)
