"""One row per operator. Every generic test runs on every row, so a new op only adds one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reference_ops
import reference_pixels
import torch
from boxes import edge_boxes, inside_boxes
from cases import Case, Options, grid, make_case
from operators import Op, as_crops, as_rotated
from reference_rotated import roi_align_rotated

import roiops

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
    reference=reference_pixels.ps_roi_pool,
    box_columns=ROIS,
    kinks="zero",
    constant_in_boxes=True,
    position_sensitive=True,
)

ROI_POOL = Op(
    name="roi_pool",
    function=roiops.roi_pool,
    module=roiops.RoIPool,
    option_names=SCALE,
    options=grid(output_size=SIZES, spatial_scale=(1.0, 0.3)),
    few_options=(Options((2, 3)), Options((7, 5), 0.5)),
    reference=reference_pixels.roi_pool,
    box_columns=ROIS,
    kinks="zero",
    takes_maximum=True,
    constant_in_boxes=True,
)

ROI_ALIGN_MAX = Op(
    name="roi_align_max",
    function=roiops.roi_align,
    module=roiops.RoIAlign,
    option_names=ROI_ALIGN.option_names,
    options=grid(output_size=((2, 2), (3, 5)), spatial_scale=(1.0, 0.3), sampling_ratio=(-1, 2, 3),
                 aligned=(False, True)),
    few_options=(Options((2, 3), 1.0, -1, True), Options((4, 4), 0.5, 2)),
    reference=reference_ops.roi_align_max,
    box_columns=ROIS,
    takes_maximum=True,
    mode="max",
)  # fmt: skip

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

OPS = (ROI_ALIGN, ROI_ALIGN_MAX, ROI_POOL, PS_ROI_ALIGN, PS_ROI_POOL, CROP_AND_RESIZE,
       ROI_ALIGN_ROTATED, PRROI_POOL, DEFORM_ROI_POOL, MULTISCALE_ROI_ALIGN)  # fmt: skip

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
