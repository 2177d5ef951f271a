"""A call of an operator with all its tensors, so that one test serves every operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from boxes import Box, hard_boxes
from torch import Tensor

import roiops  # noqa: F401 (loads the operators)

if TYPE_CHECKING:
    from operators import Op


class PrivateOps(NamedTuple):
    """The operators behind the derivatives, or the arguments of each."""

    apply: Any  # the operator as a linear map of its features: a maximum's winners are given
    backward: Any
    backward_boxes: Any
    jvp_boxes: Any


MEAN = PrivateOps(
    torch.ops.roiops._mean.default,
    torch.ops.roiops._mean_backward.default,
    torch.ops.roiops._mean_backward_boxes.default,
    torch.ops.roiops._mean_jvp_boxes.default,
)
MAX = PrivateOps(
    torch.ops.roiops._max_select.default,
    torch.ops.roiops._max_backward.default,
    torch.ops.roiops._max_backward_boxes.default,
    torch.ops.roiops._max_select.default,
)

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Options:
    """One choice of everything but the tensors, for all operators: each takes what it knows."""

    output_size: tuple[int, int] = (2, 3)
    spatial_scale: float = 1.0
    sampling_ratio: int = -1
    aligned: bool = False
    clockwise: bool = False
    method: str = "bilinear"
    extrapolation_value: float = 0.0
    gamma: float = 0.1
    offset: bool = True  # deform_roi_pool is given one
    canonical_scale: int = 4  # boxes of the small test maps fall on all levels
    canonical_level: int = 1

    @property
    def spatial_scales(self) -> list[float]:
        return [self.spatial_scale, self.spatial_scale / 2, self.spatial_scale / 4]


def grid(**choices: Sequence[Any]) -> tuple[Options, ...]:
    return tuple(Options(**dict(zip(choices, c, strict=True))) for c in product(*choices.values()))


@dataclass(frozen=True)
class Case:
    """op(maps, boxes, extra, options); `maps` has one map except for a pyramid."""

    op: Op
    options: Options
    maps: tuple[Tensor, ...]
    boxes: Tensor
    extra: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.maps, self.boxes, *(() if self.extra is None else (self.extra,)))

    def of(self, *tensors: Tensor) -> Case:
        """The same call of other tensors."""
        levels = len(self.maps)
        extra = tensors[levels + 1] if self.extra is not None else None
        return replace(self, maps=tensors[:levels], boxes=tensors[levels], extra=extra)

    def map(self, change: Callable[[Tensor], Tensor]) -> Case:
        return replace(self, maps=tuple(change(m) for m in self.maps))

    def with_options(self, **options: Any) -> Case:
        return replace(self, options=replace(self.options, **options))

    def rows(self, index: Any) -> Case:
        """The same call for some of the boxes."""
        extra = None if self.extra is None else self.extra[index]
        return replace(self, boxes=self.boxes[index], extra=extra)

    def to(self, device: str) -> Case:
        return self.of(*(t.to(device) for t in self.tensors))

    @property
    def dtype(self) -> torch.dtype:
        return self.maps[0].dtype

    @property
    def output_channels(self) -> int:
        return self.op.output_channels(self.maps[0].shape[1], self.options)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (len(self.boxes), self.output_channels, *self.options.output_size)

    @property
    def linear(self) -> Case:
        """Without the constant that crop_and_resize extrapolates with."""
        return self.with_options(extrapolation_value=0.0)

    # The public operator.

    @property
    def args(self) -> tuple[Any, ...]:
        return (*self.leading(list(self.maps)), *self.op.args(self.options))

    def leading(self, maps: list[Tensor]) -> tuple[Any, ...]:
        """The tensors as the operator and the function take them."""
        first = maps if self.op.pyramid else maps[0]
        return (first, self.boxes, *((self.extra,) if self.op.takes_extra else ()))

    def result(self) -> Any:
        """All that the operator returns: the values, and a maximum's winners."""
        return self.op.overload(*self.args)

    def __call__(self) -> Tensor:
        return self.result()[0] if self.op.takes_maximum else self.result()

    @property
    def winners(self) -> Tensor:
        return self.result()[1]

    def run(self, *tensors: Tensor) -> Tensor:
        return self.of(*tensors)()

    # What can be differentiated.

    @property
    def has_offset(self) -> bool:
        return self.op.has_offset and self.extra is not None

    @property
    def needs(self) -> tuple[bool, ...]:
        """For each of `tensors`: does a gradient flow to it?"""
        by_boxes = self.op.differentiates_boxes(self.options)
        extra = () if self.extra is None else (self.op.has_offset,)
        return (*(True for _ in self.maps), by_boxes, *extra)

    def leaves(self, needs: Sequence[bool] | None = None) -> Case:
        """Copies, with equal strides, that require gradients where they can (or as told)."""
        wanted = self.needs if needs is None else needs
        copies = []
        for tensor, need in zip(self.tensors, wanted, strict=True):
            form = (tensor.shape, tensor.stride())
            copy = torch.empty_strided(*form, dtype=tensor.dtype, device=tensor.device)
            copies.append(copy.copy_(tensor.detach()).requires_grad_(need))
        return self.of(*copies)

    @property
    def trainable(self) -> list[Tensor]:
        return [t for t in self.tensors if t.requires_grad]

    # The private operators behind the derivatives; a pyramid makes one call per level.

    def pack(self, level: int = 0) -> tuple[str, list[float]]:
        return self.op.name, self.op.pack(self.options, level)

    def private_args(
        self, level: int = -1, grad: Tensor | None = None, input: Tensor | None = None,
        tangent: Tensor | None = None, extra_tangent: Tensor | None = None,
    ) -> PrivateOps:  # fmt: skip
        """For one level, of its map if not told; a call needs only the tensors of its own."""
        level = range(len(self.maps))[level]
        m, boxes, extra, size = self.maps[level], self.boxes, self.extra, self.options.output_size
        map, tail = m if input is None else input, self.linear.pack(level)
        if self.op.takes_maximum:
            winners = self.winners
            return PrivateOps(
                (map, winners, boxes, None, *tail),
                (grad, winners, boxes, m.shape, *tail),
                (grad, m, winners, boxes, *tail),
                (m, winners, boxes, tangent, *tail),
            )
        return PrivateOps(
            (map, boxes, extra, size, *tail),
            (grad, boxes, extra, m.shape, *tail),
            (grad, m, boxes, extra, *tail),
            (m, boxes, extra, tangent, extra_tangent, size, *tail),
        )

    def private_calls(self) -> list[tuple[Any, tuple[Any, ...]]]:
        """Each operator behind the derivatives, of tensors of ones, for the last level."""
        extra_tangent = torch.ones_like(self.extra) if self.has_offset else None
        ones = (torch.ones_like(self()), None, torch.ones_like(self.boxes), extra_tangent)
        return list(zip(self.op.private, self.private_args(-1, *ones), strict=True))

    def apply(self, maps: Sequence[Tensor]) -> Tensor:
        """Of other features."""
        call = self.op.private.apply
        terms = [call(*self.private_args(i, input=m).apply) for i, m in enumerate(maps)]
        return sum(terms[1:], terms[0])

    def input_gradients(self, grad: Tensor) -> list[Tensor]:
        levels, call = range(len(self.maps)), self.op.private.backward
        return [call(*self.private_args(i, grad).backward) for i in levels]

    def box_gradients(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """By the boxes, and by the offsets (else empty)."""
        levels, call = range(len(self.maps)), self.op.private.backward_boxes
        results = [call(*self.private_args(i, grad).backward_boxes) for i in levels]
        if self.op.takes_maximum:
            results = [(by_boxes, by_boxes.new_empty(0)) for by_boxes in results]
        boxes, extras = zip(*results, strict=True)
        return sum(boxes[1:], boxes[0]), sum(extras[1:], extras[0])

    def box_gradient(self, grad: Tensor) -> Tensor:
        return self.box_gradients(grad)[0]

    def gradients(self, grad: Tensor) -> list[Tensor]:
        """For those of `tensors` that need one."""
        every = [*self.input_gradients(grad), *self.box_gradients(grad)]
        return [g for g, need in zip(every, self.needs, strict=False) if need]

    def box_jvp(self, tangent: Tensor | None, extra_tangent: Tensor | None = None) -> Tensor:
        levels, call = range(len(self.maps)), self.op.private.jvp_boxes
        tangents = {"tangent": tangent, "extra_tangent": extra_tangent}
        terms = [call(*self.private_args(i, **tangents).jvp_boxes) for i in levels]
        return sum(terms[1:], terms[0])


def level_sizes(size: tuple[int, int], levels: int) -> list[tuple[int, int]]:
    """Maps that are not halves of each other."""
    h, w = size
    return [(h, w), ((h + 1) // 2, (2 * w + 2) // 3), ((h + 2) // 3, (w + 1) // 2)][:levels]


def features(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def make_case(
    op: Op,
    options: Options,
    generator: torch.Generator,
    size: tuple[int, int] = (11, 13),
    boxes: dict[str, Box] | None = None,
    images: int = 2,
    channels: int = 3,
    dtype: torch.dtype = torch.float64,
    boxes_dtype: torch.dtype | None = None,
    device: str = "cpu",
    integer_indices: torch.dtype = torch.int64,
) -> Case:
    """Random maps; the hard boxes unless told, their images in turn. `channels` of the output."""
    count = op.input_channels(channels, options)
    maps = [
        features(generator, images, count, *s).to(device, dtype)
        for s in level_sizes(size, op.levels)
    ]
    named = hard_boxes(*size) if boxes is None else boxes
    rows = op.boxes(named, size, options, images).to(device, boxes_dtype or dtype)
    extra = None
    if op.has_indices:
        number = torch.arange(len(rows)) % max(images, 1)
        extra = number.to(device, integer_indices)
    elif op.has_offset and options.offset:
        extra = features(generator, len(rows), 2, *options.output_size)
        extra = extra.to(device, boxes_dtype or dtype)
    return Case(op, options, tuple(maps), rows, extra)


def grad_of(case: Case, generator: torch.Generator) -> Tensor:
    return features(generator, *case.output_shape).to(case.boxes.device, case.dtype)
