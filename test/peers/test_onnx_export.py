"""roiops.onnx: exported operators in ONNX Runtime, beside eager mode."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from boxes import (
    degenerate_boxes,
    edge_boxes,
    finite_boxes,
    inside_boxes,
    non_finite_boxes,
    outside_boxes,
)
from cases import Case, Options, make_case
from op_table import OPS, ROI_ALIGN, label
from operators import Op
from tolerance import assert_close, assert_same_bits
from torch import Tensor

import roiops

pytest.importorskip("onnxscript", reason="exports to ONNX")
pytest.importorskip("onnxruntime", reason="runs exported models")

from onnx_tools import DYNAMIC, Exported, export_case

FIXED_ONLY = ("roi_align_rotated", "roi_align_max")


def can_be_exported(op: Op, options: Options) -> bool:
    return options.sampling_ratio > 0 or op.name not in FIXED_ONLY


def rows(count: int | None) -> Any:
    """Of the op table, the first `count` that can be exported of each operator."""
    some = []
    for op in OPS:
        options = [o for o in op.few_options if can_be_exported(op, o)][:count]
        some += [pytest.param(op, o, id=label(op, o)) for o in options]
    return pytest.mark.parametrize("op, options", some)


def boxes_for(op: Op, options: Options, height: int, width: int) -> dict:
    """Every named box. Sampled adaptively, not the huge ones: ONNX Runtime visits each sample."""
    groups = [inside_boxes, edge_boxes, outside_boxes, degenerate_boxes, non_finite_boxes]
    if not op.samples or options.sampling_ratio > 0:
        groups = [finite_boxes, non_finite_boxes]
    return {name: box for group in groups for name, box in group(height, width).items()}


def small_case(op: Op, options: Options, generator: torch.Generator, **rest: Any) -> Case:
    """What is exported: sizes of no later call."""
    rest = {"boxes": inside_boxes(9, 12), "dtype": torch.float32} | rest
    return make_case(op, options, generator, (9, 12), **rest)


def hard_case(op: Op, options: Options, generator: torch.Generator, **rest: Any) -> Case:
    boxes = boxes_for(op, options, 11, 13)
    rest = {"boxes": boxes, "images": 3, "dtype": torch.float32} | rest
    return make_case(op, options, generator, (11, 13), **rest)


def largest(case: Case) -> float:
    return max(float(m.double().abs().max()) for m in case.maps)


def assert_same_values(exported: Exported, case: Case) -> None:
    names = list(boxes_for(case.op, case.options, 11, 13))
    assert_close(exported(*case.tensors), case().double(), largest(case), names=names)


@rows(count=None)
def test_values_of_hard_boxes_at_other_sizes(op, options, generator) -> None:
    exported = export_case(small_case(op, options, generator))
    case = hard_case(op, options, generator)
    assert_same_values(exported, case)
    one = case.rows(slice(1))
    assert_close(exported(*one.tensors), one().double(), largest(one))
    none = case.rows(slice(0))
    assert exported(*none.tensors).shape == none.output_shape
    assert not any(name.startswith(("roiops", "pkg")) for name in exported.nodes)


@pytest.mark.parametrize(
    "dtype, boxes_dtype",
    [(torch.float64, torch.float32), (torch.float16, torch.float64)],
    ids=("f64", "f16"),
)
@rows(count=1)
def test_types(op, options, dtype, boxes_dtype, generator) -> None:
    """At a scale that float32 rounds, hence without boxes whose samples lie at the very border."""
    if op.name == "roi_pool":
        dtype = torch.float16  # float64 is refused
    groups = (inside_boxes, outside_boxes, degenerate_boxes, non_finite_boxes)
    boxes = {name: box for group in groups for name, box in group(11, 13).items()}
    types = {"dtype": dtype, "boxes_dtype": boxes_dtype}
    options = replace(options, spatial_scale=0.3)
    exported = export_case(small_case(op, options, generator, **types))
    case = hard_case(op, options, generator, boxes=boxes, **types)
    result = exported(*case.tensors)
    assert result.dtype == dtype
    unrounded = case.map(lambda m: m.to(torch.promote_types(m.dtype, torch.float32)))()
    assert_close(result, unrounded.double(), largest(case), names=list(boxes))


def only(name: str) -> tuple[Op, Options]:
    op = next(op for op in OPS if op.name == name)
    return op, next(o for o in op.few_options if can_be_exported(op, o))


@pytest.mark.parametrize("name", ["roi_align", "roi_pool", "prroi_pool"])
def test_bfloat16_inside_a_model(name, generator) -> None:
    op, options = only(name)
    exported = export_case(small_case(op, options, generator), through=torch.bfloat16)
    case = hard_case(op, options, generator)
    rounded = case.map(lambda m: m.bfloat16().float())
    result = exported(*case.tensors)
    assert_same_bits(result, result.bfloat16().float())
    assert_close(result.bfloat16(), rounded().double(), largest(case))


def test_roi_align_is_roi_align(generator) -> None:
    """One node does the work; the others keep boxes that are not finite away from it."""
    nodes = export_case(small_case(ROI_ALIGN, Options((7, 7), 0.25, 2), generator)).nodes
    assert sorted(set(nodes) - {"Constant"}) == [
        "Abs", "Cast", "LessOrEqual", "ReduceSum", "RoiAlign", "Slice", "Squeeze", "Where"
    ]  # fmt: skip
    assert nodes.count("RoiAlign") == 1


@pytest.mark.parametrize("opset", [19, 20, 21])
@pytest.mark.parametrize(
    "name, node", [("roi_align", "RoiAlign"), ("roi_pool", "MaxRoiPool")], ids=("align", "max")
)
def test_other_opsets(name, node, opset, generator) -> None:
    op, options = only(name)
    exported = export_case(small_case(op, options, generator), opset_version=opset)
    assert exported.program.model.opset_imports[""] == opset and node in exported.nodes
    assert_same_values(exported, hard_case(op, options, generator))


def test_image_numbers_are_truncated(generator) -> None:
    exported = export_case(small_case(ROI_ALIGN, Options((2, 2), 1.0, 2), generator))
    case = hard_case(ROI_ALIGN, Options((2, 2), 1.0, 2), generator, boxes=inside_boxes(11, 13))
    case.boxes[:3, 0] = torch.tensor([0.9999, -0.9, 2.5])
    assert_close(exported(*case.tensors), case().double(), largest(case))


@rows(count=1)
def test_an_image_out_of_range_is_an_error(op, options, generator) -> None:
    exported = export_case(small_case(op, options, generator))
    for image in (3, -1):
        case = hard_case(op, options, generator, boxes=inside_boxes(11, 13))
        (case.extra if op.has_indices else case.boxes[:, 0])[1] = image
        with pytest.raises(IndexError):
            case()
        with pytest.raises(Exception, match=r"out of (range|data bounds|bounds)|roi_batch_id"):
            exported(*case.tensors)


@pytest.mark.parametrize("name", ["ps_roi_align", "deform_roi_pool"])
def test_adaptive_counts_of_bins_of_whole_pixels(name, generator) -> None:
    """Bins of 1, 2 and 3 pixels at positions that rounding moves: one sample more would show."""
    op = next(op for op in OPS if op.name == name)
    options = Options((3, 2))
    count, sizes = 300, torch.tensor([1.0, 2, 3])
    low = torch.rand(count, 2, generator=generator) * 8
    bins = sizes[torch.randint(3, (count, 2), generator=generator)]
    ends = low + bins * torch.tensor([2.0, 3.0])
    boxes = {str(i): tuple(b) for i, b in enumerate(torch.cat([low, ends], 1).tolist())}
    exported = export_case(small_case(op, options, generator))
    case = make_case(op, options, generator, (19, 17), boxes, dtype=torch.float32)
    steps = (ends - 0.5) - (low - 0.5)
    assert 20 < int((steps / torch.tensor([2.0, 3.0]) != bins).sum())  # rounding is at work
    assert_close(exported(*case.tensors), case().double(), 4 * largest(case))


@pytest.mark.parametrize("aligned", [False, True])
def test_rotated_boxes_with_one_value_that_is_not_finite(aligned, generator) -> None:
    op, _ = only("roi_align_rotated")
    options = Options((2, 2), 0.5, 2, aligned)
    case = hard_case(op, options, generator, boxes=inside_boxes(11, 13)).rows(slice(0, 1))
    rois = case.boxes.repeat(16, 1)
    for row, (column, value) in enumerate(product(range(1, 6), (torch.nan, torch.inf, -torch.inf))):
        rois[row, column] = value
    case = replace(case, boxes=rois)
    result = export_case(small_case(op, options, generator))(*case.tensors)
    assert not result[:15].any() and result[15].any()
    assert_close(result, case().double(), largest(case))


@pytest.mark.parametrize("scale", [0.5, 2**-2.5], ids=("level1", "level2.5"))
def test_levels_at_their_limits(scale, generator) -> None:
    """Sizes next to where a level begins; a box alone leaves the other levels none."""
    op, options = only("multiscale_roi_align")
    options = replace(options, spatial_scale=scale)
    exported = export_case(small_case(op, options, generator))
    case = hard_case(op, options, generator, boxes=inside_boxes(11, 13))
    sizes = torch.tensor([4.0 * 2**k * (1 + d * 1e-5) for k in range(-1, 6) for d in (-1, 0, 1)])
    rois = torch.cat([torch.zeros(len(sizes), 3), sizes[:, None], sizes[:, None]], 1)
    case = replace(case, boxes=rois)
    assert_close(exported(*case.tensors), case().double(), largest(case))
    for row in range(len(sizes)):
        one = case.rows(slice(row, row + 1))
        assert_close(exported(*one.tensors), one().double(), largest(case))


def test_crop_and_resize_of_bytes(generator) -> None:
    op, options = only("crop_and_resize")
    to_bytes = lambda case: case.map(lambda m: (m.abs() * 60).to(torch.uint8))
    exported = export_case(to_bytes(small_case(op, options, generator)))
    case = to_bytes(hard_case(op, options, generator))
    assert_close(exported(*case.tensors), case().double(), 255.0)


class Detector(torch.nn.Module):
    """Keeps the boxes with a score: their number depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.classify = torch.nn.Linear(4 * 9, 2)

    def forward(self, image: Tensor, boxes: Tensor, scores: Tensor) -> Tensor:
        kept = boxes[scores > 0.5]
        torch._check(kept.shape[0] >= 0)
        pooled = roiops.roi_align(self.convolve(image), [kept], 3, 0.5, 2, True)
        return self.classify(pooled.flatten(1))


def test_a_model_whose_number_of_boxes_depends_on_data(generator) -> None:
    model = Detector().eval()
    boxes = torch.rand(6, 4, generator=generator) * 12
    args = (torch.randn(1, 3, 8, 9, generator=generator), boxes, torch.linspace(0, 1, 6))
    exported = Exported(model, args, ({2: DYNAMIC, 3: DYNAMIC}, {0: DYNAMIC}, {0: DYNAMIC}))
    for scores in (torch.linspace(0, 1, 9), torch.zeros(9), torch.ones(9)):
        other = (torch.randn(1, 3, 11, 13), torch.rand(9, 4) * 12, scores)
        expected = model(*other).detach()
        assert_close(
            exported(*other),
            expected.double(),
            10 * float(expected.abs().max() if len(expected) else 1),
        )
