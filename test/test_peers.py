"""Head to head with torchvision: the same values where it is right, its defects absent here."""

from __future__ import annotations

import inspect
import time

import pytest
import reference
import torch
from boxes import (
    degenerate_boxes,
    edge_boxes,
    huge_boxes,
    inside_boxes,
    non_finite_boxes,
    outside_boxes,
)
from cases import Case, Options
from op_table import ROI_ALIGN, label
from tolerance import HALF_TYPES, assert_close, assert_same_bits
from torch import Tensor

import roiops

torchvision = pytest.importorskip("torchvision", reason="compares with torchvision")

H, W = 11, 13
OP = ROI_ALIGN


def theirs(x: Tensor, rois: Tensor, options: Options) -> Tensor:
    return torchvision.ops.roi_align(x, rois, *OP.python_args(options))


def ours(x: Tensor, rois: Tensor, options: Options) -> Tensor:
    return roiops.roi_align(x, rois, *OP.python_args(options))


def sane_boxes(options: Options) -> dict:
    boxes = inside_boxes(H, W) | edge_boxes(H, W) | outside_boxes(H, W) | degenerate_boxes(H, W)
    if options.aligned and options.sampling_ratio <= 0:  # V23: torchvision raises
        boxes = {n: b for n, b in boxes.items() if n not in ("reversed_x", "reversed_y")}
    return boxes


def rois_of(boxes: dict, options: Options, dtype: torch.dtype) -> Tensor:
    rows = torch.tensor(list(boxes.values()), dtype=torch.float64) / options.spatial_scale
    image = torch.arange(len(rows)).remainder(2).double()
    return torch.cat([image[:, None], rows], 1).to(dtype)


options_of_roi_align = pytest.mark.parametrize("options", OP.options, ids=lambda o: label(OP, o))
two_types = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=("f64", "f32"))


def slack_of(x: Tensor, rois: Tensor, options: Options) -> Tensor:
    return reference.values(Case(OP, options, (x,), rois))[1]


@options_of_roi_align
@two_types
def test_same_values(options, dtype, generator) -> None:
    boxes = sane_boxes(options)
    x = torch.randn(2, 3, H, W, generator=generator, dtype=torch.float64).to(dtype)
    rois = rois_of(boxes, options, dtype)
    expected = theirs(x, rois, options).double()
    slack = slack_of(x, rois, options)
    assert_close(ours(x, rois, options), expected, float(x.abs().max()), slack, list(boxes))


@options_of_roi_align
@two_types
def test_same_input_gradients(options, dtype, generator) -> None:
    boxes = sane_boxes(options)
    rois = rois_of(boxes, options, dtype)
    rois[:, 0] = torch.arange(len(rois))  # an image for each box, so that rows are boxes
    x = torch.zeros(len(rois), 3, H, W, dtype=dtype, requires_grad=True)
    shape = (len(rois), 3, *options.output_size)
    grad = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    (expected,) = torch.autograd.grad(theirs(x, rois, options), x, grad)
    (actual,) = torch.autograd.grad(ours(x, rois, options), x, grad)
    ((magnitude, slack),) = reference.input_gradients(Case(OP, options, (x,), rois), grad.abs())
    assert_close(actual, expected.double(), magnitude, slack, list(boxes))


@pytest.mark.parametrize("aligned", [False, True], ids=("legacy", "aligned"))
def test_same_adaptive_grid(aligned, generator) -> None:
    """ceil() of a size that is a whole number of bins, give or take the last bit.

    On a map of (+1, -1) columns the mean of a bin tells its grid: one sample more or less changes
    it by far more than rounding does.
    """
    x = torch.ones(1, 1, 64, 64)
    x[..., 1::2] = -1
    base = torch.rand(4000, 2, generator=generator) * 8
    sizes = torch.randint(1, 8, (4000, 2), generator=generator) * 7.0
    on_the_edge = 0
    for scale in (1.0, 0.25, 1 / 3, 0.1):
        ends = base + sizes / scale * scale
        rois = torch.cat([torch.zeros(4000, 1), base / scale, ends / scale], 1)
        options = Options((7, 7), scale, -1, aligned)
        got, expected = ours(x, rois, options), theirs(x, rois, options)
        assert_close(got, expected.double(), 64.0)
        in_double = theirs(x.double(), rois.double(), options)
        on_the_edge += int(((in_double - expected).abs() > 0.01).any())
    assert on_the_edge == 4  # in float64 some grids differ: the comparison would notice


def test_same_signature_prefix() -> None:
    for name in ("roi_align", "RoIAlign"):
        own = inspect.signature(getattr(roiops, name)).parameters.values()
        their = inspect.signature(getattr(torchvision.ops, name)).parameters.values()
        missing = inspect.Parameter.empty
        for a, b in zip(own, their, strict=False):
            assert a.name == b.name and a.kind == b.kind
            # torchvision's module has no defaults for what its function has
            assert b.default in (missing, a.default)


# Below, V<n> are the defects of peers.md, section 4. Where torchvision crashes the process or
# raises, only roiops is run.

ONE_BIN = Options((1, 1))


@pytest.mark.parametrize("dtype", HALF_TYPES, ids=("float16", "bfloat16"))
def test_v2_half_image_index(dtype) -> None:
    x = torch.arange(2100.0).remainder(97).to(dtype).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    rois = torch.tensor([[2049.0, 0, 0, 3, 3]])
    assert ours(x, rois, ONE_BIN).item() == 2049 % 97
    if dtype == torch.float16:
        assert theirs(x, rois.half(), ONE_BIN).item() == 2048 % 97


def test_v3_half_sums() -> None:
    x = torch.linspace(10, 11, 64 * 64).view(1, 1, 64, 64).half()
    rois = torch.tensor([[0.0, 0, 0, 63, 63]]).half()
    exact = reference.values(Case(OP, Options((2, 2)), (x,), rois))[0]
    assert (ours(x, rois, Options((2, 2))).double() - exact).abs().max() < 0.005
    assert (theirs(x, rois, Options((2, 2))).double() - exact).abs().max() > 0.1


def test_v4_half_coordinates() -> None:
    ramp = (torch.arange(1600.0) - 1400).expand(1, 1, 8, 1600).half()
    rois = torch.tensor([[0.0, 1500.3, 2.0, 1501.3, 5.0]])
    options = Options((1, 1), 1.0, 2)
    assert ours(ramp, rois, options).item() == pytest.approx(100.8, abs=0.04)
    assert abs(theirs(ramp, rois.half(), options).item() - 100.8) > 0.2


def test_v5_bfloat16() -> None:
    x = torch.ones(1, 1, 4, 4).bfloat16()
    rois = torch.tensor([[0.0, 0, 0, 3, 3]])
    assert ours(x, rois.bfloat16(), ONE_BIN).item() == 1
    # NotImplementedError, and from torchvision 0.29 the RuntimeError that it is derived from.
    with pytest.raises(RuntimeError, match="not implemented for 'BFloat16'"):
        theirs(x, rois.bfloat16(), ONE_BIN)


@pytest.mark.parametrize("dtype", HALF_TYPES, ids=("float16", "bfloat16"))
def test_v6_float_boxes_beside_half_features(dtype) -> None:
    x, rois = torch.ones(1, 1, 4, 4).to(dtype), torch.tensor([[0.0, 0, 0, 3, 3]])
    assert ours(x, rois, ONE_BIN).dtype == dtype
    with pytest.raises(RuntimeError, match="same type"):
        theirs(x, rois, ONE_BIN)


@pytest.mark.parametrize("image", [5.0, -1.0, 1e6], ids=str)
def test_v7_image_out_of_range(image) -> None:
    with pytest.raises(IndexError, match=r"must name images in \[0, 2\)"):
        ours(torch.ones(2, 1, 4, 4), torch.tensor([[image, 0, 0, 3, 3]]), ONE_BIN)


def test_v8_non_finite_boxes() -> None:
    x = torch.ones(2, 1, H, W)
    out = ours(x, rois_of(non_finite_boxes(H, W), ONE_BIN, torch.float32), ONE_BIN)
    assert not out.any()


def test_v9_map_without_rows() -> None:
    assert not ours(torch.ones(1, 4, 0, 8), torch.tensor([[0.0, 0, 0, 3, 3]]), ONE_BIN).any()


def test_v10_huge_boxes() -> None:
    rois = rois_of(huge_boxes(H, W), ONE_BIN, torch.float32)
    started = time.perf_counter()
    assert ours(torch.ones(2, 4, H, W), rois, Options((7, 7))).isfinite().all()
    assert time.perf_counter() - started < 1


def test_v11_infinite_pixel_and_a_box_outside() -> None:
    x = torch.ones(1, 1, 8, 8)
    x[0, 0, 0, 0] = torch.inf
    rois = torch.tensor([[0.0, -20, -20, -10, -10]])
    assert ours(x, rois, ONE_BIN).item() == 0
    assert theirs(x, rois, ONE_BIN).isnan().all()


def test_v15_channels_last() -> None:
    x = torch.randn(2, 5, H, W).to(memory_format=torch.channels_last)
    rois = rois_of(inside_boxes(H, W), ONE_BIN, torch.float32)
    last = torch.channels_last
    assert ours(x, rois, Options((3, 3))).is_contiguous(memory_format=last)
    assert not theirs(x, rois, Options((3, 3))).is_contiguous(memory_format=last)


def test_v16_gradient_by_the_boxes() -> None:
    x = torch.randn(2, 5, H, W)
    rois = rois_of(inside_boxes(H, W), ONE_BIN, torch.float32).requires_grad_()
    ours(x, rois, Options((3, 3))).square().sum().backward()
    assert rois.grad is not None and rois.grad.any()


def test_v17_second_derivatives_and_torch_func() -> None:
    x = torch.randn(2, 1, 4, 4).requires_grad_()
    rois = torch.tensor([[0.0, 0, 0, 3, 3]])

    def loss(run):
        return lambda x: run(x, rois, ONE_BIN).square().sum()

    (first,) = torch.autograd.grad(loss(ours)(x), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.any()
    assert_same_bits(torch.func.grad(loss(ours))(x.detach()), first.detach())
    with pytest.raises(RuntimeError):
        torch.func.grad(loss(theirs))(x.detach())


def test_v23_one_side_reversed() -> None:
    x, rois = torch.ones(1, 1, 8, 8), torch.tensor([[0.0, 4, 1, 1, 6]])
    options = Options((2, 2), 1.0, -1, True)
    assert not ours(x, rois, options).any()
    with pytest.raises((RuntimeError, ValueError), match="max_size"):
        theirs(x, rois, options)
