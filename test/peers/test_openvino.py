"""OpenVINO on CPU: ROIAlign, ROIAlignRotated, ROIPooling, the pyramid extractor, PSROIPooling."""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import pytest
import torch
from peer_tools import (
    H,
    W,
    assert_same_values,
    each_ratio,
    each_size,
    features,
    random_rois,
    table_boxes,
    table_rois,
)
from tolerance import assert_close, assert_same_bits
from torch import Tensor

import roiops

ov = pytest.importorskip("openvino", reason="compares with OpenVINO")

F32 = {"INFERENCE_PRECISION_HINT": "f32"}  # the default is bfloat16 on a processor that has it
# aligned_mode, the `aligned` that it is, and what to add to the boxes
MODES = {"asymmetric": (False, 0.0), "half_pixel_for_nn": (True, 0.0), "half_pixel": (True, 0.5)}
each_mode = pytest.mark.parametrize("mode", MODES)
each_turn = pytest.mark.parametrize("clockwise", [False, True], ids=("ccw", "cw"))
ONES = torch.ones(2, 1, H, W)


def run(build: Callable, *inputs: Tensor) -> Tensor:
    arrays = [t.numpy() for t in inputs]
    nodes = [ov.opset1.parameter(list(a.shape), dtype=a.dtype) for a in arrays]
    model = ov.Model([build(*nodes)], nodes)
    return torch.from_numpy(ov.compile_model(model, "CPU", F32)(arrays)[0].copy())


def split(rois: Tensor) -> tuple[Tensor, Tensor]:
    return rois[:, 1:].contiguous(), rois[:, 0].int()


def roi_align(x, rois, size, scale=1.0, ratio=0, pool="avg", mode="asymmetric") -> Tensor:
    return run(
        lambda *nodes: ov.opset9.roi_align(*nodes, *size, ratio, scale, pool, mode), x, *split(rois)
    )


def rois_for(generator: torch.Generator, scale: float, undefined: bool = False) -> Tensor:
    """Table and random boxes; without those of no area unless `undefined`: see below."""
    boxes = {n: b for n, b in table_boxes().items() if undefined or (b[0] < b[2] and b[1] < b[3])}
    table = table_rois(boxes, scale, torch.float32)
    return torch.cat([table, random_rois(generator, 100, scale, torch.float32)])


@each_mode
@each_ratio
@each_size
def test_roi_align_values(mode, ratio, size, generator) -> None:
    aligned, shift = MODES[mode]
    x = features(generator, torch.float32)
    rois = rois_for(generator, 0.5, undefined=ratio > 0 or not aligned)
    expected = roi_align(x, rois, size, 0.5, ratio, "avg", mode)
    rois[:, 1:] += shift
    assert_same_values(roiops.roi_align(x, rois, size, 0.5, ratio, aligned), expected, x)


@pytest.mark.parametrize("mode", ["half_pixel_for_nn", "half_pixel"])
@pytest.mark.parametrize("name", ["zero_area", "zero_width", "slightly_reversed"])
def test_roi_align_of_a_box_without_samples(mode, name) -> None:
    """OpenVINO divides by no samples, where ours is 0."""
    rois = table_rois({name: table_boxes()[name]}, 1.0, torch.float32)
    assert roi_align(ONES, rois, (2, 2), mode=mode).isnan().all()
    assert not roiops.roi_align(ONES, rois, 2, 1.0, 0, True).any()


@pytest.mark.parametrize("name", ["reversed_x", "reversed_y"])
def test_one_side_reversed_is_an_error_in_half_pixel_mode(name) -> None:
    """It counts a negative number of samples, as torchvision does (V23); ours has none."""
    rois = table_rois({name: table_boxes()[name]}, 1.0, torch.float32)
    with pytest.raises(RuntimeError, match="max_size"):
        roi_align(ONES, rois, (2, 2), mode="half_pixel_for_nn")
    assert not roiops.roi_align(ONES, rois, 2, 1.0, 0, True).any()


@each_mode
@each_ratio
@each_size
def test_roi_align_max_of_maps_that_are_not_negative(mode, ratio, size, generator) -> None:
    """OpenVINO's maximum starts at 0, so a rejected sample and an empty bin count as 0."""
    aligned, shift = MODES[mode]
    x = features(generator, torch.float32).abs()
    rois = rois_for(generator, 0.5)
    expected = roi_align(x, rois, size, 0.5, ratio, "max", mode)
    rois[:, 1:] += shift
    actual = roiops.roi_align(x, rois, size, 0.5, ratio, aligned, "max")
    assert_same_values(actual, expected, x)


def test_roi_align_max_of_negative_maps_is_zero_there() -> None:
    rois = torch.tensor([[0.0, 1, 1, 5, 5]])
    assert not roi_align(-ONES, rois, (2, 2), pool="max").any()
    assert (roiops.roi_align(-ONES, rois, 2, 1.0, 0, False, "max") == -1).all()


def roi_align_rotated(x, rois, size, scale, ratio, clockwise) -> Tensor:
    return run(
        lambda *nodes: ov.opset15.roi_align_rotated(*nodes, *size, ratio, scale, clockwise),
        x,
        *split(rois),
    )


def rotated_rois(generator: torch.Generator, scale: float) -> Tensor:
    """Centres in and around the map, sides of 0 to 12 pixels, angles in -2 pi to 2 pi."""
    u = torch.rand(150, 5, generator=generator)
    u = u * torch.tensor([W + 6, H + 6, 12, 12, 4 * pi]) - torch.tensor([3, 3, 0, 0, 2 * pi])
    named = [
        [6, 5, 4, 3, 0],
        [6, 5, 4, 3, pi / 2],
        [6, 5, 4, 3, -pi],
        [6, 5, 0, 0, 1],  # no area
        [6, 5, 0, 4, 1],
        [6, 5, 0.25, 0.5, 1],
        [6, 5, 40, 0.5, 0.25],  # a needle through the map
        [6.5, 5.5, 40, 40, 0.5],  # covers it
        [-20, -20, 5, 5, 0.5],  # misses it
        [-4, 5, 10, 3, 1.5],
    ]
    boxes = torch.cat([torch.tensor(named), u])
    boxes[:, :4] /= scale
    return torch.cat([torch.arange(len(boxes)).remainder(2)[:, None], boxes], 1)


@each_turn
@each_size
@pytest.mark.parametrize("ratio", [0, 2], ids=lambda r: f"ratio{r}")
@pytest.mark.parametrize("scale", [1.0, 0.5], ids=lambda s: f"scale{s:g}")
def test_roi_align_rotated_values(clockwise, size, ratio, scale, generator) -> None:
    x, rois = features(generator, torch.float32), rotated_rois(generator, scale)
    expected = roi_align_rotated(x, rois, size, scale, ratio, clockwise)
    actual = roiops.roi_align_rotated(x, rois, size, scale, ratio, True, clockwise)
    assert_same_values(actual, expected, x)
    other = roiops.roi_align_rotated(x, rois, size, scale, ratio, True, not clockwise)
    assert (other - expected).abs().max() > 0.1


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_roi_align_rotated_turns_counter_clockwise(turns) -> None:
    """As seen in the image: after a quarter turn the box's first row is the map's last column."""
    x = torch.arange(16.0).view(1, 1, 4, 4)
    rois = torch.tensor([[0.0, 2, 2, 4, 4, turns * pi / 2]])
    expected = roi_align_rotated(x, rois, (4, 4), 1.0, 1, False)
    actual = roiops.roi_align_rotated(x, rois, 4, 1.0, 1)
    assert_same_values(actual, expected, x)
    assert_close(actual, x.rot90(-turns, (2, 3)).double(), 16.0)


def roi_pooling(x: Tensor, rois: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    return run(lambda *nodes: ov.opset2.roi_pooling(*nodes, list(size), scale, "max"), x, rois)


@each_size
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25], ids=lambda s: f"scale{s:g}")
def test_roi_pool_values(size, scale, generator) -> None:
    """A maximum is one of the pixels: there is nothing to round, so no tolerance."""
    x, rois = features(generator, torch.float32), rois_for(generator, scale, undefined=True)
    expected = roi_pooling(x, rois, size, scale)
    assert_same_bits(roiops.roi_pool(x, rois, size, scale), expected)


def extract(maps: list[Tensor], boxes: Tensor, size: int, ratio: int, aligned: bool) -> Tensor:
    """ExperimentalDetectronROIFeatureExtractor-6, which the Python API reaches by ONNX only."""
    onnx = pytest.importorskip("onnx", reason="builds a model for OpenVINO")
    helper = onnx.helper
    inputs = {"boxes": boxes} | {f"map{i}": m for i, m in enumerate(maps)}
    op = "ExperimentalDetectronROIFeatureExtractor"
    options = {"output_size": size, "sampling_ratio": ratio, "aligned": int(aligned)}
    scales = [4 << i for i in range(len(maps))]
    domain = "org.openvinotoolkit"
    node = helper.make_node(
        op, list(inputs), ["out", "order"], domain=domain, pyramid_scales=scales, **options
    )
    kind = onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(k, kind, list(v.shape)) for k, v in inputs.items()]
    outputs = [helper.make_tensor_value_info(name, kind, None) for name in ("out", "order")]
    opsets = [helper.make_opsetid("", 16), helper.make_opsetid(domain, 1)]
    graph = helper.make_graph([node], "extractor", values, outputs)
    text = helper.make_model(graph, opset_imports=opsets).SerializeToString()
    compiled = ov.compile_model(ov.Core().read_model(text, b""), "CPU", F32)
    return torch.from_numpy(compiled([v.numpy() for v in inputs.values()])[0].copy())


def pyramid_and_boxes(generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """Four maps of an image of 512 pixels; boxes of 8 to 500 pixels with a size that is not within
    1e-4 of a limit between levels, as OpenVINO adds no epsilon."""
    maps = [torch.randn(1, 3, s, s, generator=generator) for s in (128, 64, 32, 16)]
    u = torch.rand(200, 4, generator=generator)
    start, side = u[:, :2] * 300 - 20, 8 * 2 ** (u[:, 2:] * 6)
    level = side.log2().mean(1) - torch.tensor(7.0).log2()
    keep = (level - level.round()).abs() > 1e-4
    return maps, torch.cat([start, start + side], 1)[keep]


@pytest.mark.parametrize("aligned", [False, True], ids=("legacy", "aligned"))
@pytest.mark.parametrize("ratio", [0, 2], ids=lambda r: f"ratio{r}")
def test_multiscale_roi_align_values(aligned, ratio, generator) -> None:
    """Slack: positions up to 128 pixels are rounded to 2^-17 pixel a few times, on two axes and by
    two libraries; pixels differ by at most twice the largest."""
    maps, boxes = pyramid_and_boxes(generator)
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    expected = extract(maps, boxes, 3, ratio, aligned)
    actual = roiops.multiscale_roi_align(maps, [boxes], 3, scales, ratio, aligned)
    largest = max(float(m.abs().max()) for m in maps)
    assert_close(actual, expected.double(), largest, 4 * 2 * 2**-17 * 2 * largest)


def test_multiscale_roi_align_of_a_small_box_is_enlarged_there(generator) -> None:
    """Its aligned mode shifts by half a pixel but keeps the minimum size of one pixel."""
    maps, _ = pyramid_and_boxes(generator)
    boxes = torch.tensor([[5.0, 5, 6, 6]])  # a quarter of a pixel
    expected = extract(maps, boxes, 2, 2, True)
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    actual = roiops.multiscale_roi_align(maps, [boxes], 2, scales, 2, True)
    assert (actual - expected).abs().max() > 0.1
    shifted = roiops.multiscale_roi_align(maps, [boxes - 2], 2, scales, 2, False)
    assert_same_values(shifted, expected, maps[0])


def test_ps_roi_pool_is_another_op() -> None:
    """PSROIPooling has R-FCN's edges, round(x1) * s and (round(x2) + 1) * s: the box of rows 0 to 4
    ends after row 4 there, and before it here and in torchvision."""
    ramp = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 1, 8, 8).contiguous()
    rois = torch.tensor([[0.0, 0, 0, 4, 4]])
    theirs = run(
        lambda *nodes: ov.opset1.psroi_pooling(*nodes, 1, 1, 1.0, 1, 1, "average"), ramp, rois
    )
    assert theirs.item() == 2
    assert roiops.ps_roi_pool(ramp, rois, 1).item() == 1.5
