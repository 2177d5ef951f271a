"""Matrices of overlaps: values against plain loops, gradients, hard boxes."""

from __future__ import annotations

import math

import pytest
import reference_boxes
import torch
from box_ops import HARD_BOXES, random_boxes, random_rotated
from cases import DTYPES
from reference_boxes import matrix

import roiops

each_type = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).split(".")[1])


def same(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.equal(actual.isnan(), expected.isnan()) and torch.equal(
        actual.nan_to_num(), expected.nan_to_num()
    )


@each_type
@pytest.mark.parametrize("sizes", [(0, 0), (0, 3), (3, 0), (1, 1), (5, 17), (40, 32)], ids=str)
def test_the_bits_of_the_plain_loop(dtype, sizes, device, generator) -> None:
    boxes1, boxes2 = (random_boxes(n, generator)[0].to(dtype) for n in sizes)
    got = roiops.box_iou(boxes1.to(device), boxes2.to(device)).cpu()
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert got.dtype == wide and got.shape == sizes
    expected = matrix(reference_boxes.iou, boxes1.to(wide), boxes2.to(wide))
    assert same(got, expected.to(wide))


@pytest.mark.parametrize("wide", [torch.float64, torch.float32], ids=("f64", "f32"))
def test_hard_boxes(wide, device) -> None:
    boxes = torch.tensor(list(HARD_BOXES.values()), dtype=wide)
    got = roiops.box_iou(boxes.to(device), boxes.to(device)).cpu()
    assert same(got, matrix(reference_boxes.iou, boxes, boxes).to(wide))
    for boxes_on in (boxes.to(device), boxes.to(device).requires_grad_()):
        assert same(roiops.box_iou(boxes_on, boxes_on).cpu().detach(), got)


def test_two_types(device, generator) -> None:
    boxes1, boxes2 = random_boxes(4, generator)[0], random_boxes(5, generator)[0]
    got = roiops.box_iou(boxes1.to(device).half(), boxes2.to(device).double())
    assert torch.equal(
        got, roiops.box_iou(boxes1.to(device).half().double(), boxes2.to(device).double())
    )


def test_derivatives(device, generator) -> None:
    boxes = [random_boxes(n, generator)[0].double().to(device).requires_grad_() for n in (6, 5)]
    torch.autograd.gradcheck(roiops.box_iou, boxes, check_forward_ad=True, check_batched_grad=True)
    torch.autograd.gradgradcheck(roiops.box_iou, boxes)


def test_gradients_have_the_types_of_the_boxes_and_no_nan(device) -> None:
    boxes = torch.tensor([HARD_BOXES[n] for n in ("plain", "point", "reversed_x")], device=device)
    for dtype in DTYPES:
        leaf = boxes.to(dtype, copy=True).requires_grad_()
        roiops.box_iou(leaf, leaf).sum().backward()
        assert leaf.grad.dtype == dtype and not leaf.grad.isnan().any()


@pytest.mark.parametrize("clockwise", [False, True])
@each_type
def test_rotated(dtype, clockwise, device, generator) -> None:
    boxes1, boxes2 = (random_rotated(n, generator)[0].to(dtype) for n in (40, 33))
    got = roiops.box_iou_rotated(boxes1.to(device), boxes2.to(device), clockwise).cpu()
    expected = matrix(lambda a, b: reference_boxes.iou_rotated(a, b, clockwise), boxes1, boxes2)
    assert (expected > 0).double().mean() > 0.1
    bound = 1e-12 if dtype == torch.float64 else 2e-6
    assert (got.double() - expected).abs().max() <= bound


def test_the_reference_counts_samples(generator) -> None:
    """The loop that clips polygons, against points of a fine grid."""
    step = 0.02
    axis = torch.arange(-6, 6, step, dtype=torch.float64) + step / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")

    def inside(box: torch.Tensor) -> torch.Tensor:
        cx, cy, w, h, angle = box.tolist()
        dx, dy = x - cx, y - cy  # the box's own axes turn counter-clockwise, y points down
        across = dx * math.cos(angle) - dy * math.sin(angle)
        down = dx * math.sin(angle) + dy * math.cos(angle)
        return (across.abs() <= w / 2) & (down.abs() <= h / 2)

    boxes = random_rotated(12, generator, extent=2.0, size=5.0)[0].double()
    for a, b in zip(boxes[:6], boxes[6:], strict=True):
        counted = (inside(a) & inside(b)).sum() / (inside(a) | inside(b)).sum()
        assert abs(reference_boxes.iou_rotated(a, b) - counted.item()) < 0.01


@pytest.mark.parametrize("turns", range(-8, 9))
def test_quarter_turns_are_axis_aligned_boxes(turns, device) -> None:
    boxes = torch.tensor(
        [[3.0, 2, 4, 1], [3, 2, 4, 1], [4, 2.5, 2, 3], [20, 20, 2, 2], [7, 2, 4, 1]]
    )
    angle = torch.full((5, 1), turns * math.pi / 2)
    side = boxes[:, 2:].flip(1) if turns % 2 else boxes[:, 2:]
    straight = torch.cat([boxes[:, :2] - side / 2, boxes[:, :2] + side / 2], 1)
    got = roiops.box_iou_rotated(*[torch.cat([boxes, angle], 1).to(device)] * 2).cpu()
    assert (got - roiops.box_iou(straight, straight)).abs().max() < 2e-6


def test_a_box_with_itself_and_its_turns_by_half(device, generator) -> None:
    boxes = random_rotated(200, generator)[0].to(device)
    turned = boxes + torch.tensor([0, 0, 0, 0, math.pi], device=device)
    for other, bound in ((boxes, 2e-6), (turned, 1e-4)):  # adding pi rounds the angle
        assert (roiops.box_iou_rotated(boxes, other).diagonal() - 1).abs().max() < bound
    assert roiops.box_iou_rotated(boxes, boxes).max() <= 1


@pytest.mark.parametrize("far", [1e3, 1e5, 1e6])
def test_precision_does_not_depend_on_the_place(far, device, generator) -> None:
    boxes = random_rotated(40, generator)[0]
    boxes[:, :2] = (boxes[:, :2] * 8).round() / 8  # which is exact when moved
    moved = boxes + torch.tensor([far, -far, 0, 0, 0])
    near, there = (roiops.box_iou_rotated(b.to(device), b.to(device)) for b in (boxes, moved))
    assert torch.equal(near, there)


def test_boxes_that_touch_share_nothing(device) -> None:
    base = torch.tensor([[0.0, 0, 2, 2, 0]], device=device)
    corner = torch.tensor(
        [[2.0, 2, 2, 2, 0], [2, 0, 2, 2, 0], [0, -2, 2, 2, math.pi]], device=device
    )
    assert roiops.box_iou_rotated(base, corner).abs().max() < 1e-6
    diamond = torch.tensor([[1 + math.sqrt(2), 0, 2, 2, math.pi / 4]], device=device)
    assert roiops.box_iou_rotated(base, diamond).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotated_boxes_that_are_apart_share_nothing(dtype, device, generator) -> None:
    """Exactly: a threshold of 0 asks for it."""
    boxes = random_rotated(200, generator, extent=600.0)[0].to(device, dtype)
    ious = roiops.box_iou_rotated(boxes, boxes)
    radius = boxes[:, 2:4].double().norm(dim=1) / 2
    apart = torch.cdist(boxes[:, :2].double(), boxes[:, :2].double()) > radius[:, None] + radius
    assert 10000 < int(apart.sum()) and not ious[apart].any()


@pytest.mark.parametrize("name, box, expected", [
    ("steep", (0, 0, 1e-30, 1e10, 1e-40), 0.0),
    ("beyond", (3.4e38, 0, 2, 2, 0), 0.0),
    ("no_width", (0, 0, 0, 2, 0.3), 0.0),
    ("negative", (0, 0, -2, -2, 0.3), 0.0),
    ("nan_angle", (0, 0, 2, 2, math.nan), math.nan),
    ("infinite_angle", (0, 0, 2, 2, math.inf), math.nan),
    ("nan_side", (0, 0, math.nan, 2, 0), math.nan),
    ("nan_place", (math.nan, 0, 2, 2, 0), math.nan),
    ("infinite_side", (0, 0, math.inf, 2, 0), math.nan),
    ("far", (1e30, 0, 2, 2, 0), 0.0),
    ("infinite_place", (math.inf, 0, 2, 2, 0), math.nan),
    ("huge", (0, 0, 1e15, 1e15, 1.0), 0.0),
    ("tiny", (0, 0, 1e-18, 1e-18, 1.0), 0.0),
    ("many_turns", (0, 0, 2, 2, 1e6), 0.7),
])  # fmt: skip
def test_hard_rotated_boxes(name, box, expected, device) -> None:
    plain = torch.tensor([[0.0, 0, 2, 2, 0.1]], device=device)
    hard = torch.tensor([box], dtype=torch.float32, device=device)
    for got in (roiops.box_iou_rotated(plain, hard), roiops.box_iou_rotated(hard, plain)):
        if expected == 0.7:
            wanted = reference_boxes.iou_rotated(plain[0].cpu(), hard[0].cpu())
            assert got.item() == pytest.approx(wanted, abs=1e-4)
        else:
            assert got.item() == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_rotated_backward_raises(device) -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2, 0.1]], device=device, requires_grad=True)
    with pytest.raises(RuntimeError, match="roiops::box_iou_rotated is not implemented"):
        roiops.box_iou_rotated(boxes, boxes).sum().backward()


@pytest.mark.parametrize("rotated", [False, True])
def test_every_image_has_a_matrix_of_its_own(rotated, device, generator) -> None:
    make, iou = (
        (random_rotated, roiops.box_iou_rotated) if rotated else (random_boxes, roiops.box_iou)
    )
    boxes1 = torch.stack([make(9, generator)[0] for _ in range(3)]).to(device)
    boxes2 = torch.stack([make(20, generator)[0] for _ in range(3)]).to(device)
    expected = torch.stack([iou(a, b) for a, b in zip(boxes1, boxes2, strict=True)])
    assert torch.equal(iou(boxes1, boxes2), expected)
