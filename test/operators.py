"""What a row of the op table says of an operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Any

import torch
from boxes import Box, as_rois
from cases import MAX, MEAN, Options, PrivateOps
from torch import Tensor


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
    """An operator; one that takes a maximum also returns the winners."""

    name: str  # of the schema
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
    takes_maximum: bool = False
    mode: str | None = None  # which the Python function takes, and no schema
    constant_in_boxes: bool = False
    position_sensitive: bool = False
    has_indices: bool = False  # image numbers in a tensor of their own
    has_offset: bool = False
    lists: bool = True  # takes boxes per image

    @property
    def overload(self) -> Any:
        return getattr(torch.ops.roiops, self.name).default

    @property
    def private(self) -> PrivateOps:
        return MAX if self.takes_maximum else MEAN

    @property
    def python_name(self) -> str:
        return self.function.__name__

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
    def boxes_name(self) -> str:
        """In Python and in errors."""
        return "rois" if self.columns == 5 else "boxes"

    @property
    def most_samples(self) -> int:
        """Per bin and axis; samples that are not merged by axis are visited one by one."""
        return 256 if self.takes_maximum or self.columns == 5 else 1024

    @property
    def samples(self) -> bool:
        return "sampling_ratio" in self.option_names

    def differentiates_boxes(self, options: Options) -> bool:
        nearest = self.has_indices and options.method == "nearest"
        return not (self.constant_in_boxes or nearest)

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

    def python_values(self, options: Options) -> dict[str, Any]:
        return self.option_values(options) | ({} if self.mode is None else {"mode": self.mode})

    def python_args(self, options: Options) -> tuple[Any, ...]:
        return (options.output_size, *self.python_values(options).values())

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
