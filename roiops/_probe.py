"""Calls of operators that show their geometry, for roiops.visualize.

NOTE [Probes]
No rule about a coordinate is written again here: the operators themselves are asked.
 - Given its winners an operator is linear in the features: its weights are its gradient.
 - On a map whose values are coordinates a bin's result is the middle of what the bin reads.
 - A bin that is cut into bins of one sample each shows its samples one by one.
 - On maps with ones in a single row or column a bin of whole pixels shows which ones it has.
Positions are asked on a wider map, into which the boxes are moved, so that no border interferes.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor

from roiops import more_ops, ops
from roiops._boxes import to_rois, to_size

OPERATORS: tuple[Callable[..., Tensor], ...] = (
    ops.roi_align,
    ops.roi_pool,
    ops.ps_roi_align,
    ops.ps_roi_pool,
    ops.prroi_pool,
    more_ops.crop_and_resize,
    more_ops.roi_align_rotated,
    more_ops.deform_roi_pool,
    more_ops.multiscale_roi_align,
)
POSITION_SENSITIVE = (ops.ps_roi_align, ops.ps_roi_pool)
WHOLE_PIXELS = (ops.roi_pool, ops.ps_roi_pool)


def working_type(dtype: torch.dtype) -> torch.dtype:
    """The type of an operator's geometry: it decides what is rounded where."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@dataclass(frozen=True)
class Call:
    """A call of a public operator, of which single arguments can be changed."""

    op: Callable[..., Tensor]
    arguments: dict[str, Any]

    @staticmethod
    def of(op: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Call":
        if op not in OPERATORS:
            names = ", ".join(o.__name__ for o in OPERATORS)
            raise TypeError(
                f"visualize: `op` must be an operator of roiops ({names}), but got {op}."
            )
        bound = inspect.signature(op).bind(*args, **kwargs)
        bound.apply_defaults()
        call = Call(op, dict(bound.arguments))
        call()  # raises what the operator raises
        if call.boxes_name == "boxes" and not call.is_crop:
            call = call.but(boxes=to_rois(op.__name__, call.maps[0], call.boxes))
        kind = working_type(call.maps[0].dtype)
        tensors = {
            n: v.detach().clone() for n, v in call.arguments.items() if isinstance(v, Tensor)
        }
        return call.but(**tensors).with_maps([m.detach().to(kind) for m in call.maps])

    def __call__(self) -> Tensor:
        return self.op(**self.arguments)

    def but(self, **changes: Any) -> "Call":
        return Call(self.op, self.arguments | changes)

    @property
    def maps(self) -> list[Tensor]:
        first = next(iter(self.arguments.values()))
        return list(first) if self.is_pyramid else [first]

    def with_maps(self, maps: list[Tensor]) -> "Call":
        return self.but(**{next(iter(self.arguments)): maps if self.is_pyramid else maps[0]})

    @property
    def boxes_name(self) -> str:
        return list(self.arguments)[1]

    @property
    def boxes(self) -> Tensor:
        boxes: Tensor = self.arguments[self.boxes_name]
        return boxes

    @property
    def is_crop(self) -> bool:
        return self.op is more_ops.crop_and_resize

    @property
    def is_pyramid(self) -> bool:
        return self.op is more_ops.multiscale_roi_align

    @property
    def has_grid(self) -> bool:
        """Of samples in each bin; crop_and_resize has one, without a choice."""
        return "sampling_ratio" in self.arguments

    @property
    def size(self) -> tuple[int, int]:
        name = "crop_size" if self.is_crop else "output_size"
        return to_size(self.op.__name__, name, self.arguments[name])

    @property
    def channels_per_output(self) -> int:
        return prod(self.size) if self.op in POSITION_SENSITIVE else 1

    @property
    def images(self) -> Tensor:
        """[K]: the image of each box."""
        of_box: Tensor = self.arguments["box_indices"] if self.is_crop else self.boxes[:, 0]
        return of_box.long()

    def row(self, k: int) -> "Call":
        """The same call for one of the boxes."""
        names = {self.boxes_name, "box_indices", "offset"} & set(self.arguments)
        rows = {n: self.arguments[n] for n in names if self.arguments[n] is not None}
        return self.but(**{n: tensor[k : k + 1] for n, tensor in rows.items()})

    def channel(self, channel: int) -> "Call":
        """The same call for one channel of the output."""
        step = self.channels_per_output
        first = channel * step
        return self.with_maps([m[:, first : first + step] for m in self.maps])

    def cut(self, cuts: tuple[int, int]) -> "Call":
        """Each bin cut into `cuts` bins with one sample."""
        size = (self.size[0] * cuts[0], self.size[1] * cuts[1])
        changes: dict[str, Any] = {"output_size": size}
        if "sampling_ratio" in self.arguments:
            changes["sampling_ratio"] = 1
        if self.arguments.get("offset") is not None:
            offset = self.arguments["offset"].repeat_interleave(cuts[0], 2)
            changes["offset"] = offset.repeat_interleave(cuts[1], 3)
        return self.but(**changes)

    def read(self, probes: list[Tensor]) -> Tensor:
        """[K, P, PH, PW]: the results for maps [P, H, W], one for each level, as the only image."""
        repeated = [p.repeat_interleave(self.channels_per_output, 0)[None] for p in probes]
        call = self.with_maps(repeated)
        if self.is_crop:
            image = torch.zeros_like(self.arguments["box_indices"])
            return call.but(box_indices=image, extrapolation_value=0.0)()
        boxes = self.boxes.clone()
        boxes[:, 0] = 0
        return call.but(**{self.boxes_name: boxes})()

    def sizes(self) -> list[tuple[int, int]]:
        return [(m.shape[2], m.shape[3]) for m in self.maps]

    def widened(self) -> tuple["Call", list[Tensor]]:
        """Boxes moved into maps three times as wide and high, and these maps' probes."""
        sizes = self.sizes()
        boxes = self.boxes.double().clone()
        if self.is_crop:
            size = torch.tensor(sizes[0] * 2, device=boxes.device)
            pad = float(max(sizes[0]))
            call = self.but(boxes=(boxes * (size - 1) + pad) / (size - 1 + 2 * pad))
            return call.but(method="bilinear"), [probe(sizes[0], pad, 0, boxes.device)]
        scale = self.arguments.get("spatial_scale")
        scales = self.arguments["spatial_scales"] if scale is None else [scale]
        pad = max(max(size) / s for size, s in zip(sizes, scales, strict=True))
        boxes[:, 1 : 3 if self.boxes_name == "rois" else 5] += pad
        levels = enumerate(zip(sizes, scales, strict=True))
        return self.but(**{self.boxes_name: boxes}), [
            probe(size, pad * s, level, boxes.device) for level, (size, s) in levels
        ]

    def middles(self) -> tuple[Tensor, Tensor]:
        """[K, PH, PW, 2] (y, x), the middle of what each bin reads, and [K], the level.

        NaN for a bin that reads nothing, or lies further outside than the map is wide.
        """
        call, probes = self.widened()
        if "offset" in call.arguments and call.arguments["offset"] is not None:
            call = call.but(offset=call.arguments["offset"].double())
        ones, y, x, level = call.read(probes).unbind(1)
        inside = (ones - 1).abs() < 1e-6
        middles = torch.stack([y, x], -1).where(inside[..., None], torch.nan)
        return middles, level.flatten(1).amax(1).round().long()

    def grid(self, side: tuple[float, float]) -> tuple[int, int]:
        """Samples per axis in a bin with sides of so many pixels; for one box.

        An adaptive count is the side, rounded up, so that little decides at whole numbers: of the
        guesses, the one whose samples give the operator's result in most bins (not in all: a
        sample on the very limit of the map may be accepted or not), or else most nearly.
        """
        ratio = self.arguments["sampling_ratio"]
        if ratio > 0:
            return (ratio, ratio)
        generator = torch.Generator().manual_seed(0)
        noise = [torch.rand(1, *size, generator=generator) + 0.5 for size in self.sizes()]
        noise = [n.to(self.maps[0]) for n in noise]  # positive, as a rejected sample is a zero
        exact = self.read(noise)
        error = {(0, 0): exact.abs()}
        rows, columns = ({ceil(n * (1 - 1e-5)), ceil(n * (1 + 1e-5))} for n in side)
        for grid in product(rows, columns):
            if 0 not in grid:
                parts = self.cut(grid).read(noise).unflatten(3, (-1, grid[1]))
                parts = parts.unflatten(2, (-1, grid[0]))
                maximum = self.arguments.get("mode") == "max"
                merged = parts.amax((3, 5)) if maximum else parts.mean((3, 5))
                error[grid] = (merged - exact).abs()
        return max(error, key=lambda g: (int((error[g] < 1e-4).sum()), -float(error[g].sum())))


def probe(size: tuple[int, int], pad: float, level: int, device: torch.device) -> Tensor:
    """[4, H', W']: one, y, x, and the level; `pad` pixels around a map of `size`."""
    length = [n + ceil(2 * pad) for n in size]
    axes = [torch.arange(n, dtype=torch.float64, device=device) - pad for n in length]
    y, x = torch.meshgrid(*axes, indexing="ij")
    ones = torch.ones_like(y)
    return torch.stack([ones, y, x, level * ones])


def pixels(call: Call) -> tuple[Tensor, Tensor]:
    """[K, PH, PW, H] and [K, PH, PW, W]: does a bin of whole pixels have the row, the column?"""
    height, width = call.sizes()[0]
    rows = torch.eye(height)[:, :, None].expand(-1, -1, width)
    columns = torch.eye(width)[:, None, :].expand(-1, height, -1)
    ones = torch.cat([rows, columns]).to(call.maps[0])
    seen = call.read([ones]).movedim(1, -1) > 0
    return seen[..., :height], seen[..., height:]
