"""ONNX Runtime, and the ONNX project's own reference: RoiAlign and MaxRoiPool."""

from __future__ import annotations

import warnings
from functools import cache

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
    two_types,
)
from tolerance import assert_same_bits
from torch import Tensor

import roiops

onnx = pytest.importorskip("onnx", reason="compares with ONNX Runtime")
onnx_reference = pytest.importorskip("onnx.reference", reason="compares with ONNX Runtime")
ort = pytest.importorskip("onnxruntime", reason="compares with ONNX Runtime")

# coordinate_transformation_mode and the `aligned` that it is
MODES = {"half_pixel": True, "output_half_pixel": False}
each_mode = pytest.mark.parametrize("mode", MODES)
each_scale = pytest.mark.parametrize("scale", [1.0, 0.5, 0.25], ids=lambda s: f"scale{s:g}")


def model(op: str, inputs: tuple[str, ...], dtype: torch.dtype, opset: int, **attributes):
    helper, kind = onnx.helper, onnx.TensorProto
    float_type = {torch.float64: kind.DOUBLE, torch.float32: kind.FLOAT}[dtype]
    types = {"X": float_type, "rois": float_type, "batch_indices": kind.INT64, "Y": float_type}
    value = {name: helper.make_tensor_value_info(name, t, None) for name, t in types.items()}
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["Y"], **attributes)],
        "one_node",
        [value[name] for name in inputs],
        [value["Y"]],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@cache
def session(op: str, inputs: tuple[str, ...], dtype: torch.dtype, opset: int, items: tuple):
    attributes = {k: list(v) if isinstance(v, tuple) else v for k, v in items}
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors are expected, and come as exceptions
    text = model(op, inputs, dtype, opset, **attributes).SerializeToString()
    return ort.InferenceSession(text, options, providers=["CPUExecutionProvider"])


def run(op: str, feeds: dict[str, Tensor], opset: int = 16, **attributes) -> Tensor:
    items = tuple(sorted(attributes.items()))
    run_it = session(op, tuple(feeds), feeds["X"].dtype, opset, items)
    return torch.from_numpy(run_it.run(None, {k: v.numpy() for k, v in feeds.items()})[0])


def feeds_of(x: Tensor, rois: Tensor) -> dict[str, Tensor]:
    return {"X": x, "rois": rois[:, 1:].contiguous(), "batch_indices": rois[:, 0].long()}


def roi_align(x: Tensor, rois: Tensor, size: tuple[int, int], opset: int = 16, **attributes):
    attributes = {"output_height": size[0], "output_width": size[1]} | attributes
    return run("RoiAlign", feeds_of(x, rois), opset, **attributes)


@each_mode
@each_ratio
@each_size
@two_types
def test_roi_align_values(mode, ratio, size, dtype, generator) -> None:
    x, boxes = features(generator, dtype), table_boxes()
    if mode == "half_pixel" and ratio == 0:
        boxes = {name: box for name, box in boxes.items() if name not in ONE_SIDE_REVERSED}
    table = table_rois(boxes, 0.5, dtype)
    rois = torch.cat([table, random_rois(generator, 100, 0.5, dtype)])
    expected = roi_align(
        x, rois, size, sampling_ratio=ratio, spatial_scale=0.5, coordinate_transformation_mode=mode
    )
    actual = roiops.roi_align(x, rois, size, 0.5, ratio, MODES[mode])
    assert_same_values(actual, expected, x)


ONE_SIDE_REVERSED = ("reversed_x", "reversed_y")


@pytest.mark.parametrize("name", ONE_SIDE_REVERSED)
def test_one_side_reversed_is_an_error_in_half_pixel_mode(name) -> None:
    """It counts a negative number of samples, as torchvision does (V23); ours has none."""
    x, rois = torch.ones(2, 1, H, W), table_rois({name: table_boxes()[name]}, 1.0, torch.float32)
    with pytest.raises(Exception, match="Integer overflow"):
        roi_align(x, rois, (2, 2), sampling_ratio=0)
    assert not roiops.roi_align(x, rois, 2, 1.0, 0, True).any()


@pytest.mark.parametrize("opset, aligned", [(10, False), (16, True)])
def test_default_mode_of_an_opset(opset, aligned, generator) -> None:
    x, rois = features(generator, torch.float32), random_rois(generator, 50, 1.0, torch.float32)
    expected = roi_align(x, rois, (3, 5), opset, sampling_ratio=2)
    assert_same_values(roiops.roi_align(x, rois, (3, 5), 1.0, 2, aligned), expected, x)
    other = roiops.roi_align(x, rois, (3, 5), 1.0, 2, not aligned)
    assert (other - expected).abs().max() > 0.1


@each_ratio
def test_default_mode_of_opset_22_in_the_reference(ratio, generator) -> None:
    """Which ONNX Runtime has no kernel for; the ONNX package runs it in Python."""
    x = features(generator, torch.float32)
    rois = random_rois(generator, 20, 1.0, torch.float32)
    options = {"output_height": 2, "output_width": 4, "sampling_ratio": ratio}
    feeds = feeds_of(x, rois)
    reference = onnx_reference.ReferenceEvaluator(
        model("RoiAlign", tuple(feeds), torch.float32, 22, **options)
    )
    expected = torch.from_numpy(reference.run(None, {k: v.numpy() for k, v in feeds.items()})[0])
    actual = roiops.roi_align(x, rois, (2, 4), 1.0, ratio, True)
    assert_same_values(actual, expected, x)


def node_cases(op: str) -> dict:
    """The ONNX project's own tests of an operator, by name."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing builds the cases of every operator
        return {case.name: case for case in collect_testcases(op) if case.data_sets}


@pytest.mark.parametrize("aligned", [False, True], ids=("false", "true"))
def test_onnx_node_case_of_roi_align(aligned) -> None:
    """Numbers of the specification, written with four digits: hence the tolerance of 1e-4."""
    case = node_cases("RoiAlign")[f"test_roialign_aligned_{str(aligned).lower()}"]
    (x, boxes, image), (expected,) = case.data_sets[0]
    rois = torch.cat([torch.tensor(image).float()[:, None], torch.tensor(boxes)], 1)
    actual = roiops.roi_align(torch.tensor(x), rois, 5, 1.0, 2, aligned)
    assert (actual - torch.tensor(expected)).abs().max() < 1e-4


PATCH = torch.tensor([[[[1.0, 2], [3, 4]]]])
POINT = torch.tensor([[0.0, 0, 0, 1, 1]])
OF_MAX = {"mode": "max", "sampling_ratio": 1, "coordinate_transformation_mode": "output_half_pixel"}


def test_mode_max_is_another_function() -> None:
    """ONNX takes the largest *weighted tap* (4 / 4), ours the largest interpolated sample."""
    assert roi_align(PATCH, POINT, (1, 1), **OF_MAX).item() == 1
    assert roiops.roi_align(PATCH, POINT, 1, 1.0, 1).item() == 2.5
    assert roiops.roi_align(PATCH, POINT, 1, 1.0, 1, False, "max").item() == 2.5


def test_mode_max_in_the_specification_too() -> None:
    case = node_cases("RoiAlign")["test_roialign_mode_max"]
    (x, boxes, image), (expected,) = case.data_sets[0]
    rois = torch.cat([torch.tensor(image).float()[:, None], torch.tensor(boxes)], 1)
    actual = roiops.roi_align(torch.tensor(x), rois, 5, 1.0, 2, False, "max")
    assert (actual - torch.tensor(expected)).abs().max() > 0.1


@pytest.mark.parametrize("image", [5, -1])
@pytest.mark.parametrize("op", ["RoiAlign", "MaxRoiPool"])
def test_image_out_of_range_is_an_error_in_both(op, image) -> None:
    rois = torch.tensor([[float(image), 0, 0, 1, 1]])
    with pytest.raises(Exception, match=r"out of range|roi_batch_id"):
        if op == "RoiAlign":
            roi_align(PATCH, rois, (1, 1))
        else:
            max_roi_pool(PATCH, rois, (1, 1), 1.0)
    with pytest.raises(IndexError, match="must name images"):
        if op == "RoiAlign":
            roiops.roi_align(PATCH, rois, 1)
        else:
            roiops.roi_pool(PATCH, rois, 1)


def max_roi_pool(x: Tensor, rois: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    return run("MaxRoiPool", {"X": x, "rois": rois}, pooled_shape=size, spatial_scale=scale)


@each_size
@each_scale
def test_max_roi_pool_values(size, scale, generator) -> None:
    """A maximum is one of the pixels: there is nothing to round, so no tolerance."""
    x = features(generator, torch.float32)
    table = table_rois(table_boxes(), scale, torch.float32)
    rois = torch.cat([table, random_rois(generator, 200, scale, torch.float32)])
    expected = max_roi_pool(x, rois, size, scale)
    assert_same_bits(roiops.roi_pool(x, rois, size, scale), expected)


def test_max_roi_pool_has_the_same_floating_bin_edges() -> None:
    """V24: a RoI of 57 rows cut into 7 bins reads row 57; so do others."""
    ramp = torch.arange(400.0).view(1, 1, 400, 1)
    rois = torch.zeros(398, 5)
    rois[:, 4] = torch.arange(398.0)
    for bins in (7, 14, 29):
        expected = max_roi_pool(ramp, rois, (bins, 1), 1.0)
        assert_same_bits(roiops.roi_pool(ramp, rois, (bins, 1)), expected)


def test_max_roi_pool_loses_minus_infinity() -> None:
    """It starts at the lowest float; a bin of ours that is not empty has one of its pixels."""
    x, rois = torch.full((1, 1, H, W), -torch.inf), torch.tensor([[0.0, 0, 0, 3, 3]])
    assert max_roi_pool(x, rois, (1, 1), 1.0).item() == torch.finfo(torch.float32).min
    assert roiops.roi_pool(x, rois, 1).item() == -torch.inf


def test_max_roi_pool_loses_a_nan() -> None:
    x, rois = torch.arange(24.0).view(1, 1, 4, 6), torch.tensor([[0.0, 0, 0, 5, 3]])
    x[0, 0, 1, 1] = torch.nan
    assert max_roi_pool(x, rois, (1, 1), 1.0).item() == 23
    assert roiops.roi_pool(x, rois, 1).isnan().all()
