"""A call of an operator as plain data, which print and paste as Python: what the fuzzer draws."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan
from typing import Any

import torch
from box_recipes import BoxRecipe
from cases import Case, Options, features, level_sizes
from op_table import OPS, Op
from test_layouts import NON_CONTIGUOUS, channels_last
from torch import Tensor

BY_NAME = {op.name: op for op in OPS}
LAYOUTS = {"contiguous": torch.Tensor.contiguous, "channels_last": channels_last} | NON_CONTIGUOUS


@dataclass(frozen=True)
class Recipe:
    """The boxes are as the operator takes them, without the image; all else is random by `seed`."""

    op: str
    options: Options
    size: tuple[int, int] = (9, 8)
    images: int = 2
    channels: int = 3  # of the output
    dtype: str = "float32"
    boxes_dtype: str = "float32"
    layout: str = "contiguous"
    magnitude: float = 1.0  # of the features
    offset: float = 1.0  # largest offset of deform_roi_pool
    boxes: tuple[tuple[float, ...], ...] = ()
    seed: int = 0

    @property
    def row(self) -> Op:
        return BY_NAME[self.op]

    def case(self, **changes: Any) -> Case:
        """With `changes` to dtype and boxes_dtype."""
        op, options = self.row, self.options
        generator = torch.Generator().manual_seed(self.seed)
        dtype = getattr(torch, changes.get("dtype", self.dtype))
        boxes_dtype = getattr(torch, changes.get("boxes_dtype", self.boxes_dtype))
        count = op.input_channels(self.channels, options)
        maps = [
            (features(generator, self.images, count, *size) * self.magnitude).to(dtype)
            for size in level_sizes(self.size, op.levels)
        ]
        rows = torch.tensor(self.boxes, dtype=torch.float64).view(-1, op.columns)
        image = torch.randint(max(self.images, 1), (len(rows),), generator=generator)
        extra = None
        if op.has_indices:
            extra = image
        else:
            rows = torch.cat([image[:, None], rows], 1)
        if op.has_offset and options.offset:
            shape = (len(rows), 2, *options.output_size)
            extra = (torch.rand(shape, generator=generator) * 2 - 1).double() * self.offset
            extra = extra.to(boxes_dtype)
        return Case(op, options, tuple(maps), rows.to(boxes_dtype), extra)

    def laid_out(self, tensor: Tensor) -> Tensor:
        result: Tensor = LAYOUTS[self.layout](tensor) if tensor.numel() else tensor
        return result

    def in_layout(self, case: Case) -> Case:
        return case.map(self.laid_out)


def parse(text: str) -> Recipe | BoxRecipe:
    """What repr() has printed."""
    names = {"Recipe": Recipe, "BoxRecipe": BoxRecipe, "Options": Options, "inf": inf, "nan": nan}
    recipe = eval(text, {"__builtins__": {}}, names)
    assert isinstance(recipe, (Recipe, BoxRecipe))
    return recipe
