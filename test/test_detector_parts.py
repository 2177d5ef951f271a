"""The parts of examples/detector: average precision, boxes, pictures, and what stands for what."""

from __future__ import annotations

import sys

import pytest
import torch
from build_tree import ROOT
from torch import Tensor

sys.path.insert(0, str(ROOT / "examples" / "detector"))

from data import KINDS, Sample, Shapes, backgrounds, save_picture
from draw import paste
from evaluate import Found, average_precision, hits, mean_average_precision
from geometry import Rotated, Upright
from loss import IGNORED, NOTHING, Loss, collate, match
from model import Detector
from train import one_cycle

UPRIGHT, ROTATED = Upright(), Rotated()


# Average precision


def found(scores: list[float], overlaps: list[list[float]], labels: list[int] | None = None,
          truth: list[int] | None = None) -> Found:  # fmt: skip
    table = torch.tensor(overlaps).view(len(scores), -1)
    return Found(
        torch.tensor(scores),
        torch.tensor(labels or [0] * len(scores)),
        table,
        torch.tensor(truth or [0] * table.shape[1]),
    )


def test_an_object_is_found_once_and_by_the_best_score() -> None:
    image = found([0.5, 0.9, 0.7], [[0.9, 0.0], [0.6, 0.0], [0.8, 0.55]])
    # 0.9 takes the first object, 0.7 the second, though the first fits better; 0.5 is a double.
    assert hits(image, 0.5).tolist() == [False, True, True]
    assert hits(image, 0.6).tolist() == [False, True, False]
    assert hits(image, 0.7).tolist() == [False, False, True]


def test_a_detection_of_another_class_hits_nothing() -> None:
    image = found([0.9, 0.8], [[1.0, 0.0], [1.0, 0.0]], labels=[1, 0], truth=[0, 1])
    assert hits(image, 0.5).tolist() == [False, True]


@pytest.mark.parametrize(
    "right, count, expected",
    [
        ([1, 1], 2, 1.0),
        ([0, 0], 2, 0.0),
        ([], 3, 0.0),
        ([1], 2, 51 / 101),  # recalls 0 to 0.5
        ([1] * 7 + [0], 25, 29 / 101),  # a recall of 0.28, which no float32 is
        ([0, 1], 1, 0.5),  # precision 1/2 at every recall
        # Precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1: 51 recalls at 1, 50 at 2/3.
        ([1, 0, 1], 2, (51 + 50 * 2 / 3) / 101),
    ],
)
def test_average_precision_of_hand_made_cases(right, count, expected) -> None:
    scores = torch.linspace(0.9, 0.1, len(right))
    got = average_precision(scores, torch.tensor(right, dtype=torch.bool), count)
    assert got == pytest.approx(expected, abs=1e-9)
    shuffled = torch.randperm(len(right))
    again = average_precision(
        scores[shuffled], torch.tensor(right, dtype=torch.bool)[shuffled], count
    )
    assert again == got


def test_mean_over_thresholds_classes_and_images() -> None:
    images = [
        found([0.9, 0.8], [[0.72, 0.0], [0.0, 1.0]], labels=[0, 1], truth=[0, 1]),
        found([0.7], [[1.0]]),
        Found(torch.empty(0), torch.empty(0).long(), torch.empty(0, 0), torch.empty(0).long()),
    ]
    # Class 1 is perfect. Class 0 up to 0.7 too; at the 5 higher thresholds the first one is wrong,
    # the second right: recall 1/2 with precision 1/2.
    ap, ap50 = mean_average_precision(images)
    assert ap50 == pytest.approx(1)
    class_0 = (5 * 1 + 5 * 0.5 * 51 / 101) / 10
    assert ap == pytest.approx((1 + class_0) / 2, abs=1e-6)


# Boxes


def random_boxes(count: int, seed: int) -> Tensor:
    values = torch.rand(count, 5, generator=torch.Generator().manual_seed(seed))
    low, high = torch.tensor([10, 10, 4, 4, -3.0]), torch.tensor([30.0, 30, 24, 16, 3])
    return low + values * (high - low)


def test_a_rotated_box_has_the_axes_that_roiops_gives_it() -> None:
    """Its overlap is that of the points that `within` finds inside."""
    a, b = random_boxes(12, 1), random_boxes(9, 2)
    x = torch.arange(0, 50, 0.1, dtype=torch.float64) + 0.05
    a_in, b_in = (
        (ROTATED.within(k.double(), x, x).abs() <= 1).all(3).flatten(1).double() for k in (a, b)
    )
    shared = a_in @ b_in.T
    counted = shared / (a_in.sum(1)[:, None] + b_in.sum(1) - shared)
    assert (ROTATED.iou(a, b) - counted).abs().max() < 0.01
    assert (counted > 0.2).sum() > 5


def test_the_corners_of_a_box_lie_at_its_ends() -> None:
    rotated = random_boxes(12, 3)
    middle, half = rotated[:, :2], rotated[:, 2:4] / 2
    upright = torch.cat([middle - half, middle + half], 1)
    straight = torch.cat([rotated[:, :4], torch.zeros(12, 1)], 1)
    torch.testing.assert_close(UPRIGHT.corners(upright), ROTATED.corners(straight))
    ends = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    for kind, boxes in ((UPRIGHT, upright), (ROTATED, rotated)):
        for box, corners in zip(boxes, kind.corners(boxes), strict=True):
            x, y = corners.T
            at = kind.within(box[None], x, y)[0].diagonal().T
            torch.testing.assert_close(at, ends, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [UPRIGHT, ROTATED], ids=["upright", "rotated"])
def test_decode_is_the_inverse_of_encode(kind) -> None:
    boxes, anchors = random_boxes(40, 5), random_boxes(40, 6)
    if kind is UPRIGHT:
        boxes, anchors = (torch.cat([b[:, :2], b[:, :2] + b[:, 2:4]], 1) for b in (boxes, anchors))
    again = kind.decode(kind.encode(boxes, anchors), anchors)
    assert kind.iou(boxes, again).diagonal().min() > 0.999


@pytest.mark.parametrize("rotated", [False, True], ids=["upright", "rotated"])
def test_pictures_are_reproducible_and_boxes_fit_the_masks(rotated: bool) -> None:
    kind = ROTATED if rotated else UPRIGHT
    shapes, again = (Shapes(backgrounds(None, False), 3, rotated) for _ in range(2))
    seen = set()
    for i in range(6):
        sample = shapes[i]
        assert all(torch.equal(a, b) for a, b in zip(sample, again[i], strict=True))
        image, boxes, labels, masks = sample
        assert image.shape == (3, 128, 128) and 0 <= image.min() and image.max() <= 1
        assert len(boxes) == len(labels) == len(masks) >= 1
        seen |= set(labels.tolist())
        # The mask, cut out by the box and put back, is the mask; it fills the box.
        cut = kind.crop(masks, boxes, 28)
        put_back = paste(kind, boxes, cut, 128, 128)
        wrong = (put_back != (masks > 0.5)).sum((1, 2)) / (masks > 0.5).sum((1, 2))
        assert wrong.max() < 0.12
        for side in (cut[:, 0], cut[:, -1], cut[:, :, 0], cut[:, :, -1]):
            visible = masks.sum((1, 2)) > 0.99 * shapes[i].masks.sum((1, 2))
            assert (side[visible].amax(1) > 0.1).all()
    assert seen == set(range(len(KINDS)))
    assert not torch.equal(shapes[0].image, shapes[1].image)


def test_which_boxes_stand_for_which_objects() -> None:
    iou = torch.tensor([[0.8, 0.1], [0.1, 0.2], [0.4, 0.3], [0.0, 0.34], [0.6, 0.7]])
    assert match(iou, 0.5, 0.35).tolist() == [0, NOTHING, IGNORED, NOTHING, 1]
    iou[4, 1] = 0.0
    assert match(iou, 0.5, 0.35, every_truth=True).tolist() == [0, NOTHING, IGNORED, 1, 0]
    assert match(torch.empty(3, 0), 0.5, 0.35, every_truth=True).tolist() == [NOTHING] * 3


def test_an_image_without_objects_is_all_background() -> None:
    shapes = Shapes(backgrounds(None, False), 3, rotated=False)
    one, empty = shapes[0], shapes[1]
    empty = Sample(empty.image, *(part[:0] for part in empty[1:]))
    torch.manual_seed(0)
    parts = Loss(Detector("align"))(*collate([one, empty]))
    assert parts.shape == (5,) and parts.isfinite().all()
    parts.sum().backward()


# Training


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 11, 20, 25, 1200])
def test_the_rate_has_a_value_at_every_step(steps) -> None:
    """PyTorch's schedule divided by zero for ten steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = one_cycle(optimizer, 0.5, steps), []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert all(0 <= rate <= 0.5 for rate in rates)
    assert steps < 3 or max(rates) == pytest.approx(0.5)


def test_a_nan_overlap_stands_for_no_object() -> None:
    iou = torch.tensor([[torch.nan], [0.2], [0.1]])
    assert match(iou, 0.5, 0.3, every_truth=True).tolist() == [NOTHING, 0, NOTHING]


def test_every_third_photograph_is_held_out(tmp_path) -> None:
    for number in range(4):
        save_picture(torch.full((3, 4, 4), number / 8), tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    seen = [[round(8 * float(p.mean())) for p in backgrounds(tmp_path, held_out)]
            for held_out in (False, True)]  # fmt: skip
    assert seen == [[0, 1, 3], [2]]
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").unlink()
    with pytest.raises(SystemExit, match="must have three .*, but got 2"):
        backgrounds(tmp_path, held_out=False)
