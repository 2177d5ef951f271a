"""One row per operator. Every generic test runs on every row, so a new op only adds one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import pi
from typing import Any

import pytest
import reference_ops
import torch
from boxes import Box, as_rois, edge_boxes, inside_boxes
from cases import Case, Options, grid, make_case
from reference_rotated import roi_align_rotated
from torch import Tensor

import roiops


def as_rotated(named: dict[str, Box], size: Any, options: Options, images: int) -> Tensor:
    """[K, 6]: the boxes turned about their centres by angles taken in turn."""
    rois = as_rois(named, options.spatial_scale, images)
    x1, y1, x2, y2 = rois[:, 1:].unbind(1)
    angles = torch.tensor([0, 0.5, pi / 2, -2.1, pi, 0.3, -pi / 2, 5.0], dtype=torch.float64)
    angle = angles.repeat(len(rois) // 8 + 1)[: len(rois)]
    columns = [rois[:, 0], (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, angle]
    return torch.stack(columns, 1)


def as_crops(named: dict[str, Box], size: Any, options: Options, images: int) -> Tensor:
    """[K, 4] (y1, x1, y2, x2), normalised by the last row and column."""
    rois = as_rois(named)
    last = torch.tensor([max(n - 1, 1) for n in (*size, *size)], dtype=torch.float64)
    return rois[:, [2, 1, 4, 3]] / last


def with_image(named: dict[str, Box], size: Any, options: Options, images: int) -> Tensor:
    return as_rois(named, options.spatial_scale, images)


@dataclass(frozen=True)
class Op:
    """An average-type operator."""

    name: str
    function: Callable[..., Tensor]
    module: Callable[..., torch.nn.Module]
    option_names: tuple[str, ...]  # without the output size; of the function and the schema
    options: tuple[Options, ...]  # the full grid
    few_options: tuple[Options, ...]  # for the expensive tests
    reference: Callable[..., Any]  # the taps of a box: reference_ops.py
    box_columns: str  # of the error sentence
    columns: int = 4  # of the boxes, without the image
    boxes: Callable[..., Tensor] = with_image
    kinks: str = "right"  # derivative at a pixel: right-hand, "zero" or "smooth"
    hint: str = " For per-image boxes pass a list of Tensor[L, 4]."
    size_name: str = "output_size"
    input_name: str = "input"
    levels: int = 1
    position_sensitive: bool = False
    has_indices: bool = False  # image numbers in a tensor of their own
    has_offset: bool = False
    lists: bool = True  # takes boxes per image

    @property
    def overload(self) -> Any:
        return getattr(torch.ops.roiops, self.name).default

    @property
    def pyramid(self) -> bool:
        return self.levels > 1

    @property
    def takes_extra(self) -> bool:
        return self.has_indices or self.has_offset

    @property
    def has_image_column(self) -> bool:
        return not self.has_indices

    @property
    def samples(self) -> bool:
        return "sampling_ratio" in self.option_names

    def differentiates_boxes(self, options: Options) -> bool:
        return self.name != "ps_roi_pool" and (not self.has_indices or options.method == "bilinear")

    def channels_per_output(self, options: Options) -> int:
        height, width = options.output_size
        return height * width if self.position_sensitive else 1

    def input_channels(self, channels: int, options: Options) -> int:
        return channels * self.channels_per_output(options)

    def output_channels(self, channels: int, options: Options) -> int:
        return channels // self.channels_per_output(options)

    def option_values(self, options: Options) -> dict[str, Any]:
        return {name: getattr(options, name) for name in self.option_names}

    def args(self, options: Options) -> tuple[Any, ...]:
        """The arguments after the tensors, in the order of the schema."""
        values = list(self.option_values(options).values())
        first = 1 if self.option_names[0].startswith("spatial_scale") else 0
        return (*values[:first], *options.output_size, *values[first:])

    def python_args(self, options: Options) -> tuple[Any, ...]:
        return (options.output_size, *self.option_values(options).values())

    def pack(self, options: Options, level: int = 0) -> list[float]:
        """The options as the private operators take them."""
        values = self.option_values(options)
        scales = values.pop("spatial_scales", None)
        if "method" in values:
            values["method"] = values["method"] == "nearest"
        packed = [float(v) for v in values.values()]
        return packed if scales is None else [*packed, float(level), *scales]

    def __str__(self) -> str:
        return self.name


SIZES = ((1, 1), (2, 2), (3, 5), (7, 7))
SCALE = ("spatial_scale",)
ROIS = "[K, 5] (image, x1, y1, x2, y2)"

ROI_ALIGN = Op(
    name="roi_align",
    function=roiops.roi_align,
    module=roiops.RoIAlign,
    option_names=("spatial_scale", "sampling_ratio", "aligned"),
    options=grid(output_size=((2, 2), (3, 5)), spatial_scale=(1.0, 0.3), sampling_ratio=(-1, 1, 3),
                 aligned=(False, True))
    + grid(output_size=((1, 1), (7, 7)), sampling_ratio=(0, 2), aligned=(False, True)),
    few_options=(
        Options((7, 7)),
        Options((3, 5), 0.5, 2),
        Options((2, 2), 1.0, -1, True),
        Options((3, 2), 0.25, 3, True),
    ),
    reference=reference_ops.roi_align,
    box_columns=ROIS,
)  # fmt: skip

PS_ROI_ALIGN = Op(
    name="ps_roi_align",
    function=roiops.ps_roi_align,
    module=roiops.PSRoIAlign,
    option_names=("spatial_scale", "sampling_ratio"),
    options=grid(output_size=((2, 2), (3, 5)), spatial_scale=(1.0, 0.3), sampling_ratio=(-1, 2)),
    few_options=(Options((2, 3)), Options((3, 2), 0.5, 2)),
    reference=reference_ops.ps_roi_align,
    box_columns=ROIS,
    position_sensitive=True,
)

PS_ROI_POOL = Op(
    name="ps_roi_pool",
    function=roiops.ps_roi_pool,
    module=roiops.PSRoIPool,
    option_names=SCALE,
    options=grid(output_size=SIZES, spatial_scale=(1.0, 0.3)),
    few_options=(Options((2, 3)), Options((3, 2), 0.5)),
    reference=reference_ops.ps_roi_pool,
    box_columns=ROIS,
    kinks="zero",
    position_sensitive=True,
)

CROP_AND_RESIZE = Op(
    name="crop_and_resize",
    function=roiops.crop_and_resize,
    module=roiops.CropAndResize,
    option_names=("method", "extrapolation_value"),
    options=grid(output_size=(*SIZES, (1, 4), (5, 1)), method=("bilinear", "nearest"),
                 extrapolation_value=(0.0, -2.5)),
    few_options=(Options((2, 3)), Options((3, 1), extrapolation_value=0.75),
                 Options((4, 3), method="nearest")),
    reference=reference_ops.crop_and_resize,
    box_columns="[K, 4] (y1, x1, y2, x2)",
    boxes=as_crops,
    kinks="zero",
    hint=" Boxes are normalised by the image's last row and column.",
    size_name="crop_size",
    input_name="image",
    has_indices=True,
    lists=False,
)  # fmt: skip

ROI_ALIGN_ROTATED = Op(
    name="roi_align_rotated",
    function=roiops.roi_align_rotated,
    module=roiops.RoIAlignRotated,
    option_names=("spatial_scale", "sampling_ratio", "aligned", "clockwise"),
    options=grid(output_size=((1, 1), (2, 3)), sampling_ratio=(-1, 1, 2), aligned=(False, True),
                 clockwise=(False, True))
    + (Options((3, 5), 0.3, -1, True), Options((3, 5), 0.3, 3)),
    few_options=(Options((2, 3), 1.0, -1, True), Options((3, 2), 0.5, 2, clockwise=True)),
    reference=roi_align_rotated,
    box_columns="[K, 6] (image, cx, cy, w, h, angle)",
    columns=5,
    boxes=as_rotated,
    hint=" The angle is in radians.",
    lists=False,
)  # fmt: skip

PRROI_POOL = Op(
    name="prroi_pool",
    function=roiops.prroi_pool,
    module=roiops.PrRoIPool,
    option_names=SCALE,
    options=grid(output_size=SIZES, spatial_scale=(1.0, 0.3)),
    few_options=(Options((2, 3)), Options((3, 2), 0.5)),
    reference=reference_ops.prroi_pool,
    box_columns=ROIS,
    kinks="smooth",
)

DEFORM_ROI_POOL = Op(
    name="deform_roi_pool",
    function=roiops.deform_roi_pool,
    module=roiops.DeformRoIPool,
    option_names=("spatial_scale", "sampling_ratio", "gamma"),
    options=grid(output_size=((1, 1), (2, 3)), spatial_scale=(1.0, 0.3), sampling_ratio=(0, 2),
                 gamma=(0.1, 0.5)) + (Options((3, 2), offset=False),),
    few_options=(Options((2, 3)), Options((3, 2), 0.5, 2), Options((2, 2), offset=False)),
    reference=reference_ops.deform_roi_pool,
    box_columns=ROIS,
    has_offset=True,
)  # fmt: skip

MULTISCALE_ROI_ALIGN = Op(
    name="multiscale_roi_align",
    function=roiops.multiscale_roi_align,
    module=roiops.MultiScaleRoIAlign,
    option_names=("spatial_scales", "sampling_ratio", "aligned", "canonical_scale",
                  "canonical_level"),
    options=grid(output_size=((1, 1), (3, 2)), spatial_scale=(1.0, 0.3), sampling_ratio=(-1, 2),
                 aligned=(False, True)),
    few_options=(Options((2, 3), 0.5, -1, True), Options((3, 2), 1.0, 2)),
    reference=reference_ops.multiscale_roi_align,
    box_columns=ROIS,
    input_name="features",
    levels=3,
)  # fmt: skip

OPS = (ROI_ALIGN, PS_ROI_ALIGN, PS_ROI_POOL, CROP_AND_RESIZE, ROI_ALIGN_ROTATED, PRROI_POOL,
       DEFORM_ROI_POOL, MULTISCALE_ROI_ALIGN)  # fmt: skip

each_op = pytest.mark.parametrize("op", OPS, ids=str)


def some_ops(condition: Callable[[Op], bool]) -> Any:
    return pytest.mark.parametrize("op", [op for op in OPS if condition(op)], ids=str)


def label(op: Op, options: Options) -> str:
    values = [str(v) for k, v in op.option_values(options).items() if k != "spatial_scales"]
    height, width = options.output_size
    extra = [] if options.offset or not op.has_offset else ["no_offset"]
    return "-".join([str(op), f"{height}x{width}", *values, *extra])


def _pairs(pick: Callable[[Op], tuple[Options, ...]]) -> Any:
    rows = [pytest.param(op, o, id=label(op, o)) for op in OPS for o in pick(op)]
    return pytest.mark.parametrize("op, options", rows)


each_option = _pairs(lambda op: op.options)
few_options = _pairs(lambda op: op.few_options)
one_option = _pairs(lambda op: op.few_options[:1])


def sample_cases(
    op: Op, device: str, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Iterator[tuple[str, Case]]:
    """Small calls that between them use every layout and every empty size."""
    few = dict(list((inside_boxes(9, 8) | edge_boxes(9, 8)).items())[::5])

    def case(options: Options = op.few_options[0], size=(9, 8), **rest: Any) -> Case:
        rest = {"boxes": few, "dtype": dtype, "device": device} | rest
        return make_case(op, options, generator, size, **rest)

    for options in op.few_options:
        yield f"contiguous-{label(op, options)}", case(options)
    yield "channels_last", case().map(lambda m: m.to(memory_format=torch.channels_last))
    wide = case(channels=6, images=4, size=(18, 8))
    yield "sliced", case().map(lambda m: m.repeat(2, 2, 2, 1)[::2, : m.shape[1], ::2])
    yield "no_rois", case().rows(slice(0))
    yield "no_channels", case(channels=0)
    yield "no_images", case(images=0).rows(slice(0))
    yield "no_rows", wide.map(lambda m: m[:, :, :0])
    yield "one_channel", case(channels=1)
