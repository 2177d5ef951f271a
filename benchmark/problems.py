"""From a workload to calls: random inputs, and the passes of roiops and of torchvision on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torchvision
from torch import Tensor
from workloads import Workload

import roiops

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
LIBRARIES = {"roiops": roiops, "torchvision": torchvision.ops}
SEED = 20240229

Call = Callable[[], tuple[Tensor, ...]]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


@dataclass(frozen=True)
class Variant:
    """What a workload is timed with."""

    dtype: str = "float32"
    layout: str = "nchw"
    device: str = "cpu"


@dataclass(frozen=True)
class Problem:
    forward: Callable[[], Tensor]
    by: tuple[Tensor, ...]  # gradients are taken by these
    grad: Tensor

    def prepare(self, name: str) -> Call:
        """The pass of this name. `backward` gets the graph of a forward made here."""
        if name == "backward":
            output = self.forward()
            return lambda: torch.autograd.grad(output, self.by, self.grad, retain_graph=True)
        return {"forward": self._forward, "both": self._both}[name]

    def _forward(self) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (self.forward(),)

    def _both(self) -> tuple[Tensor, ...]:
        output = self.forward()
        return output, *torch.autograd.grad(output, self.by, self.grad)


def image_size(workload: Workload) -> tuple[float, float]:
    height, width = workload.maps[0][2:]
    return height / workload.scales[0], width / workload.scales[0]


def hostile_boxes(height: float, width: float) -> list[tuple[float, ...]]:
    """Enormous, outside, reversed, not finite: the cost must be that of what they cover."""
    far, nan, inf = 1e30, math.nan, math.inf
    return [(-far, -far, far, far), (0, 0, far, far), (-1e5, -1e5, 1e5, 1e5), (far, far, inf, inf),
            (1e6, 1e6, 2e6, 2e6), (nan, 0, width, height), (-inf, 0, inf, height),
            (width, height, -far, -far)]  # fmt: skip


def random_rois(workload: Workload) -> Tensor:
    """[K, 5]: log-uniform sizes, aspect ratios from 1:2 to 2:1, anywhere in the image, images in
    turn. A box larger than the image is cut to it."""
    height, width = image_size(workload)
    extent = torch.tensor([width, height], dtype=torch.float64) - workload.margin
    u = torch.rand(workload.rois, 4, generator=generator(), dtype=torch.float64)
    if workload.sizes is None:
        sides = extent.expand(workload.rois, 2)
    else:
        low, high = workload.sizes
        size = low * (high / low) ** u[:, :1]
        stretch = 2 ** (u[:, 1:2] - 0.5)
        sides = torch.cat([size * stretch, size / stretch], 1).minimum(extent)
    start = u[:, 2:] * (extent - sides)
    image = torch.arange(workload.rois).remainder(workload.maps[0][0])
    boxes = torch.cat([start, start + sides], 1)
    if workload.hostile:
        kinds = torch.tensor(hostile_boxes(height, width), dtype=torch.float64)
        boxes = kinds[torch.arange(workload.rois) % len(kinds)]
    return torch.cat([image[:, None], boxes], 1).float()


def rotated_rois(rois: Tensor) -> Tensor:
    sides = rois[:, 3:] - rois[:, 1:3]
    angles = torch.rand(len(rois), 1, generator=generator()) * 2 * math.pi - math.pi
    return torch.cat([rois[:, :1], rois[:, 1:3] + sides / 2, sides, angles], 1)


def crop_boxes(rois: Tensor, workload: Workload) -> Tensor:
    height, width = image_size(workload)
    return (rois[:, 1:] / torch.tensor([width, height] * 2))[:, [1, 0, 3, 2]].contiguous()


def boxes_of(workload: Workload) -> Tensor:
    rois = random_rois(workload)
    if workload.op == "roi_align_rotated":
        return rotated_rois(rois)
    if workload.op == "crop_and_resize":
        return crop_boxes(rois, workload)
    return rois


def pyramid_call(
    ops: ModuleType, workload: Workload, maps: list[Tensor], boxes: Tensor
) -> Callable[[], Tensor]:
    """A pyramid belongs to one image, so that the list of boxes is in the order of `boxes`."""
    per_image = [boxes[:, 1:].contiguous()]
    if ops is roiops:
        scales = list(workload.scales)
        return lambda: roiops.multiscale_roi_align(
            maps, per_image, workload.bins, scales, **workload.options
        )
    levels = {str(i): level for i, level in enumerate(maps)}
    pooler = ops.MultiScaleRoIAlign(list(levels), workload.bins, **workload.options)
    height, width = image_size(workload)
    return lambda: pooler(levels, per_image, [(int(height), int(width))])


def forward_call(
    ops: ModuleType, workload: Workload, maps: list[Tensor], boxes: Tensor, offset: Tensor | None
) -> Callable[[], Tensor]:
    if workload.op == "multiscale_roi_align":
        return pyramid_call(ops, workload, maps, boxes)
    function: Any = getattr(ops, workload.op)
    args: tuple[Any, ...]
    if workload.op == "crop_and_resize":
        image = torch.arange(len(boxes), device=boxes.device).remainder(len(maps[0]))
        args = (maps[0], boxes, image, workload.bins)
    else:
        extra = () if offset is None else (offset,)
        args = (maps[0], boxes, *extra, workload.bins, workload.scales[0])
    return lambda: function(*args, **workload.options)


def build(workload: Workload, library: str, variant: Variant, exact: bool = False) -> Problem:
    """The same numbers for every library, layout and device.

    exact: compute in float32 on the numbers rounded to the variant's dtype, which is what
        torchvision always does here: its RoI operators know no bfloat16.
    """
    source = generator()
    compute = DTYPES[variant.dtype]
    if exact or library == "torchvision":
        compute = torch.float32

    def random(shape: tuple[int, ...]) -> Tensor:
        values = torch.randn(shape, generator=source).to(variant.device, DTYPES[variant.dtype])
        return values.to(compute).contiguous(memory_format=LAYOUTS[variant.layout])

    maps = [random(shape) for shape in workload.maps]
    boxes = boxes_of(workload).to(variant.device)
    offset = None
    if workload.op == "deform_roi_pool":
        offset = random((workload.rois, 2, *workload.bins))
    by_name = {"features": maps, "boxes": [boxes], "offset": [offset]}
    by = tuple(t.requires_grad_() for name in workload.gradients_by for t in by_name[name])
    forward = forward_call(LIBRARIES[library], workload, maps, boxes, offset)
    with torch.no_grad():
        output = forward()
    # In the memory format of the output, which is what the layer behind would send back.
    grad = torch.empty_like(output).copy_(random(tuple(output.shape)))
    return Problem(forward, by, grad)
