"""torchvision's position-sensitive operators: the same values, and two defects not copied."""

from __future__ import annotations

import pytest
import torch
from peer_tools import (
    H,
    W,
    assert_same_input_gradients,
    assert_same_values,
    each_ratio,
    each_size,
    features,
    input_gradient,
    random_rois,
    table_boxes,
    table_rois,
    two_types,
)
from torch import Tensor

import roiops

torchvision = pytest.importorskip("torchvision", reason="compares with torchvision")
theirs = torchvision.ops

each_scale = pytest.mark.parametrize("scale", [1.0, 0.5, 0.3], ids=lambda s: f"scale{s:g}")


def many_rois(generator: torch.Generator, scale: float, dtype: torch.dtype) -> Tensor:
    table = table_rois(table_boxes(), scale, dtype)
    return torch.cat([table, random_rois(generator, 100, scale, dtype)])


@each_ratio
@each_size
@each_scale
@two_types
def test_ps_roi_align_values(ratio, size, scale, dtype, generator) -> None:
    x = features(generator, dtype, 2 * size[0] * size[1])
    rois = many_rois(generator, scale, dtype)
    args = (x, rois, size, scale, ratio)
    expected, actual = theirs.ps_roi_align(*args), roiops.ps_roi_align(*args)
    undefined = expected.isnan()  # V13: see below
    assert ratio == 0 or not undefined.any()
    assert not actual[undefined].any()
    assert_same_values(actual, expected.masked_fill(undefined, 0), x)


@each_ratio
@each_size
@two_types
def test_ps_roi_align_input_gradients(ratio, size, dtype, generator) -> None:
    x = features(generator, dtype, 2 * size[0] * size[1])
    rois = many_rois(generator, 0.5, dtype)
    grad = torch.randn(len(rois), 2, *size, generator=generator, dtype=torch.float64).to(dtype)
    args = (rois, size, 0.5, ratio)
    assert_same_input_gradients(roiops.ps_roi_align, theirs.ps_roi_align, x, grad, *args)


@pytest.mark.parametrize("name", ["zero_area", "zero_width", "zero_height", "slightly_reversed"])
def test_v13_ps_roi_align_of_a_box_without_samples(name) -> None:
    """torchvision divides by no samples; with a fixed ratio both give the value at the point."""
    x = torch.ones(2, 4, H, W)
    rois = table_rois({name: table_boxes()[name]}, 1.0, torch.float32)
    assert theirs.ps_roi_align(x, rois, 2).isnan().all()
    assert (roiops.ps_roi_align(x, rois, 2) == 0).all()
    assert (theirs.ps_roi_align(x, rois, 2, 1.0, 2) == 1).all()
    assert (roiops.ps_roi_align(x, rois, 2, 1.0, 2) == 1).all()


@each_size
@each_scale
@two_types
def test_ps_roi_pool_values_on_a_map_less_one_row_and_column(size, scale, dtype, generator) -> None:
    """V1: torchvision's forward never reads the last row and column. Its result is ours on the map
    without them, for every box."""
    x = features(generator, dtype, 2 * size[0] * size[1])
    rois = many_rois(generator, scale, dtype)
    expected = theirs.ps_roi_pool(x, rois, size, scale)
    actual = roiops.ps_roi_pool(x[..., :-1, :-1], rois, size, scale)
    assert_same_values(actual, expected, x)


@each_size
@two_types
def test_ps_roi_pool_values_of_boxes_that_end_before_the_last_pixel(size, dtype, generator) -> None:
    x = features(generator, dtype, 2 * size[0] * size[1])
    rois = many_rois(generator, 1.0, dtype)
    # as both round: half away from zero, and a size of at least one
    corners = rois[:, 1:].sign() * (rois[:, 1:].abs() + 0.5).floor()
    ends = torch.maximum(corners[:, 2:], corners[:, :2] + 1)
    rois = rois[(ends <= torch.tensor([W - 1, H - 1])).all(1)]
    assert len(rois) > 40
    expected = theirs.ps_roi_pool(x, rois, size)
    assert_same_values(roiops.ps_roi_pool(x, rois, size), expected, x)


@each_size
@two_types
def test_ps_roi_pool_input_gradients(size, dtype, generator) -> None:
    """torchvision's backward clips to the whole map, as both of ours do: equal for every box."""
    x = features(generator, dtype, 2 * size[0] * size[1])
    rois = many_rois(generator, 0.5, dtype)
    grad = torch.randn(len(rois), 2, *size, generator=generator, dtype=torch.float64).to(dtype)
    assert_same_input_gradients(roiops.ps_roi_pool, theirs.ps_roi_pool, x, grad, rois, size, 0.5)


def test_v1_ps_roi_pool_reads_the_last_row_and_column() -> None:
    x = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    x[..., 5, :] = x[..., :, 5] = 36.0
    rois = torch.tensor([[0.0, 0, 0, 6, 6]], dtype=torch.float64)
    assert theirs.ps_roi_pool(x, rois, 1).item() == 0
    assert roiops.ps_roi_pool(x, rois, 1).item() == 11


@pytest.mark.parametrize("box", [(0, 0, 6, 6), (2, 2, 6, 6), (1, 1, 8, 8)], ids=str)
def test_v1_ps_roi_pool_backward_is_adjoint_of_forward(box, generator) -> None:
    """<grad, forward(x)> = <backward(grad), x>: holds here, fails there."""
    x = torch.randn(1, 4, 6, 6, generator=generator, dtype=torch.float64)
    rois = torch.tensor([[0.0, *box]], dtype=torch.float64)
    grad = torch.randn(1, 1, 2, 2, generator=generator, dtype=torch.float64)

    def mismatch(run) -> float:
        back = input_gradient(run, x, grad, rois, 2)
        return abs(float((run(x, rois, 2) * grad).sum() - (back * x).sum()))

    assert mismatch(theirs.ps_roi_pool) > 1e-3
    assert mismatch(roiops.ps_roi_pool) < 1e-14


@pytest.mark.parametrize("name", ["ps_roi_align", "ps_roi_pool"])
def test_v16_v17_gradient_by_the_boxes_and_second_derivatives(name, generator) -> None:
    x = features(generator, torch.float64, 8).requires_grad_()
    rois = table_rois({"inside": table_boxes()["inside"]}, 1.0, torch.float64).requires_grad_()
    run, their_run = getattr(roiops, name), getattr(theirs, name)
    (first,) = torch.autograd.grad(run(x, rois, 2).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.any()
    out = run(x, rois, 2).sum() + their_run(x, rois, 2).sum() * 0
    (by_boxes,) = torch.autograd.grad(out, rois, allow_unused=True)
    # ps_roi_pool is piecewise constant in the boxes; ps_roi_align is not
    assert by_boxes is None if name == "ps_roi_pool" else by_boxes.any()
    (first,) = torch.autograd.grad(their_run(x, rois, 2).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(first.sum(), x)


def test_v3_half_sums() -> None:
    """Sums of 1024 samples: in float32 here, in float16 there. One rounding is 0.004 at most."""
    x = torch.linspace(10, 11, 64 * 64).view(1, 1, 64, 64).expand(1, 4, 64, 64).half()
    rois = torch.tensor([[0.0, 0, 0, 63, 63]]).half()
    exact = theirs.ps_roi_align(x.double(), rois.double(), 2)
    assert (roiops.ps_roi_align(x, rois, 2).double() - exact).abs().max() < 0.005
    assert (theirs.ps_roi_align(x, rois, 2).double() - exact).abs().max() > 0.1
