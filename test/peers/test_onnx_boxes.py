"""Suppression and overlaps exported to ONNX, run by ONNX Runtime, beside eager mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from box_ops import hard_boxes, random_boxes, random_rotated
from torch import Tensor, nn

import roiops

pytest.importorskip("onnxscript", reason="exports to ONNX")
pytest.importorskip("onnxruntime", reason="runs exported models")

from onnx_tools import DYNAMIC, Exported, causes


class Module(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, boxes: Tensor, scores: Tensor, idxs: Tensor) -> Any:
        return self.function(boxes, scores, idxs)


def export(function: Callable[..., Any], *args: Tensor) -> Exported:
    return Exported(Module(function), args, tuple({0: DYNAMIC} for _ in args))


def sample(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    boxes, scores = random_boxes(count, generator, extent=60.0)
    scores = (scores * 20).round() / 20  # with ties
    return boxes, scores, torch.randint(-2, 3, (count,), generator=generator)


FUNCTIONS = {
    "nms": lambda b, s, i: roiops.nms(b, s, 0.3),
    "batched_nms": lambda b, s, i: roiops.batched_nms(b, s, i, 1 / 3),
    "padded": lambda b, s, i: roiops.nms_padded(b, s, 0.3, 20)[0],
    "padded_count": lambda b, s, i: roiops.nms_padded(b, s, 0.3, 20, i, 0.4)[1],
    "padded_classes": lambda b, s, i: roiops.nms_padded(b, s, 0.3, 20, i, 0.4)[0],
    "kept_boxes": lambda b, s, i: b[roiops.nms(b, s, 0.5)] * 2,
    "half": lambda b, s, i: roiops.nms(b.half(), s.double(), 0.3),
    "box_iou": lambda b, s, i: roiops.box_iou(b, b[:3].double()),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_same_as_eager(name, generator) -> None:
    function = FUNCTIONS[name]
    exported = export(function, *sample(50, generator))
    assert all("roiops" not in node for node in exported.nodes)
    for count in (50, 130, 7, 2, 1, 0):
        if count < 3 and name == "box_iou":
            continue  # its slice
        args = sample(count, generator)
        got, expected = exported(*args), function(*args)
        assert got.dtype == expected.dtype and torch.equal(got, expected), count


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_hard_boxes(threshold) -> None:
    boxes, scores = hard_boxes()
    scores[scores.isinf() | scores.isnan()] = 0.7  # NaN counts as infinite in ONNX
    args = boxes, scores, torch.arange(len(scores)) % 2
    for function in (
        lambda b, s, i: roiops.nms(b, s, threshold),
        lambda b, s, i: roiops.batched_nms(b, s, i, threshold),
    ):
        assert torch.equal(export(function, *args)(*args), function(*args))


def test_what_has_no_form_in_onnx_says_so(generator) -> None:
    boxes, scores, idxs = sample(9, generator)
    turned, _ = random_rotated(9, generator)
    refusals = {
        "`boxes` must not be rotated": (lambda b, s, i: roiops.nms_rotated(b, s, 0.5), turned),
        "`boxes` must not be float64": (lambda b, s, i: roiops.nms(b, s, 0.5), boxes.double()),
        "soft_nms cannot be exported": (lambda b, s, i: roiops.soft_nms(b, s)[0], boxes),
        "box_iou_rotated cannot be exported": (
            lambda b, s, i: roiops.box_iou_rotated(b, b),
            turned,
        ),
    }
    for sentence, (function, given) in refusals.items():
        with pytest.raises(Exception) as caught:
            export(function, given, scores, idxs)
        assert f"roiops.onnx: {sentence}" in causes(caught.value) or (
            f"roiops.onnx: nms_padded: {sentence}" in causes(caught.value)
        )


BATCHES = {
    "padded": lambda b, s, i: roiops.nms_padded(b, s, 0.3, 12)[0],
    "count": lambda b, s, i: roiops.nms_padded(b, s, 0.3, 12, i, 0.4)[1],
    "classes": lambda b, s, i: roiops.nms_padded(b, s, 0.3, 12, i, 0.4)[0],
    "none": lambda b, s, i: roiops.nms_padded(b, s, 0.3, 12, i, 2.0)[0],
}


@pytest.mark.parametrize("name", BATCHES)
def test_batches_of_images(name, generator) -> None:
    def batch(images: int, count: int) -> list[Tensor]:
        each = [sample(count, generator) for _ in range(images)]
        return [torch.stack(parts) for parts in zip(*each, strict=True)]

    function = BATCHES[name]
    shapes = tuple({0: DYNAMIC, 1: DYNAMIC} for _ in range(3))
    exported = Exported(Module(function), batch(3, 40), shapes)
    for images, count in ((3, 40), (2, 130), (5, 7), (1, 2), (2, 1), (2, 0)):
        args = batch(images, count)
        got, expected = exported(*args), function(*args)
        assert got.dtype == expected.dtype and torch.equal(got, expected), (images, count)
