"""A call of an operator on boxes alone as plain data: what the fuzzer draws beside recipes.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from box_ops import random_boxes, random_rotated
from torch import Tensor

import roiops

SUPPRESSIONS = ("nms", "batched_nms", "nms_rotated", "nms_padded")
SOFT = ("soft_nms", "soft_nms_padded")
OVERLAPS = ("box_iou", "box_iou_rotated")
FUNCTIONS = (*SUPPRESSIONS, *SOFT, *OVERLAPS)
#: Of boxes [(B,) N, columns], scores and classes [(B,) N].
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": torch.Tensor.contiguous,
    "sliced": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "offset": lambda x: torch.nn.functional.pad(x, (2, 1))[..., 2:-1],
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "expanded": lambda x: x[:1].expand_as(x),  # one image, or one box, again and again
}
Row = tuple[float, ...]


def is_tame(row: Row) -> bool:
    """Finite, of numbers whose fourth powers float32 can hold."""
    return all(abs(v) < 1e4 and (v == 0 or abs(v) > 1e-4) for v in row)


@dataclass(frozen=True)
class BoxRecipe:
    """`more` boxes follow the drawn ones, random by `seed`, as is the order of further images."""

    op: str
    boxes: tuple[Row, ...] = ()
    second: tuple[Row, ...] = ()  # of overlaps
    scores: tuple[float, ...] = (0.5,)  # taken in turn
    classes: tuple[int, ...] | None = None  # in turn
    rotated: bool = False
    more: int = 0
    images: int = 0  # 0: no dimension in front
    dtype: str = "float32"
    second_dtype: str = "float32"  # of the scores, or the second boxes
    classes_dtype: str = "int64"
    layout: str = "contiguous"
    threshold: float = 0.5
    score_threshold: float | None = None
    max_output: int = 5
    clockwise: bool = False
    method: str = "linear"
    sigma: float = 0.5
    min_score: float = 0.1
    seed: int = 0

    def rows(self, drawn: tuple[Row, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Boxes and scores, float64."""
        make, columns = (random_rotated, 5) if self.rotated else (random_boxes, 4)
        boxes, scores = make(self.more, generator, extent=6.0 * self.more**0.5)
        first = torch.tensor(drawn, dtype=torch.float64).view(-1, columns)
        turns = self.scores * (len(drawn) // len(self.scores) + 1)
        own = torch.tensor(turns, dtype=torch.float64)[: len(drawn)]
        return torch.cat([first, boxes]), torch.cat([own, scores])

    def in_images(self, tensor: Tensor, dtype: str, generator: torch.Generator) -> Tensor:
        """Each with the rows in an order of its own."""
        if self.images:
            orders = [torch.randperm(len(tensor), generator=generator) for _ in range(self.images)]
            tensor = torch.stack([tensor[order] for order in orders])
        tensor = tensor.to(getattr(torch, dtype))
        return LAYOUTS[self.layout](tensor) if tensor.numel() else tensor

    def case(self) -> BoxCase:
        generator = torch.Generator().manual_seed(self.seed)
        boxes, scores = self.rows(self.boxes, generator)
        second = self.rows(self.second, generator)[0] if self.op in OVERLAPS else scores
        idxs = None
        if self.classes is not None:
            turns = self.classes * (len(boxes) // len(self.classes) + 1)
            idxs = torch.tensor(turns[: len(boxes)], dtype=torch.int64)
            idxs = self.in_images(idxs, self.classes_dtype, generator)
        return BoxCase(
            self,
            self.in_images(boxes, self.dtype, generator),
            self.in_images(second, self.second_dtype, generator),
            idxs,
        )


@dataclass(frozen=True)
class BoxCase:
    """The call with its tensors: boxes and scores, or two sets of boxes."""

    recipe: BoxRecipe
    boxes: Tensor
    second: Tensor
    idxs: Tensor | None = None

    def of(self, change: Callable[[Tensor], Tensor], **options: Any) -> BoxCase:
        """The call of changed tensors, or with other options."""
        idxs = None if self.idxs is None else change(self.idxs)
        recipe = replace(self.recipe, **options)
        return BoxCase(recipe, change(self.boxes), change(self.second), idxs)

    @property
    def parts(self) -> list[BoxCase]:
        """The images, each a call of its own."""
        if not self.recipe.images:
            return [self]
        return [self.of(lambda t, i=i: t[i], images=0) for i in range(self.recipe.images)]

    @property
    def count(self) -> int:
        return self.boxes.shape[-2]

    @property
    def arithmetic(self) -> torch.dtype:
        """In which overlaps are computed, and lowered scores."""
        deciding = [self.boxes]
        if self.recipe.op not in SUPPRESSIONS:
            deciding.append(self.second)
        return torch.float64 if torch.float64 in [t.dtype for t in deciding] else torch.float32

    def __call__(self) -> tuple[Tensor, ...]:
        r, boxes, second, idxs = self.recipe, self.boxes, self.second, self.idxs
        soft = (r.threshold, r.sigma, r.min_score, r.method, idxs, r.clockwise)
        padded = (r.threshold, r.max_output, idxs, r.score_threshold, r.clockwise)
        result = {
            "nms": lambda: roiops.nms(boxes, second, r.threshold),
            "batched_nms": lambda: roiops.batched_nms(boxes, second, idxs, r.threshold),
            "nms_rotated": lambda: roiops.nms_rotated(
                boxes, second, r.threshold, idxs, r.clockwise
            ),
            "nms_padded": lambda: roiops.nms_padded(boxes, second, *padded),
            "soft_nms": lambda: roiops.soft_nms(boxes, second, *soft),
            "soft_nms_padded": lambda: torch.ops.roiops.soft_nms_padded(
                boxes, second, r.max_output, *soft
            ),
            "box_iou": lambda: roiops.box_iou(boxes, second),
            "box_iou_rotated": lambda: roiops.box_iou_rotated(boxes, second, r.clockwise),
        }[r.op]()
        return result if isinstance(result, tuple) else (result,)

    @property
    def most(self) -> int:
        return self.recipe.max_output if self.recipe.op.endswith("padded") else self.count

    def kept(self) -> tuple[Tensor, ...]:
        """Of one image: the numbers of the kept boxes (and lowered scores), without padding."""
        results = self()
        if not self.recipe.op.endswith("padded"):
            return results
        *padded, count = results
        assert count.shape == () and 0 <= count <= self.most
        for tensor, filler in zip(padded, (-1, 0), strict=False):
            assert tensor.shape == (self.most,) and (tensor[int(count) :] == filler).all()
        return tuple(tensor[: int(count)] for tensor in padded)
