"""What suppression keeps: against plain loops, on hard boxes, in batches and in padding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import reference_boxes
import torch
from box_ops import HARD_BOXES, hard_boxes, random_boxes, random_rotated
from cases import DTYPES
from test_isa import ISAS, require

import roiops

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
each_type = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).split(".")[1])
each_threshold = pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.8, 1.0])


def in_arithmetic(boxes: torch.Tensor) -> torch.Tensor:
    """The type in which overlaps of these boxes are computed."""
    return boxes if boxes.dtype == torch.float64 else boxes.float()


@each_type
@each_threshold
def test_keeps_what_the_plain_loop_keeps(dtype, threshold, device, generator) -> None:
    boxes, scores = (t.to(dtype) for t in random_boxes(150, generator))
    got = roiops.nms(boxes.to(device), scores.to(device), threshold)
    assert got.dtype == torch.int64 and got.device.type == device
    assert got.tolist() == reference_boxes.nms(in_arithmetic(boxes), scores, threshold)


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 63, 64, 65, 511, 513])
def test_sizes_around_those_of_the_kernels(count, device, generator) -> None:
    boxes, scores = random_boxes(count, generator, extent=200.0)
    got = roiops.nms(boxes.to(device), scores.to(device), 0.3)
    assert got.tolist() == reference_boxes.nms(boxes, scores, 0.3)


@each_threshold
def test_hard_boxes_and_scores(threshold, device) -> None:
    boxes, scores = hard_boxes()
    for b in (boxes, boxes.double()):
        got = roiops.nms(b.to(device), scores.to(device), threshold)
        assert got.tolist() == reference_boxes.nms(b, scores, threshold)


def test_a_box_that_is_not_finite_does_not_suppress(device) -> None:
    names = [n for n in HARD_BOXES if n.startswith(("nan", "all_nan", "inf", "every", "at_inf"))]
    for name in names:
        boxes = torch.tensor([HARD_BOXES[name], HARD_BOXES["plain"], HARD_BOXES[name]])
        got = roiops.nms(boxes.to(device), torch.tensor([3.0, 2, 1], device=device), 0.0)
        assert got.tolist() == [0, 1, 2], name


def test_equal_scores_stay_in_order_and_nan_comes_first(device) -> None:
    boxes = torch.arange(6.0, device=device)[:, None] * 100 + torch.tensor(
        [0.0, 0, 1, 1], device=device
    )
    scores = torch.tensor([0.0, 2, torch.nan, -0.0, 2, torch.inf], device=device)
    assert roiops.nms(boxes, scores, 0.5).tolist() == [2, 5, 1, 4, 0, 3]


def test_a_score_decides_that_only_its_own_type_can_tell(device) -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4]], device=device)
    scores = torch.tensor([1.0, 1 + 1e-12], dtype=torch.float64, device=device)
    assert roiops.nms(boxes, scores, 0.5).tolist() == [1]
    assert roiops.nms(boxes.half(), scores, 0.5).tolist() == [1]


@pytest.mark.parametrize("threshold", [0.1, 1 / 3, 0.3, 0.7])
def test_a_threshold_is_a_double(threshold, device) -> None:
    """Overlaps of exactly float32's nearest number to it: above it or not, by torch's comparison."""
    near = torch.tensor(threshold, dtype=torch.float32)
    boxes = torch.tensor([[0.0, 0, 1, 1], [0.0, 0, 1, 0]])
    boxes[1, 3] = near
    expected = [0] if near.item() > threshold else [0, 1]
    got = roiops.nms(boxes.to(device), torch.tensor([2.0, 1], device=device), threshold)
    assert got.tolist() == expected


@pytest.mark.parametrize("integers", INTEGERS, ids=lambda d: str(d).split(".")[1])
def test_classes_of_any_integers(integers, device, generator) -> None:
    boxes, scores = random_boxes(200, generator)
    idxs = torch.randint(0, 2 if integers == torch.bool else 5, (200,), generator=generator)
    got = roiops.batched_nms(boxes.to(device), scores.to(device), idxs.to(integers).to(device), 0.2)
    assert got.tolist() == reference_boxes.nms(boxes, scores, 0.2, idxs)


def test_classes_are_compared_as_they_are(device, generator) -> None:
    """torchvision shifts coordinates by class, so that some boxes meet those of another one."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [-11, -11, -1, -1]], device=device)
    scores = torch.tensor([0.9, 0.8], device=device)
    idxs = torch.tensor([0, 1], device=device)
    assert roiops.batched_nms(boxes, scores, idxs, 0.5).tolist() == [0, 1]
    boxes, scores = random_boxes(300, generator)
    idxs = torch.randint(-3, 3, (300,), generator=generator) * (2**62 // 3)
    got = roiops.batched_nms(boxes.to(device), scores.to(device), idxs.to(device), 0.1)
    assert got.tolist() == reference_boxes.nms(boxes, scores, 0.1, idxs)


def test_every_box_of_a_class_of_its_own(device, generator) -> None:
    boxes, scores = random_boxes(70, generator, extent=1.0)
    idxs = torch.arange(70)
    got = roiops.batched_nms(boxes.to(device), scores.to(device), idxs.to(device), 0.0)
    assert got.tolist() == reference_boxes.order_of(scores)


@pytest.mark.parametrize("clockwise", [False, True])
@each_type
def test_rotated_boxes(dtype, clockwise, device, generator) -> None:
    boxes, scores = (t.to(dtype) for t in random_rotated(120, generator))
    idxs = torch.randint(0, 2, (120,), generator=generator)
    expected = reference_boxes.nms(boxes, scores, 0.25, idxs, clockwise=clockwise)
    got = roiops.nms_rotated(boxes.to(device), scores.to(device), 0.25, idxs.to(device), clockwise)
    assert got.tolist() == expected
    assert expected != reference_boxes.nms(boxes, scores, 0.25, idxs, clockwise=not clockwise)


@pytest.mark.parametrize("threshold", [0.0, 1e-30, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotated_boxes_that_share_nothing_stay(dtype, threshold, device, generator) -> None:
    boxes, scores = random_rotated(150, generator, extent=300.0)
    boxes = boxes.to(dtype)
    got = roiops.nms_rotated(boxes.to(device), scores.to(device), threshold)
    assert got.tolist() == reference_boxes.nms(boxes, scores, threshold)


def test_suppression_follows_the_matrix(device, generator) -> None:
    """The overlap of a kept box with a candidate, in this order, to the last bit."""
    boxes, scores = random_rotated(300, generator)
    boxes = boxes[scores.argsort(descending=True, stable=True)].to(device)
    ious = roiops.box_iou_rotated(boxes, boxes)
    rows, columns = (ious != ious.T).triu(1).nonzero(as_tuple=True)
    assert len(rows) > 100
    for kept, candidate in zip(rows[:100].tolist(), columns[:100].tolist(), strict=True):
        threshold = min(ious[kept, candidate].item(), ious[candidate, kept].item())
        pair = roiops.nms_rotated(
            boxes[[kept, candidate]], torch.tensor([1.0, 0], device=device), threshold
        )
        assert len(pair) == 2 - int(ious[kept, candidate].item() > threshold)


@pytest.mark.parametrize("most", [0, 1, 5, 64, 200, 300])
def test_padded(most, device, generator) -> None:
    boxes, scores = random_boxes(200, generator)
    kept = reference_boxes.nms(boxes, scores, 0.2)[:most]
    numbers, count = roiops.nms_padded(boxes.to(device), scores.to(device), 0.2, most)
    assert numbers.shape == (most,) and count.shape == () and count.item() == len(kept)
    assert numbers.tolist() == kept + [-1] * (most - len(kept))


@pytest.mark.parametrize("rotated", [False, True])
def test_every_image_has_a_search_of_its_own(rotated, device, generator) -> None:
    make = random_rotated if rotated else random_boxes
    images = [make(90, generator) for _ in range(5)]
    boxes, scores = (torch.stack(list(t)) for t in zip(*images, strict=True))
    idxs = torch.randint(0, 3, (5, 90), generator=generator, dtype=torch.int32)
    for classes in (None, idxs):
        on_device = None if classes is None else classes.to(device)
        numbers, count = roiops.nms_padded(
            boxes.to(device), scores.to(device), 0.2, 30, on_device, 0.25
        )
        assert numbers.shape == (5, 30) and count.shape == (5,)
        for i, image in enumerate(images):
            own = None if classes is None else classes[i]
            kept = reference_boxes.nms(*image, 0.2, own, score_threshold=0.25)[:30]
            assert numbers[i].tolist() == kept + [-1] * (30 - len(kept))
            assert count[i].item() == len(kept)


def test_score_threshold_is_the_comparison_of_torch(device) -> None:
    boxes = torch.arange(5.0)[:, None] * 10 + torch.tensor([0.0, 0, 1, 1])
    scores = torch.tensor([0.3, 0.31, torch.nan, -torch.inf, torch.inf])
    for dtype in DTYPES:
        for threshold in (0.3, 0.31, -torch.inf, torch.inf):
            own = scores.to(dtype)
            expected = [i for i in (4, 1, 0, 3) if (own > threshold)[i]]
            numbers, count = roiops.nms_padded(
                boxes.to(device), own.to(device), 0.5, 5, score_threshold=threshold
            )
            assert numbers[: int(count)].tolist() == expected, (dtype, threshold)


def test_memory_is_linear_in_the_boxes(device) -> None:
    """A matrix of so many boxes would take 45 GB in bits."""
    boxes = torch.tensor([[1.0, 1, 5, 5]], device=device).repeat(600_000, 1)
    scores = torch.linspace(0, 1, len(boxes), device=device)
    assert roiops.nms(boxes, scores, 0.5).tolist() == [len(boxes) - 1]


def test_any_layout(device, generator) -> None:
    boxes, scores = random_boxes(100, generator)
    expected = reference_boxes.nms(boxes, scores, 0.3)
    wide = torch.zeros(100, 9, device=device)
    wide[:, 1:8:2], wide[:, 8] = boxes.to(device), scores.to(device)
    assert roiops.nms(wide[:, 1:8:2], wide[:, 8], 0.3).tolist() == expected
    assert roiops.nms(boxes.to(device).t().contiguous().t(), wide[:, 8], 0.3).tolist() == expected


def test_the_same_for_any_number_of_threads(at_each_thread_count, generator) -> None:
    boxes, scores = random_boxes(6000, generator, extent=600.0)
    idxs = torch.randint(0, 3, (6000,), generator=generator)
    for run in (
        lambda: roiops.nms(boxes, scores, 0.5),
        lambda: roiops.batched_nms(boxes, scores, idxs, 0.5),
        lambda: roiops.nms_padded(boxes.view(4, 1500, 4), scores.view(4, 1500), 0.5, 999)[0],
    ):
        first, *others = at_each_thread_count(run)
        assert all(torch.equal(first, other) for other in others)


def results() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    kept = []
    for dtype in DTYPES:
        boxes, scores = random_boxes(700, generator, extent=300.0)
        turned, _ = random_rotated(300, generator)
        kept += [
            roiops.nms(boxes.to(dtype), scores, 0.4),
            roiops.nms_rotated(turned.to(dtype), scores[:300], 0.4),
            *roiops.soft_nms(boxes.to(dtype), scores, method="gaussian", min_score=0.2),
            roiops.box_iou(boxes.to(dtype), boxes[:37].to(dtype)),
            roiops.box_iou_rotated(turned.to(dtype), turned[:37].to(dtype)),
        ]
    return kept


def save(path: str) -> None:
    """Run by the test below."""
    torch.save([torch.backends.cpu.get_cpu_capability(), results()], path)


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set_gives_the_same_bits(isa: str, tmp_path: Path) -> None:
    file = tmp_path / "results.pt"
    code = "import sys, test_nms; test_nms.save(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(file)],
        cwd=Path(__file__).parent,
        env=os.environ | {"ATEN_CPU_CAPABILITY": isa},
        check=True,
    )
    capability, actual = torch.load(file)
    require(isa, capability)
    for a, b in zip(actual, results(), strict=True):
        assert torch.equal(a, b)
