"""The kernels on boxes alone, run on the host, beside the CPU's: see test_emulator.py."""

from __future__ import annotations

import itertools

import pytest
import torch
from box_ops import BOX_OPS, hard_boxes, random_boxes, random_rotated
from cases import DTYPES
from test_emulator import KERNELS, emulator, threads  # noqa: F401 (fixtures)
from torch import Tensor

ROI_OPS = torch.ops.roiops


def check(name: str, *args: object) -> None:
    got, expected = (getattr(ops, name)(*args) for ops in (KERNELS, ROI_OPS))
    several = zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]
    for a, b in several:
        assert a.shape == b.shape and a.dtype == b.dtype, name
        assert torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num()), (
            name
        )


def test_the_emulator_has_every_operator() -> None:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    assert [name for name in BOX_OPS if not has(f"roiops_blocks::{name}", "CPU")] == []


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("rotated", [False, True], ids=("corners", "rotated"))
@pytest.mark.parametrize("count", [0, 1, 31, 63, 64, 65, 255, 257, 700])
def test_suppression(rotated, count, generator) -> None:
    make = random_rotated if rotated else random_boxes
    boxes, scores = make(count, generator, extent=200.0)
    idxs = torch.randint(-2, 3, (count,), generator=generator)
    for most, classes, least in itertools.product((0, 1, 70, 800), (None, idxs), (None, 0.4)):
        check("nms_padded", boxes, scores, 0.3, most, classes, least, True)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).split(".")[1])
def test_hard_boxes_in_every_type(threshold, dtype) -> None:
    boxes, scores = (t.to(dtype) for t in hard_boxes())
    check("nms_padded", boxes, scores, threshold, 50)
    check("nms_padded", boxes, scores, threshold, 50, None, 0.0)
    check("box_iou", boxes, boxes[:20])
    for method in ("linear", "gaussian"):
        check("soft_nms_padded", boxes, scores, 50, threshold, 0.5, 0.01, method)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("rotated", [False, True], ids=("corners", "rotated"))
def test_images(rotated, generator) -> None:
    make = random_rotated if rotated else random_boxes
    images = [make(140, generator) for _ in range(3)]
    boxes, scores = (torch.stack(list(t)) for t in zip(*images, strict=True))
    idxs = torch.randint(0, 3, (3, 140), generator=generator)
    check("nms_padded", boxes, scores, 0.3, 60, idxs, 0.2)
    check("soft_nms_padded", boxes, scores, 60, 0.3, 0.5, 0.2, "linear", idxs)
    check("box_iou_rotated" if rotated else "box_iou", boxes, boxes[:, :33])
    check("nms_padded", boxes[:0], scores[:0], 0.3, 5)


@pytest.mark.usefixtures("threads")
def test_matrices(generator) -> None:
    for rows, columns in ((0, 3), (3, 0), (1, 1), (15, 33), (17, 300)):
        for name, make in (("box_iou", random_boxes), ("box_iou_rotated", random_rotated)):
            first, second = (make(n, generator)[0] for n in (rows, columns))
            check(name, first, second.double())


@pytest.mark.usefixtures("threads")
def test_soft_suppression(generator) -> None:
    for make in (random_boxes, random_rotated):
        boxes, scores = make(150, generator, extent=60.0)
        scores[::7] = scores[3]  # equal ones
        for method, most in itertools.product(("linear", "gaussian"), (0, 9, 200)):
            check("soft_nms_padded", boxes, scores, most, 0.2, 0.5, 0.1, method)
            check("soft_nms_padded", boxes.half(), scores.double(), most, 0.2, 0.5, 0.1, method)


def test_masks_in_chunks(generator) -> None:
    """The rows of so many images' masks do not fit at once."""
    images, count = 600, 1500
    corner = torch.rand(1, count, 2, generator=generator) * 300
    boxes = torch.cat([corner, corner + 20], 2).expand(images, -1, -1)
    scores = torch.rand(1, count, generator=generator).expand(images, -1).clone()
    scores[1:] += torch.arange(images - 1)[:, None]

    def some(results: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return results[0][::97], results[1][::97]

    KERNELS.set_threads(32)
    got = some(KERNELS.nms_padded(boxes, scores, 0.6, 40))
    KERNELS.set_threads(256)
    expected = some(ROI_OPS.nms_padded(boxes, scores, 0.6, 40))
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
