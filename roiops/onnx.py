"""For ``torch.onnx.export(dynamo=True)``: every operator in standard ONNX operators.

    torch.onnx.export(model, args, "model.onnx", dynamo=True, opset_version=18,
                      custom_translation_table=roiops.onnx.translation_table())

The result runs without this package. docs/onnx.md says which ONNX operators an operator becomes and
what cannot be exported. Opsets 18 to 21 are meant: from 22 on the file holds RoiAlign-22 and
MaxRoiPool-22, for which ONNX Runtime's CPU provider has no kernels (1.31).
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from roiops._library import ops


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What to pass as ``custom_translation_table``: a translation for each operator.

    K, N, H and W may be dynamic. Positions, weights and sums are float32 (float64 for float64
    features) as in eager mode, and features and boxes may have different types. A box that is not
    finite gives zeros. ``output_size`` must be known when exporting.

    Raises:
        ImportError: onnxscript is missing.
        RuntimeError: during the export, inside the exporter's error: what a model asks for has no
            form in ONNX (adaptive sampling of rotated boxes or of a maximum, the positions of
            maxima, float64 maxima of pixels, gradients, rotated or soft suppression).
    """
    if find_spec("onnxscript") is None:
        raise ImportError(
            "roiops.onnx: `translation_table` needs onnxscript: install it with "
            "`pip install onnx onnxscript`."
        )
    from roiops import _onnx_boxes, _onnx_ops, _onnx_points

    translations: dict[str, Callable[..., Any]] = {
        "roi_align": _onnx_ops.roi_align,
        "roi_align_max": _onnx_points.roi_align_max,
        "roi_pool": _onnx_ops.roi_pool,
        "ps_roi_align": _onnx_ops.ps_roi_align,
        "ps_roi_pool": _onnx_ops.ps_roi_pool,
        "crop_and_resize": _onnx_points.crop_and_resize,
        "roi_align_rotated": _onnx_points.roi_align_rotated,
        "prroi_pool": _onnx_points.prroi_pool,
        "deform_roi_pool": _onnx_ops.deform_roi_pool,
        "multiscale_roi_align": _onnx_ops.multiscale_roi_align,
        "nms_padded": _onnx_boxes.nms_padded,
        "soft_nms_padded": _onnx_boxes.soft_nms_padded,
        "box_iou": _onnx_boxes.box_iou,
        "box_iou_rotated": _onnx_boxes.box_iou_rotated,
        "_mean": _onnx_ops.derivative,
        "_mean_backward": _onnx_ops.derivative,
        "_mean_backward_boxes": _onnx_ops.derivative,
        "_mean_jvp_boxes": _onnx_ops.derivative,
        "_max_select": _onnx_ops.derivative,
        "_max_backward": _onnx_ops.derivative,
        "_max_backward_boxes": _onnx_ops.derivative,
    }
    return {getattr(ops, name).default: function for name, function in translations.items()}
