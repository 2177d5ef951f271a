"""Region-of-interest operators for PyTorch.

Importing the package loads ``libroiops.so``, which registers ``torch.ops.roiops.*`` for eager
mode, autograd, TorchScript, ``torch.export`` and ``torch.compile``.
"""

from importlib.metadata import version as _version

from roiops import (  # noqa: F401 (three register batching rules)
    _boxes,
    _vmap,
    _vmap_max,
    _vmap_nms,
    visualize,
)
from roiops._library import cmake_prefix_path, cuda_version, library_path
from roiops._torchvision import patch_torchvision, torchvision_patched, unpatch_torchvision
from roiops.box_ops import (
    batched_nms,
    box_iou,
    box_iou_rotated,
    nms,
    nms_padded,
    nms_rotated,
    soft_nms,
)
from roiops.modules import (
    CropAndResize,
    DeformRoIPool,
    MultiScaleRoIAlign,
    PrRoIPool,
    PSRoIAlign,
    PSRoIPool,
    RoIAlign,
    RoIAlignRotated,
    RoIPool,
)
from roiops.more_ops import (
    crop_and_resize,
    deform_roi_pool,
    multiscale_roi_align,
    roi_align_rotated,
)
from roiops.ops import prroi_pool, ps_roi_align, ps_roi_pool, roi_align, roi_pool

__version__ = _version("roiops")
__all__ = [
    "CropAndResize",
    "DeformRoIPool",
    "MultiScaleRoIAlign",
    "PSRoIAlign",
    "PSRoIPool",
    "PrRoIPool",
    "RoIAlign",
    "RoIAlignRotated",
    "RoIPool",
    "batched_nms",
    "box_iou",
    "box_iou_rotated",
    "cmake_prefix_path",
    "crop_and_resize",
    "cuda_version",
    "deform_roi_pool",
    "library_path",
    "multiscale_roi_align",
    "nms",
    "nms_padded",
    "nms_rotated",
    "patch_torchvision",
    "prroi_pool",
    "ps_roi_align",
    "ps_roi_pool",
    "roi_align",
    "roi_align_rotated",
    "roi_pool",
    "soft_nms",
    "torchvision_patched",
    "unpatch_torchvision",
    "visualize",
]

_boxes.show_sizes(globals()[name] for name in __all__)
