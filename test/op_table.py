"""One row per operator. Every generic test runs on every row, so a new op only adds one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import reference
import torch
from boxes import as_rois, edge_boxes, inside_boxes
from torch import Tensor

import roiops

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Options:
    """One choice of everything but the tensors."""

    output_size: tuple[int, int]
    spatial_scale: float = 1.0
    sampling_ratio: int = -1
    aligned: bool = False

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments after the tensors, in the order of the schema."""
        return (self.spatial_scale, *self.output_size, self.sampling_ratio, self.aligned)

    @property
    def python_args(self) -> tuple[Any, ...]:
        return (self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)

    def __str__(self) -> str:
        height, width = self.output_size
        aligned = "aligned" if self.aligned else "legacy"
        return f"{height}x{width}-scale{self.spatial_scale}-ratio{self.sampling_ratio}-{aligned}"


@dataclass(frozen=True)
class Sample:
    """One call: op(*args)."""

    name: str
    args: tuple[Any, ...]

    def __str__(self) -> str:
        return self.name


MEAN = torch.ops.roiops._mean.default
MEAN_BACKWARD = torch.ops.roiops._mean_backward.default
MEAN_BACKWARD_BOXES = torch.ops.roiops._mean_backward_boxes.default
MEAN_JVP_BOXES = torch.ops.roiops._mean_jvp_boxes.default


@dataclass(frozen=True)
class Op:
    """An average-type operator. Calls with `*args` take `*options.args`."""

    name: str
    function: Callable[..., Tensor]  # (input, boxes, *options.python_args)
    module: Callable[..., torch.nn.Module]  # (*options.python_args)
    overload: Any  # (input, rois, *args)
    options: tuple[Options, ...]  # the full grid
    few_options: tuple[Options, ...]  # for the expensive tests
    reference: Callable[..., tuple[Tensor, Tensor]]  # (input, rois, *args): values, slack
    reference_input_gradient: Callable[..., tuple[Tensor, Tensor]]  # (grad, rois, shape, *args)
    reference_box_gradient: Callable[..., tuple[Tensor, Tensor]]  # (grad, input, rois, *args)
    pack: Callable[..., list[float]]  # (*args): the options as the private operators take them

    def input_gradient(self, grad: Tensor, rois: Tensor, shape: Any, *args: Any) -> Tensor:
        return MEAN_BACKWARD(grad, rois, shape, self.name, self.pack(*args))

    def box_gradient(self, grad: Tensor, input: Tensor, rois: Tensor, *args: Any) -> Tensor:
        return MEAN_BACKWARD_BOXES(grad, input, rois, self.name, self.pack(*args))

    def box_jvp(self, input: Tensor, rois: Tensor, tangent: Tensor, *args: Any) -> Tensor:
        size = args[1:3]
        return MEAN_JVP_BOXES(input, rois, tangent, size, self.name, self.pack(*args))

    def private_calls(
        self, input: Tensor, rois: Tensor, grad: Tensor, tangent: Tensor, options: Options
    ) -> dict[Any, tuple[Any, ...]]:
        """The arguments of each operator behind the derivatives."""
        last = (self.name, self.pack(*options.args))
        return {
            MEAN: (input, rois, options.output_size, *last),
            MEAN_BACKWARD: (grad, rois, input.shape, *last),
            MEAN_BACKWARD_BOXES: (grad, input, rois, *last),
            MEAN_JVP_BOXES: (input, rois, tangent, options.output_size, *last),
        }

    def __str__(self) -> str:
        return self.name


def pack_roi_align(scale: float, height: int, width: int, ratio: int, aligned: bool) -> list[float]:
    return [scale, float(ratio), float(aligned)]


ROI_ALIGN = Op(
    name="roi_align",
    function=roiops.roi_align,
    module=roiops.RoIAlign,
    overload=torch.ops.roiops.roi_align.default,
    options=tuple(
        Options(size, scale, ratio, aligned)
        for aligned, ratio, size, scale in product(
            (False, True), (-1, 0, 1, 2, 3), ((1, 1), (2, 2), (3, 5), (7, 7)), (1.0, 0.5, 0.3)
        )
        if scale == 1.0 or size in ((2, 2), (3, 5))  # the scale only acts when decoding
    ),
    few_options=(
        Options((7, 7)),
        Options((3, 5), 0.5, 2),
        Options((2, 2), 1.0, -1, True),
        Options((3, 2), 0.25, 3, True),
    ),
    reference=reference.roi_align,
    reference_input_gradient=reference.roi_align_input_gradient,
    reference_box_gradient=reference.roi_align_box_gradient,
    pack=pack_roi_align,
)

OPS = (ROI_ALIGN,)

each_op = pytest.mark.parametrize("op", OPS, ids=str)


def _pairs(pick: Callable[[Op], tuple[Options, ...]]) -> Any:
    rows = [pytest.param(op, o, id=f"{op}-{o}") for op in OPS for o in pick(op)]
    return pytest.mark.parametrize("op, options", rows)


each_option = _pairs(lambda op: op.options)
few_options = _pairs(lambda op: op.few_options)


def sample_inputs(
    op: Op, device: str, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Iterator[Sample]:
    """Small calls that between them use every layout and every empty size."""

    def features(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)

    few = dict(list((inside_boxes(9, 8) | edge_boxes(9, 8)).items())[::5])
    rois = as_rois(few, images=2, dtype=dtype).to(device)
    for options in op.few_options:
        yield Sample(f"contiguous-{options}", (features(2, 3, 9, 8), rois, *options.args))
    args = op.few_options[0].args
    last = torch.channels_last
    yield Sample("channels_last", (features(2, 3, 9, 8).to(memory_format=last), rois, *args))
    yield Sample("sliced", (features(4, 6, 18, 8)[::2, ::2, ::2], rois, *args))
    yield Sample("no_rois", (features(2, 3, 9, 8), rois[:0], *args))
    yield Sample("no_channels", (features(2, 0, 9, 8), rois, *args))
    yield Sample("no_images", (features(0, 3, 9, 8), rois[:0], *args))
    yield Sample("no_rows", (features(2, 3, 0, 8), rois, *args))
    yield Sample("one_channel", (features(2, 1, 9, 8), rois, *args))
