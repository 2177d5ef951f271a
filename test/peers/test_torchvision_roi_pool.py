"""torchvision's roi_pool: the same pixels win, for every box; its -FLT_MAX is not copied."""

from __future__ import annotations

import pytest
import torch
from peer_tools import (
    H,
    W,
    assert_same_input_gradients,
    each_size,
    features,
    random_rois,
    table_boxes,
    table_rois,
    two_types,
)
from tolerance import assert_same_bits
from torch import Tensor

import roiops  # noqa: F401 (loads the operators)

torchvision = pytest.importorskip("torchvision", reason="compares with torchvision")

BOX = torch.tensor([[0.0, 0, 0, 3, 3]], dtype=torch.float64)
each_scale = pytest.mark.parametrize("scale", [1.0, 0.5, 0.3], ids=lambda s: f"scale{s:g}")


def ours(x: Tensor, rois: Tensor, scale: float, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return torch.ops.roiops.roi_pool(x, rois, scale, *size)


def theirs(x: Tensor, rois: Tensor, scale: float, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return torch.ops.torchvision.roi_pool(x, rois, scale, *size)


def many_rois(generator: torch.Generator, scale: float, dtype: torch.dtype) -> Tensor:
    table = table_rois(table_boxes(), scale, dtype)
    return torch.cat([table, random_rois(generator, 100, scale, dtype)])


def assert_same_winners(x: Tensor, rois: Tensor, scale: float, size: tuple[int, int]) -> None:
    """A maximum is one of the pixels: there is nothing to round, so no tolerance."""
    (actual, winner), (expected, their_winner) = ours(x, rois, scale, size), theirs(
        x, rois, scale, size
    )  # fmt: skip
    assert winner.dtype == their_winner.dtype == torch.int32
    assert_same_bits(actual, expected)
    assert_same_bits(winner, their_winner, "winners")


@each_size
@each_scale
@two_types
def test_same_winners(size, scale, dtype, generator) -> None:
    x = features(generator, dtype)
    assert_same_winners(x, many_rois(generator, scale, dtype), scale, size)


@two_types
def test_same_winner_of_a_tie(dtype, generator) -> None:
    x = features(generator, dtype).round() + 0.0  # few values, no -0: several maxima in most bins
    assert_same_winners(x, many_rois(generator, 1.0, dtype), 1.0, (2, 4))


def test_same_bits_of_a_negative_zero() -> None:
    assert_same_winners(torch.full((1, 1, 4, 4), -0.0), BOX.float(), 1.0, (1, 1))


@two_types
def test_v24_same_bin_edges(dtype) -> None:
    """Bin edges are p * (size / bins) in floating point, so that some bins reach one pixel too far.
    On a rising ramp the winner of a bin is its last row."""
    ramp = torch.arange(400.0, dtype=dtype).view(1, 1, 400, 1)
    sizes = torch.arange(1, 399)
    rois = torch.zeros(len(sizes), 5, dtype=dtype)
    rois[:, 4] = sizes - 1  # the end is inclusive
    too_far = 0
    for bins in (7, 14, 29):
        assert_same_winners(ramp, rois, 1.0, (bins, 1))
        last = ours(ramp, rois, 1.0, (bins, 1))[0][:, 0, -1, 0]
        too_far += int((last > sizes - 1).sum())
    assert too_far > 0


@each_size
@two_types
def test_same_input_gradients(size, dtype, generator) -> None:
    x, rois = features(generator, dtype), many_rois(generator, 0.5, dtype)
    grad = torch.randn(len(rois), 3, *size, generator=generator, dtype=torch.float64).to(dtype)
    assert_same_input_gradients(
        lambda *args: ours(*args)[0], lambda *args: theirs(*args)[0], x, grad, rois, 0.5, size
    )


def test_v12_all_minus_infinity() -> None:
    x = torch.full((1, 1, 4, 4), -torch.inf)
    value, winner = theirs(x, BOX.float(), 1.0, (1, 1))
    assert value.item() == torch.finfo(torch.float32).min and winner.item() == -1
    value, winner = ours(x, BOX.float(), 1.0, (1, 1))
    assert value.item() == -torch.inf and winner.item() == 0


def test_v12_float64_below_the_lowest_float32() -> None:
    x = torch.full((1, 1, 4, 4), -1e300, dtype=torch.float64)
    x[0, 0, 2, 1] = -1e299
    value, winner = theirs(x, BOX, 1.0, (1, 1))
    assert value.item() == torch.finfo(torch.float32).min and winner.item() == -1
    value, winner = ours(x, BOX, 1.0, (1, 1))
    assert value.item() == -1e299 and winner.item() == 9


@pytest.mark.parametrize("where", [0, 6, 15], ids=("first", "middle", "last"))
def test_v12_nan(where) -> None:
    """torchvision passes over NaN; ours wins as in torch.max_pool2d."""
    x = torch.arange(16.0).view(1, 1, 4, 4)
    x.view(-1)[where] = torch.nan
    assert not theirs(x, BOX.float(), 1.0, (1, 1))[0].isnan().any()
    value, winner = ours(x, BOX.float(), 1.0, (1, 1))
    assert value.isnan().all() and winner.item() == where
    assert torch.nn.functional.max_pool2d(x, 4).isnan().all()


def test_v14_boxes_without_an_image() -> None:
    """torchvision takes [K, 4] and reads past the row; it is not run here."""
    with pytest.raises(RuntimeError, match=r"must have shape \[K, 5\]"):
        ours(torch.ones(1, 1, 4, 4), torch.zeros(1, 4), 1.0, (1, 1))


def test_v7_image_out_of_range() -> None:
    """torchvision reads foreign memory; it is not run here."""
    rois = torch.tensor([[5.0, 0, 0, 3, 3]])
    with pytest.raises(IndexError, match=r"must name images in \[0, 2\)"):
        ours(torch.ones(2, 1, H, W), rois, 1.0, (1, 1))
