"""What the forward computes: against the float64 reference, on hard boxes, and in odd numbers."""

from __future__ import annotations

import time

import pytest
import torch
from boxes import (
    as_rois,
    finite_boxes,
    hard_boxes,
    huge_boxes,
    non_finite_boxes,
    outside_boxes,
)
from op_table import DTYPES, ROI_ALIGN, Op, Options, each_op, each_option, few_options
from tolerance import HALF_TYPES, assert_close, assert_same_bits

H, W = 11, 13

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))


def features(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape or (2, 3, H, W), generator=generator, dtype=torch.float64)


def check_forward(op: Op, x: torch.Tensor, rois: torch.Tensor, options: Options, names) -> None:
    actual = op.overload(x, rois, *options.args)
    assert actual.dtype == x.dtype
    # Geometry widens or narrows the rois before anything else, so the reference gets them so.
    geometry = torch.float64 if x.dtype == torch.float64 else torch.float32
    expected, slack = op.reference(x, rois.to(geometry), *options.args)
    magnitude = float(x.double().abs().max())
    doubtful = float((slack.flatten(1).amax(1) > 0.01 * magnitude).double().mean())
    assert doubtful < 0.3, f"rounding decides {doubtful:.0%} of the rows: this compares too little"
    assert_close(actual, expected, magnitude, slack, names)


@each_option
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=("float64", "float32"))
def test_forward_equals_reference(op, options, dtype, device, generator) -> None:
    boxes = hard_boxes(H, W)
    x = features(generator).to(device, dtype)
    rois = as_rois(boxes, options.spatial_scale, dtype=dtype).to(device)
    check_forward(op, x, rois, options, list(boxes))


@few_options
@each_dtype
@pytest.mark.parametrize("rois_dtype", DTYPES, ids=lambda d: f"rois_{str(d)[6:]}")
def test_forward_equals_reference_in_mixed_types(
    op, options, dtype, rois_dtype, device, generator
) -> None:
    boxes = hard_boxes(H, W)
    x = features(generator).to(device, dtype)
    rois = as_rois(boxes, options.spatial_scale, dtype=rois_dtype).to(device)
    check_forward(op, x, rois, options, list(boxes))


SMALL_MAPS = [(1, 1), (1, 2), (2, 1), (2, 2), (1, W), (H, 1)]


@few_options
@each_dtype
@pytest.mark.parametrize("size", SMALL_MAPS, ids=lambda s: f"map{s[0]}x{s[1]}")
def test_small_maps_equal_reference(op, options, dtype, size, device, generator) -> None:
    """NaN planes lie before and after each plane of the map: reading past one shows."""
    x = torch.full((4, 7, *size), torch.nan, dtype=dtype, device=device)[1:3, 1::2]
    x.copy_(features(generator, 2, 3, *size))
    boxes = hard_boxes(*size) | {f"{n}_of_large_map": b for n, b in hard_boxes(H, W).items()}
    rois = as_rois(boxes, options.spatial_scale, dtype=torch.float32).to(device)
    check_forward(op, x, rois, options, list(boxes))
    assert op.overload(x, rois, *Options((2, 2), 1.0, 1).args).isfinite().all()


@few_options
@each_dtype
def test_non_finite_boxes_give_zeros(op, options, dtype, device, generator) -> None:
    boxes = non_finite_boxes(H, W)
    x = features(generator).to(device, dtype) + 9
    out = op.overload(x, as_rois(boxes).to(device), *options.args)
    assert_same_bits(out, torch.zeros_like(out))


@few_options
def test_values_of_huge_boxes_stay_within_those_of_the_map(op, options, device, generator) -> None:
    x = features(generator).float().to(device)
    out = op.overload(x, as_rois(huge_boxes(H, W)).float().to(device), *options.args)
    assert out.abs().max() <= x.abs().max()


@each_op
@pytest.mark.parametrize("ratio", [-1, 2, 64])
@pytest.mark.parametrize("aligned", [False, True])
def test_huge_boxes_take_no_time(op, ratio, aligned, device) -> None:
    x = torch.ones(2, 4, 64, 64, device=device)
    boxes = huge_boxes(64, 64) | non_finite_boxes(64, 64)
    rois = as_rois(boxes).float().to(device)
    started = time.perf_counter()
    out = op.overload(x, rois, *Options((7, 7), 1.0, ratio, aligned).args)
    grad = op.input_gradient(out, rois, x.shape, *Options((7, 7), 1.0, ratio, aligned).args)
    op.box_gradient(out, x, rois, *Options((7, 7), 1.0, ratio, aligned).args)
    assert grad.isfinite().all()
    assert time.perf_counter() - started < 1


@each_op
def test_largest_sampling_ratio_only_costs_the_samples_on_the_map(op, device) -> None:
    x = torch.ones(1, 1, 8, 8, device=device)
    rois = as_rois({"outside": (20, 2, 24, 6), "inside": (1, 2, 5, 6)}, images=1).to(device)
    started = time.perf_counter()
    out = op.overload(x, rois, *Options((1, 1), 1.0, 65536).args)
    assert time.perf_counter() - started < 1
    assert out[0].item() == 0
    assert out[1].item() == pytest.approx(1, abs=1e-4)


@few_options
def test_a_rejected_sample_reads_nothing(op, options, device) -> None:
    x = torch.ones(2, 2, H, W, device=device)
    x[:, :, 0, 0] = torch.inf
    x[:, :, -1, -1] = torch.nan
    boxes = outside_boxes(H, W) | non_finite_boxes(H, W)
    out = op.overload(x, as_rois(boxes, options.spatial_scale).to(device), *options.args)
    assert_same_bits(out, torch.zeros_like(out))


@each_op
def test_an_accepted_sample_reads_all_four_pixels(op, device) -> None:
    # One sample, at exactly (2, 3): its neighbours have weight 0 but inf * 0 is NaN.
    options = Options((1, 1), 1.0, 1, True)
    rois = torch.tensor([[0.0, 3.0, 2.0, 4.0, 3.0]], device=device)
    for y, x, expected in ((2, 3, torch.inf), (3, 3, torch.nan), (2, 4, torch.nan), (1, 3, 1.0)):
        maps = torch.ones(1, 1, 6, 6, device=device)
        maps[0, 0, y, x] = torch.inf
        value = op.overload(maps, rois, *options.args).flatten()
        expected_value = torch.tensor([expected], device=device)
        assert torch.equal(value.nan_to_num(nan=-7), expected_value.nan_to_num(nan=-7)), (y, x)


@each_op
def test_non_finite_pixels_reach_the_bins_that_the_reference_says(op, device, generator) -> None:
    x = features(generator)
    x[0, 0, 3, 4], x[0, 1, 5, 5], x[1, 2, 0, 0] = torch.inf, torch.nan, -torch.inf
    boxes = {n: b for n, b in finite_boxes(H, W).items() if not n.startswith("huge")}
    for options in (Options((4, 4), 1.0, 2), Options((2, 4), 1.0, -1, True)):
        rois = as_rois(boxes)
        expected, slack = op.reference(x, rois, *options.args)
        sure = (slack == 0).expand_as(expected)
        actual = op.overload(x.to(device), rois.to(device), *options.args).cpu()
        assert (~expected[sure].isfinite()).sum() > 5
        for is_kind in (torch.isnan, torch.isposinf, torch.isneginf):
            assert torch.equal(is_kind(actual[sure]), is_kind(expected[sure])), is_kind.__name__


@each_op
def test_adaptive_is_every_ratio_below_one(op, device, generator) -> None:
    x = features(generator).to(device)
    rois = as_rois(hard_boxes(H, W)).to(device)
    expected = op.overload(x, rois, *Options((3, 4), 1.0, 0, True).args)
    for ratio in (-1, -2, -(2**40)):
        actual = op.overload(x, rois, *Options((3, 4), 1.0, ratio, True).args)
        assert_same_bits(actual, expected)


@each_op
@pytest.mark.parametrize(
    "column, image",
    [(0.0, 0), (0.9999, 0), (-0.9, 0), (1.0, 1), (1.75, 1), (-0.0, 0)],
    ids=str,
)
def test_image_column_is_truncated_toward_zero(op, column, image, device, generator) -> None:
    x = features(generator).to(device)
    box = [1.5, 2.0, 6.0, 7.0]
    args = op.few_options[0].args
    actual = op.overload(x, torch.tensor([[column, *box]], device=device), *args)
    expected = op.overload(x[image : image + 1], torch.tensor([[0.0, *box]], device=device), *args)
    assert_same_bits(actual, expected)


@each_op
@pytest.mark.parametrize("dtype", HALF_TYPES, ids=("float16", "bfloat16"))
def test_float32_rois_name_images_that_half_types_cannot(op, dtype, device) -> None:
    images = torch.arange(2100, device=device).remainder(97).to(dtype)
    x = images.view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    rois = torch.tensor([[i, 0, 0, 3, 3] for i in (2049.0, 2051.0, 257.0)], device=device)
    out = op.overload(x, rois, *Options((1, 1)).args).flatten()
    assert out.tolist() == [2049 % 97, 2051 % 97, 257 % 97]


@each_op
@pytest.mark.parametrize("dtype", HALF_TYPES, ids=("float16", "bfloat16"))
def test_a_list_of_half_boxes_names_every_image(op, dtype, device) -> None:
    images = torch.arange(2100, device=device).remainder(97).to(dtype)
    x = images.view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    boxes = [torch.tensor([[0.0, 0.0, 3.0, 3.0]], device=device, dtype=dtype)] * 2100
    out = op.function(x, boxes, (1, 1))
    assert torch.equal(out.flatten(), images)


@each_op
@pytest.mark.parametrize("dtype", HALF_TYPES, ids=("float16", "bfloat16"))
def test_half_types_sum_in_float32(op, dtype, device) -> None:
    # 961 samples of about 10.5 in a bin: a half-type sum is off by 0.3 (peers.md, V3).
    x = torch.linspace(10, 11, 64 * 64, device=device).view(1, 1, 64, 64).to(dtype)
    rois = torch.tensor([[0.0, 0.0, 0.0, 63.0, 63.0]], device=device)
    args = Options((2, 2)).args
    expected, slack = op.reference(x.cpu(), rois.cpu(), *args)
    assert_close(op.overload(x, rois, *args), expected, 11, slack)


@each_op
def test_half_sums_do_not_overflow(op, device) -> None:
    x = torch.full((1, 1, 64, 64), 60000, dtype=torch.float16, device=device)
    rois = torch.tensor([[0.0, 0.0, 0.0, 63.0, 63.0]], device=device)
    assert op.overload(x, rois, *Options((1, 1)).args).item() == 60000


@each_op
def test_half_types_compute_coordinates_in_float32(op, device) -> None:
    # fp16 holds 1500.3 as 1500, and rounds every position there to a whole pixel (V4).
    ramp = (torch.arange(1600.0) - 1400).expand(1, 1, 8, 1600).half().to(device)
    rois = torch.tensor([[0.0, 1500.3, 2.0, 1501.3, 5.0]], device=device)
    out = op.overload(ramp, rois, *Options((1, 1), 1.0, 2).args)
    assert out.item() == pytest.approx(100.8, abs=0.04)


def test_roi_align_equals_grid_sample(device, generator) -> None:
    """detectron2's oracle: bins are averages of torch's own bilinear samples."""
    x = features(generator, 1, 4, H, W).to(device)
    boxes = torch.tensor([[2.3, 1.7, 9.1, 8.8], [1.0, 2.0, 11.5, 9.5]], dtype=torch.float64)
    for ratio in (1, 2, 3):
        ph, pw = 3, 4
        for x1, y1, x2, y2 in boxes.tolist():
            xs = x1 + (torch.arange(pw * ratio).double() + 0.5) * (x2 - x1) / (pw * ratio)
            ys = y1 + (torch.arange(ph * ratio).double() + 0.5) * (y2 - y1) / (ph * ratio)
            y, x_ = torch.meshgrid(ys / H * 2 - 1, xs / W * 2 - 1, indexing="ij")
            grid = torch.stack([x_, y], -1)[None].to(device)
            sampled = torch.nn.functional.grid_sample(x, grid, align_corners=False)
            expected = torch.nn.functional.avg_pool2d(sampled, ratio)
            rois = torch.tensor([[0, x1, y1, x2, y2]], dtype=torch.float64, device=device)
            actual = ROI_ALIGN.overload(x, rois, *Options((ph, pw), 1.0, ratio, True).args)
            assert_close(actual, expected.cpu(), float(x.abs().max()))
