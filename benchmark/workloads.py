"""The workloads, as data. docs/benchmarks.md says what each stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Shape = tuple[int, int, int, int]
PASSES = ("forward", "backward", "both")


@dataclass(frozen=True)
class Workload:
    op: str  # a function of roiops
    maps: tuple[Shape, ...]  # [N, C, H, W] of the feature map, or of each level of a pyramid
    scales: tuple[float, ...]  # map pixels per image pixel, for each map
    rois: int
    bins: tuple[int, int]
    options: Mapping[str, Any] = field(default_factory=dict)
    sizes: tuple[float, float] | None = (16, 512)  # image pixels; None: the whole image
    margin: float = 0  # image pixels at the right and at the bottom that no box reaches
    gradients_by: tuple[str, ...] = ("features",)  # and "boxes", "offset"
    passes: tuple[str, ...] = PASSES
    has_peer: bool = True  # torchvision has this operator
    flips: float = 0.0  # share of elements where rounding may choose another winner
    hostile: bool = False  # boxes that no detector should give, instead


def _on_c4(op: str, **options: Any) -> Workload:
    """torchvision's ps_roi_pool never reads the last row and column: no box reaches them."""
    shape = (2, 490, 50, 68)
    return Workload(op, (shape,), (1 / 16,), 600, (7, 7), options, margin=24)


FPN_P2 = Workload("roi_align", ((1, 256, 200, 272),), (1 / 4,), 1000, (7, 7), {"sampling_ratio": 2})
PYRAMID = tuple((1, 256, 800 // stride, 1088 // stride) for stride in (4, 8, 16, 32))

WORKLOADS = {
    "fpn_p2": FPN_P2,
    "mask_14x14": replace(FPN_P2, rois=100, bins=(14, 14)),
    "c4_adaptive": Workload(
        "roi_align", ((2, 1024, 50, 68),), (1 / 16,), 512, (14, 14), {"sampling_ratio": 0}
    ),
    "fpn_multilevel": replace(
        FPN_P2, op="multiscale_roi_align", maps=PYRAMID, scales=(1 / 4, 1 / 8, 1 / 16, 1 / 32)
    ),
    "rfcn_ps_align": _on_c4("ps_roi_align", sampling_ratio=2),
    "rfcn_ps_pool": _on_c4("ps_roi_pool"),
    "fast_rcnn_pool": Workload("roi_pool", ((1, 512, 37, 50),), (1 / 16,), 2000, (7, 7)),
    "masks_28x28": Workload(
        "roi_align", ((100, 1, 800, 1088),), (1.0,), 100, (28, 28), {"sampling_ratio": -1}
    ),
    "one_huge_roi": replace(FPN_P2, rois=1, bins=(200, 272), sizes=None),
    "tiny": replace(FPN_P2, maps=((1, 256, 14, 14),), scales=(1 / 16,), rois=8),
    "crop": replace(FPN_P2, op="crop_and_resize", bins=(14, 14), options={}, has_peer=False),
    "rotated": replace(FPN_P2, op="roi_align_rotated", has_peer=False),
    "precise": replace(FPN_P2, op="prroi_pool", options={}, has_peer=False),
    "deform": replace(
        FPN_P2, op="deform_roi_pool", gradients_by=("features", "offset"), has_peer=False
    ),
    "align_max": replace(
        FPN_P2, options={"sampling_ratio": 2, "mode": "max"}, has_peer=False, flips=1e-4
    ),
    "box_gradient": replace(
        FPN_P2, gradients_by=("boxes",), passes=("backward",), has_peer=False
    ),
    "hostile_boxes": replace(
        FPN_P2, rois=128, options={"sampling_ratio": -1, "aligned": True}, has_peer=False,
        hostile=True,
    ),
}  # fmt: skip


def shrink(workload: Workload) -> Workload:
    """The same operator and options on maps that a test can afford."""

    def smaller(shape: Shape) -> Shape:
        images, channels, height, width = shape
        position_sensitive = workload.op.startswith("ps_")
        channels = workload.bins[0] * workload.bins[1] if position_sensitive else 3
        return min(images, 4), channels, max(height // 4, 8), max(width // 4, 8)

    return replace(
        workload,
        maps=tuple(smaller(shape) for shape in workload.maps),
        rois=min(workload.rois, 8),
        bins=(min(workload.bins[0], 16), min(workload.bins[1], 16)),
    )


def hostile(workload: Workload) -> Workload:
    """The same operator and maps, and boxes that no detector should give: torchvision crashes, or
    takes forever."""
    return replace(workload, rois=min(workload.rois, 128), hostile=True, has_peer=False)


def named(name: str, shrunk: bool, with_hostile_boxes: bool) -> Workload:
    workload = WORKLOADS[name]
    if with_hostile_boxes:
        workload = hostile(workload)
    return shrink(workload) if shrunk else workload
