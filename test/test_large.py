"""Tensors of more than 2^31 elements: offsets are 64 bits wide everywhere.

Memory that nobody writes costs nothing, so that most of these have little more than the pages that
a call touches. Results of 4 GiB are made one at a time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from box_ops import random_boxes
from boxes import edge_boxes, inside_boxes
from cases import Case, Options, grad_of, make_case
from op_table import (
    PS_ROI_ALIGN,
    ROI_ALIGN,
    ROI_ALIGN_MAX,
    ROI_ALIGN_ROTATED,
    Op,
    each_op,
    some_ops,
)
from tolerance import assert_close, assert_same_bits
from torch import Tensor

import roiops

MANY = 2**31
MEMINFO = Path("/proc/meminfo")


def available() -> int:
    """Bytes of memory that are free or can be freed."""
    if not MEMINFO.exists():
        return 0
    lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) << 10


little = pytest.mark.skipif(available() < 2 << 30, reason="needs 2 GiB of memory")
enough = pytest.mark.skipif(available() < 12 << 30, reason="needs 12 GiB of memory")
much = pytest.mark.skipif(available() < 8 << 30, reason="needs 8 GiB of memory")
each_layout = pytest.mark.parametrize("last", [False, True], ids=("contiguous", "channels_last"))


def untouched(last: bool, n: int, c: int, h: int, w: int) -> Tensor:
    """Memory that the system has not handed out yet."""
    if last:
        return torch.empty(n, h, w, c, dtype=torch.bfloat16).permute(0, 3, 1, 2)
    return torch.empty(n, c, h, w, dtype=torch.bfloat16)


def in_layout(last: bool, case: Case) -> Case:
    form = torch.channels_last if last else torch.contiguous_format
    return case.map(lambda m: m.contiguous(memory_format=form))


def everything(case: Case, grad: Tensor) -> list[Tensor]:
    """But the gradients by the maps."""
    return [case(), *case.box_gradients(grad), case.box_jvp(torch.ones_like(case.boxes))]


@each_op
@each_layout
@little
def test_images_whose_numbers_of_elements_exceed_32_bits(op: Op, last, generator) -> None:
    boxes = inside_boxes(64, 64) | edge_boxes(64, 64)
    options = Options((2, 2), sampling_ratio=2, offset=False, canonical_scale=16)
    channels = 8 // (4 if op.position_sensitive else 1)
    few = make_case(
        op, options, generator, (64, 64), boxes, 4, channels, torch.bfloat16, torch.float32
    )
    few = in_layout(last, few)
    images = MANY // few.maps[0][0].numel() + 2
    numbers = torch.tensor([0, 1, images - 2, images - 1])
    maps = []
    for m in few.maps:
        large = untouched(last, images, *m.shape[1:])
        large[numbers] = m
        maps.append(large)
    assert maps[0].numel() > MANY and maps[0][-1].data_ptr() - maps[0].data_ptr() > MANY
    rows, extra = few.boxes.clone(), few.extra
    if op.has_indices:
        extra = numbers[extra]
    else:
        rows[:, 0] = numbers[rows[:, 0].long()].float()
    many = Case(op, options, tuple(maps), rows, extra)
    grad = grad_of(few, generator)
    for actual, expected in zip(everything(many, grad), everything(few, grad), strict=True):
        assert_same_bits(actual, expected)


SIDE = 8192
FEW = 16  # pixels in the last corner


def corner(op: Op, last: bool, count: int, generator: torch.Generator) -> tuple[Case, Case]:
    """Boxes in the last corner of planes of 128 MiB, and the same of planes without the rest."""
    channels, shift = 36, SIDE - FEW
    options = Options((2, 2), sampling_ratio=2, aligned=True, offset=False)
    boxes = torch.tensor([[0, 3.5, 2, 15, 13], [0, 1, 7.25, 16, 16], [0, 9.125, 3, 17, 12.5]])
    moved = torch.tensor([0.0, *[shift] * 4])
    if op.columns == 5:  # not turned: the same samples to the bit, wherever the box is
        boxes = torch.tensor(
            [[0, 9.5, 7, 11, 12, 0], [0, 8, 11.25, 14, 9, 0], [0, 12, 7.5, 9, 9, 0]]
        )
        moved = torch.tensor([0.0, shift, shift, 0, 0, 0])
    boxes = boxes.repeat(count, 1)
    maps = torch.randn(1, channels, FEW, FEW, generator=generator).bfloat16()
    small = in_layout(last, Case(op, options, (maps,), boxes))
    large = untouched(last, 1, channels, SIDE, SIDE)
    large[:, :, shift - 1 :, shift - 1 :] = 0
    large[:, :, shift:, shift:] = maps
    assert large.numel() > MANY
    return Case(op, options, (large,), boxes + moved), small


@some_ops(lambda op: op.columns == 4 and op.lists and not op.pyramid)
@pytest.mark.parametrize("count", [1, 600], ids=("in_place", "panels"))
@each_layout
@little
def test_planes_whose_offsets_exceed_32_bits(op: Op, count, last, generator) -> None:
    large, small = corner(op, last, count, generator)
    grad = grad_of(small, generator)
    for actual, expected in zip(everything(large, grad), everything(small, grad), strict=True):
        assert_same_bits(actual, expected)


# A row for each way in which gradients are added up.
GRADIENTS = {
    "plane_by_plane": (ROI_ALIGN, False, 1),
    "channels_last": (ROI_ALIGN, True, 1),
    "maximum": (ROI_ALIGN_MAX, False, 1),
    "position_sensitive": (PS_ROI_ALIGN, False, 1),
    "listed_taps": (ROI_ALIGN_ROTATED, False, 1),
}


@pytest.mark.parametrize("op, last, count", GRADIENTS.values(), ids=GRADIENTS)
@much
def test_a_gradient_of_more_than_32_bits(op: Op, last, count, generator) -> None:
    """Written in full, and zero but in the corner."""
    large, small = corner(op, last, count, generator)
    grad = grad_of(small, generator)
    if last:
        grad = grad.contiguous(memory_format=torch.channels_last)
    (expected,) = small.input_gradients(grad)
    (actual,) = large.input_gradients(grad)
    assert actual.numel() > MANY and expected.any()
    assert_same_bits(actual[:, :, -FEW:, -FEW:], expected)
    actual[:, :, -FEW:, -FEW:] = 0
    dense = actual.permute(0, 2, 3, 1) if last else actual
    assert dense.is_contiguous()
    assert not dense.view(torch.int16).numpy().view(np.uint64).any()


@much
def test_a_result_of_more_than_32_bits(generator) -> None:
    """The same 50 boxes again and again; then the gradient of the first and the last of them."""
    bins, channels = 64, 64
    boxes = torch.rand(50, 5, generator=generator) * 4
    boxes[:, 3:] += boxes[:, 1:3]
    boxes[:, 0] = 0
    turns = MANY // (len(boxes) * channels * bins * bins) + 2
    maps = torch.randn(1, channels, 8, 8, generator=generator).bfloat16()
    maps = maps.contiguous(memory_format=torch.channels_last)
    many = Case(ROI_ALIGN, Options((bins, bins)), (maps,), boxes.repeat(turns, 1))
    few = many.rows(slice(50))
    expected, actual = few(), many()
    assert actual.numel() > MANY
    for turn in (*range(0, turns, 16), turns - 2, turns - 1):
        assert_same_bits(actual[turn * 50 : turn * 50 + 50], expected)
    actual[50:-50] = 0
    (gradient,), (half,) = many.input_gradients(actual), few.input_gradients(expected)
    (magnitude,) = few.input_gradients(expected.abs())
    assert_close(gradient, 2 * half.double(), 10 * magnitude.double(), 0.02 * magnitude.double())


@enough
def test_more_overlaps_than_32_bits(generator) -> None:
    """Of the same 97 boxes again and again."""
    few, others = random_boxes(97, generator)[0], random_boxes(2**15, generator)[0]
    turns = MANY // (len(few) * len(others)) + 2
    expected, actual = roiops.box_iou(few, others), roiops.box_iou(few.repeat(turns, 1), others)
    assert actual.numel() > MANY
    for turn in (0, 1, turns // 2, turns - 2, turns - 1):
        assert_same_bits(actual[turn * 97 : turn * 97 + 97], expected)
