"""roiops.visualize.bins: the corners are where the box is, by formulae of the operators' papers."""

from __future__ import annotations

from math import cos, sin

import pytest
import torch
from boxes import finite_boxes
from cases import Options
from op_table import PS_ROI_POOL, ROI_POOL, Op, some_ops
from tolerance import assert_close
from torch import Tensor

import roiops
from roiops import visualize

H, W = 7, 9
BOX = (1.7, 1.3, 7.9, 5.6)


def lattice(low: float, high: float, bins: int) -> Tensor:
    return low + torch.arange(bins + 1, dtype=torch.float64) * (high - low) / bins


def corner_grid(y1: float, x1: float, y2: float, x2: float, bins: tuple[int, int]) -> Tensor:
    """[PH, PW, 4, 2] of a box in pixels of the map."""
    grid = torch.stack(
        torch.meshgrid(lattice(y1, y2, bins[0]), lattice(x1, x2, bins[1]), indexing="ij"), -1
    )
    return torch.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], -2)


def bins_of(op: Op, options: Options, boxes: Tensor, *extra: Tensor | None) -> Tensor:
    maps = [torch.rand(1, op.input_channels(1, options), n, W) for n in (H, 4, 3)[: op.levels]]
    first = maps if op.pyramid else maps[0]
    return visualize.bins(op.function, first, boxes, *extra, *op.python_args(options))


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("named", ["box", "straddles_all_sides", "sub_pixel"])
@some_ops(lambda op: op.columns == 4 and op.lists and op not in (ROI_POOL, PS_ROI_POOL))
def test_bins_cut_the_box(op: Op, named: str, aligned: bool) -> None:
    options = Options((2, 3), 0.5, 2, aligned, offset=False, canonical_scale=1000)
    x1, y1, x2, y2 = ({"box": BOX} | finite_boxes(H, W))[named]
    rois = torch.tensor([[0, 2 * x1, 2 * y1, 2 * x2, 2 * y2]])
    shifts = op.name in ("ps_roi_align", "deform_roi_pool")
    takes = "aligned" in op.option_names
    shift = 0.5 if shifts or (takes and aligned) else 0.0
    if takes and not aligned:
        x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
    expected = corner_grid(y1 - shift, x1 - shift, y2 - shift, x2 - shift, (2, 3))
    extra = [None] if op.has_offset else []
    assert_close(bins_of(op, options, rois, *extra)[0], expected, 8.0, 1e-5)


@pytest.mark.parametrize("clockwise", [False, True])
def test_bins_turn_with_the_box(clockwise: bool) -> None:
    angle = 0.6
    rois = torch.tensor([[0, 4.0, 3.0, 5.0, 3.0, angle]], dtype=torch.float64)
    actual = visualize.bins(
        roiops.roi_align_rotated, torch.rand(1, 1, H, W), rois, (2, 3), clockwise=clockwise
    )
    a = -angle if clockwise else angle
    yy, xx = corner_grid(-1.5, -2.5, 1.5, 2.5, (2, 3)).unbind(-1)
    y, x = yy * cos(a) - xx * sin(a) + 2.5, yy * sin(a) + xx * cos(a) + 3.5
    assert_close(actual[0], torch.stack([y, x], -1), 8.0)


def test_bins_move_with_their_offsets(generator) -> None:
    offset = torch.rand(1, 2, 2, 3, generator=generator, dtype=torch.float64) - 0.5
    rois = torch.tensor([[0, *BOX]], dtype=torch.float64)
    x = torch.rand(1, 1, H, W)
    actual = visualize.bins(roiops.deform_roi_pool, x, rois, offset, (2, 3), gamma=0.5)
    x1, y1, x2, y2 = BOX
    still = corner_grid(y1 - 0.5, x1 - 0.5, y2 - 0.5, x2 - 0.5, (2, 3))
    unit = torch.tensor([y2 - y1, x2 - x1], dtype=torch.float64) * 0.5
    moved = offset[0].flip(0).permute(1, 2, 0)[:, :, None] * unit
    assert_close(actual[0], still + moved, 8.0)


@pytest.mark.parametrize("function", [roiops.roi_pool, roiops.ps_roi_pool])
def test_bins_of_pooling_are_whole_pixels(function) -> None:
    """x: round(1.7) = 2 to round(7.9) = 8; y: 1 to 6, cut with the map."""
    rois = torch.tensor([[0, *BOX], [0, 20, 20, 25, 25]])
    actual = visualize.bins(function, torch.rand(1, 6, H, W), rois, (2, 3))
    ends = (7, 9) if function is roiops.roi_pool else (6, 8)  # the high coordinates are inclusive
    rows, columns = ends[0] - 1, ends[1] - 2
    for p in range(2):
        for q in range(3):
            top, bottom = 1 + p * rows // 2, 1 + -(-(p + 1) * rows // 2)
            left, right = 2 + q * columns // 3, 2 + -(-(q + 1) * columns // 3)
            corners = [[top, left], [top, right], [bottom, right], [bottom, left]]
            assert (actual[0, p, q] + 0.5).tolist() == corners
    assert torch.isnan(actual[1]).all()


def test_boxes_of_a_pyramid_are_read_from_their_maps() -> None:
    """A size of 4 belongs to the second map of three."""
    maps = [torch.rand(1, 1, 16, 20), torch.rand(1, 1, 8, 10), torch.rand(1, 1, 4, 5)]
    rois = torch.tensor([[0, 2.0, 2.0, 6.0, 6.0]])
    options = {"spatial_scales": [2.0, 1.0, 0.5], "canonical_scale": 4, "canonical_level": 0}
    first, second, third = visualize.weights(roiops.multiscale_roi_align, maps, rois, 2, **options)
    assert not first.any() and second.any() and not third.any()
    corners = visualize.bins(roiops.multiscale_roi_align, maps, rois, 2, **options)
    assert_close(corners[0], corner_grid(2, 2, 6, 6, (2, 2)), 8.0)


def test_a_map_without_pixels_has_no_bins_of_pixels() -> None:
    corners = visualize.bins(roiops.roi_pool, torch.rand(1, 1, 0, W), torch.tensor([[0, *BOX]]), 2)
    assert corners.isnan().any(-1).all()
