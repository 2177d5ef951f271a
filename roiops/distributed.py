"""Sharding rules: importing this module lets every operator take DTensors.

``import roiops.distributed``, once per process; there is nothing to call. DistributedDataParallel
and FSDP2 do not need it: they hand plain tensors to the operators.

NOTE [Sharding]
On each dimension of a device mesh a call may run in three ways, by how its tensors lie there:

==================  ===========  ============  ==========
                    replicated   by channels   by RoIs
==================  ===========  ============  ==========
maps                Replicate    Shard(1)      Replicate
bins                Replicate    Shard(1)      Shard(0)
boxes, offsets ...  Replicate    Replicate     Shard(0)
==================  ===========  ============  ==========

A gradient lies as its tensor does, except that that of a replicated tensor is a sum over the shards
of the others: Partial. DTensor chooses the cheapest way and redistributes what does not fit. No way
is by images: a RoI names its image by a number that counts all of them.

Suppression compares all boxes of an image, and is split by images only, if boxes have that
dimension. Matrices of IoU are split by the boxes of either set, too.
"""

from typing import Any, NamedTuple

import torch

from roiops._library import ops as _ops

if not torch.distributed.is_available():
    raise ImportError(
        "roiops.distributed: `torch.distributed` must be available, but this torch was built "
        "without it."
    )

from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard
from torch.distributed.tensor.experimental import register_sharding


class _Way(NamedTuple):
    maps: Placement
    bins: Placement
    rows: Placement  # of tensors with one row per RoI

    def gradient(self, kind: str) -> Placement:
        """Of a gradient by the maps or by rows."""
        placement: Placement = getattr(self, kind)
        return Partial() if placement == Replicate() and self != _REPLICATED else placement


_REPLICATED = _Way(Replicate(), Replicate(), Replicate())
_BY_CHANNELS = _Way(Shard(1), Shard(1), Replicate())
_BY_ROIS = _Way(Replicate(), Shard(0), Shard(0))

# The tensors of every schema.
_KINDS = (
    dict.fromkeys(("input", "image", "features"), "maps")
    | dict.fromkeys(("grad", "argmax"), "bins")
    | dict.fromkeys(("rois", "boxes", "box_indices", "offset", "extra"), "rows")
    | dict.fromkeys(("boxes_tangent", "extra_tangent"), "rows")
)
# Operators that return gradients, and by what; the others return bins.
_GRADIENTS = {
    "_mean_backward": "maps",
    "_max_backward": "maps",
    "_mean_backward_boxes": "rows",
    "_max_backward_boxes": "rows",
}
_NAMES = (
    *("roi_align", "ps_roi_align", "ps_roi_pool", "crop_and_resize", "roi_align_rotated"),
    *("prroi_pool", "deform_roi_pool", "multiscale_roi_align", "roi_pool", "roi_align_max"),
    *("_mean", "_mean_jvp_boxes", "_max_select", *_GRADIENTS),
)


def _splits_channels(name: str, values: dict[str, Any]) -> bool:
    """Whether shards of the maps' channels belong to the same shards of the bins' channels.

    A position-sensitive operator reads PH * PW channels for one of its output, which must not be
    torn apart on any part of the mesh.
    """
    if values.get("op", name) not in ("ps_roi_align", "ps_roi_pool"):
        return True
    if "grad" in values:
        mesh, channels = values["grad"].mesh, values["grad"].shape[1]
    else:
        height, width = values.get("output_size") or (
            values["pooled_height"],
            values["pooled_width"],
        )
        mesh, channels = values["input"].mesh, values["input"].shape[1] // (height * width)
    return bool(channels % mesh.size() == 0)


def _register(name: str) -> None:
    op = getattr(_ops, name).default
    arguments = [argument.name for argument in op._schema.arguments]

    def outputs(way: _Way) -> list[Placement]:
        by = _GRADIENTS.get(name)
        return [way.bins if by is None else way.gradient(by)] * len(op._schema.returns)

    def inputs(way: _Way, values: dict[str, Any]) -> list[Placement | None]:
        """One for each tensor, also of a list, and None for every other argument."""
        result: list[Placement | None] = []
        for argument, value in values.items():
            is_tensor = argument in _KINDS and value is not None
            placement = getattr(way, _KINDS[argument]) if is_tensor else None
            result += [placement] * (len(value) if argument == "features" else 1)
        return result

    def rule(*args: Any) -> list[tuple[list[Placement], list[Placement | None]]]:
        values = dict(zip(arguments, args, strict=False))  # without defaults at the end
        ways = [_REPLICATED, _BY_ROIS]
        if _splits_channels(name, values):
            ways.append(_BY_CHANNELS)
        return [(outputs(way), inputs(way, values)) for way in ways]

    _set_rule(op, rule, arguments)


def _set_rule(op: Any, rule: Any, arguments: list[str]) -> None:
    register_sharding(op)(rule)
    # register_sharding has no option for arguments that are lists of integers. Without this, two
    # calls that differ in one would share the cached shape of the result, and the call on a shard
    # would be told the size of the whole.
    propagator = DTensor._op_dispatcher.sharding_propagator
    info = propagator.op_to_schema_info[op]
    info.static_argnum = 0  # the cache looks at every argument
    info.needs_pytree = "features" in arguments  # a list of tensors
    if "input_size" in arguments:
        propagator.op_to_shape_and_stride_idx[op] = arguments.index("input_size")


def _register_boxes(name: str) -> None:
    """An operator on boxes alone. Its tensors have the same images in front, if any."""
    op = getattr(_ops, name).default
    arguments = [argument.name for argument in op._schema.arguments]

    def rule(*args: Any) -> list[tuple[list[Placement], list[Placement | None]]]:
        values = dict(zip(arguments, args, strict=False))
        names = ("boxes", "scores", "idxs", "boxes1", "boxes2")
        tensors = [n for n, value in values.items() if n in names and value is not None]
        images = values[tensors[0]].ndim == 3

        def way(result: Placement, *placements: Placement) -> Any:
            placed = dict(zip(tensors, placements, strict=True))
            return [result] * len(op._schema.returns), [placed.get(n) for n in values]

        ways = [way(Replicate(), *[Replicate()] * len(tensors))]
        if images:
            ways.append(way(Shard(0), *[Shard(0)] * len(tensors)))
        if "boxes1" in values:
            rows = int(images)
            ways.append(way(Shard(rows), Shard(rows), Replicate()))
            ways.append(way(Shard(rows + 1), Replicate(), Shard(rows)))
        return ways

    _set_rule(op, rule, arguments)


for _name in _NAMES:
    _register(_name)
for _name in ("nms_padded", "soft_nms_padded", "box_iou", "box_iou_rotated"):
    _register_boxes(_name)
