"""roiops.onnx: what has no form in ONNX is an error of the export that says why; known differences."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from boxes import inside_boxes
from cases import Options, make_case
from op_table import ROI_ALIGN_MAX, ROI_ALIGN_ROTATED
from torch import Tensor

import roiops
import roiops.onnx

pytest.importorskip("onnxscript", reason="exports to ONNX")
pytest.importorskip("onnxruntime", reason="runs exported models")

from onnx_tools import DYNAMIC, Exported, causes, export_case


class Module(torch.nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


def refusal(function: Callable[..., Any], *tensors: Tensor, dynamic_shapes: Any = None) -> str:
    """What the error says, and those behind it."""
    with pytest.raises(Exception) as caught:  # the exporter's own types are private
        Exported(Module(function), tensors, dynamic_shapes)
    return causes(caught.value)


X, ROIS = torch.randn(1, 2, 8, 9), torch.tensor([[0.0, 1, 1, 5, 6], [0, 2, 0, 4, 4]])


@pytest.mark.parametrize("op", [ROI_ALIGN_ROTATED, ROI_ALIGN_MAX], ids=str)
@pytest.mark.parametrize("ratio", [-1, 0])
def test_adaptive_sampling(op, ratio, generator) -> None:
    options = Options(sampling_ratio=ratio)
    case = make_case(op, options, generator, (9, 12), inside_boxes(9, 12), dtype=torch.float32)
    name = 'roi_align(mode="max")' if op is ROI_ALIGN_MAX else op.name
    with pytest.raises(Exception) as caught:
        export_case(case)
    rule = "`sampling_ratio` must be greater than 0 to be exported"
    assert f"roiops.onnx: {name}: {rule}, but got {ratio}." in causes(caught.value)


@pytest.mark.parametrize("name", ["roi_pool", "roi_align_max"])
def test_positions_of_maxima(name) -> None:
    op, rest = getattr(torch.ops.roiops, name), (2,) if name == "roi_align_max" else ()
    text = refusal(lambda x, rois: op(x, rois, 1.0, 2, 2, *rest), X, ROIS)
    assert "the positions of the maxima cannot be exported" in text
    values = lambda x, rois: op(x, rois, 1.0, 2, 2, *rest)[0]
    assert Exported(Module(values), (X, ROIS), None)(X, ROIS).shape == (2, 2, 2, 2)


def test_float64_maxima_of_pixels() -> None:
    text = refusal(lambda x, rois: roiops.roi_pool(x, rois, 2), X.double(), ROIS)
    assert "roiops.onnx: roi_pool: `input` must not be float64 to be exported" in text


SIZED = {
    "roi_align": lambda x, rois, size: roiops.roi_align(x, rois, size),
    "ps_roi_align": lambda x, rois, size: roiops.ps_roi_align(x, rois, size),
    "roi_pool": lambda x, rois, size: roiops.roi_pool(x, rois, size),
    "deform_roi_pool": lambda x, rois, size: roiops.deform_roi_pool(x, rois, None, size),
    "crop_and_resize": lambda x, rois, size: roiops.crop_and_resize(
        x, rois[:, 1:], rois[:, 0].long(), size
    ),
}


@pytest.mark.parametrize("name", SIZED)
def test_symbolic_output_size(name) -> None:
    x = torch.randn(1, 4, 2, 2)
    text = refusal(
        lambda x, rois: SIZED[name](x, rois, (x.shape[2], 2)),
        x,
        ROIS,
        dynamic_shapes=(({2: DYNAMIC}, None),),
    )
    argument = "crop_size" if name == "crop_and_resize" else "output_size"
    rule = "must be known when exporting, because ONNX has it as an attribute"
    assert f"roiops.onnx: {name}: `{argument}` {rule}, but got (symbolic, 2)." in text


def test_gradients() -> None:
    def gradient(grad: Tensor, rois: Tensor) -> Tensor:
        options = [1.0, 2.0, 0.0]  # scale, sampling ratio, aligned
        return torch.ops.roiops._mean_backward(grad, rois, None, X.shape, "roi_align", options)

    text = refusal(gradient, torch.randn(2, 2, 3, 3), ROIS)
    assert "roiops.onnx: gradients cannot be exported" in text


def test_every_operator_has_a_translation() -> None:
    names = {
        schema.name.split("::")[1]
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("roiops::")
    }
    table = roiops.onnx.translation_table()
    assert {str(op) for op in table} == {f"roiops.{name}.default" for name in names}


def test_without_onnxscript(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        ImportError,
        match="roiops.onnx: `translation_table` needs onnxscript: .*`pip install onnx onnxscript`",
    ):
        roiops.onnx.translation_table()


def test_opset_22_has_no_kernel_in_onnx_runtime() -> None:
    """Hence opset 18; remove the advice when this fails."""
    align = Module(lambda x, rois: roiops.roi_align(x, rois, 2))
    with pytest.raises(Exception, match=r"RoiAlign\(22\)"):
        Exported(align, (X, ROIS), None, opset_version=22)


@pytest.mark.parametrize("function", [roiops.roi_align, roiops.prroi_pool])
def test_an_infinite_pixel_reaches_boxes_that_do_not_touch_it(function) -> None:
    """Weights of zero times infinity; in eager mode there are no such products."""
    x, rois = torch.ones(1, 1, 8, 8), torch.tensor([[0.0, -20, -20, -10, -10]])
    x[0, 0, 0, 0] = torch.inf
    exported = Exported(Module(lambda x, rois: function(x, rois, 2)), (x, rois), None)
    assert exported(x, rois).isnan().any() and not function(x, rois, 2).any()
    x[0, 0, 0, 0] = 1
    assert not exported(x, rois).any()
