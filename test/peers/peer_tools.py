"""What the comparisons with other libraries share.

Tolerance. Each comparison ends in tolerance.assert_close, whose bound is 32 units in the last place
of the sum of the absolute values of an element's terms. Weights add up to at most 1, so for values
the largest pixel bounds that sum; for gradients the peer's own backward of |grad| is that sum. The
same bound covers positions: on these maps, below 32 pixels wide, both libraries round a float32
position to 2^-20 pixel, 16 times less. Where sides of a jump are at stake (borders at -1 and H,
adaptive grids) boxes are dyadic numbers, on which both libraries compute positions without error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from boxes import Box, as_rois, degenerate_boxes, edge_boxes, inside_boxes, outside_boxes
from tolerance import assert_close
from torch import Tensor

H, W = 11, 13

two_types = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=("f64", "f32"))
each_ratio = pytest.mark.parametrize("ratio", [0, 1, 2, 3], ids=lambda r: f"ratio{r}")
each_size = pytest.mark.parametrize(
    "size", [(1, 1), (2, 4), (3, 5)], ids=lambda s: f"{s[0]}x{s[1]}"
)


def table_boxes(height: int = H, width: int = W) -> dict[str, Box]:
    """Every named box but those that peers do not survive (huge, not finite)."""
    groups = (inside_boxes, edge_boxes, outside_boxes, degenerate_boxes)
    return {name: box for group in groups for name, box in group(height, width).items()}


def features(
    generator: torch.Generator, dtype: torch.dtype, channels: int = 3, images: int = 2
) -> Tensor:
    x = torch.randn(images, channels, H, W, generator=generator, dtype=torch.float64)
    return x.to(dtype)


def random_rois(
    generator: torch.Generator, count: int, scale: float, dtype: torch.dtype, margin: float = 0.3
) -> Tensor:
    """[K, 5] with both corners anywhere in the map and `margin` of its size around it."""
    extent = torch.tensor([W, H, W, H], dtype=torch.float64)
    corners = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    corners = (corners * (1 + 2 * margin) - margin) * extent
    low = torch.minimum(corners[:, :2], corners[:, 2:])
    high = torch.maximum(corners[:, :2], corners[:, 2:])
    image = torch.arange(count, dtype=torch.float64).remainder(2)
    return torch.cat([image[:, None], low / scale, high / scale], 1).to(dtype)


def table_rois(boxes: dict[str, Box], scale: float, dtype: torch.dtype) -> Tensor:
    return as_rois(boxes, scale, images=2, dtype=dtype)


def assert_same_values(
    actual: Tensor, expected: Tensor, input: Tensor, names: dict[str, Box] | None = None
) -> None:
    largest = float(input.detach().double().abs().max())
    expected = expected.detach().double()
    assert_close(actual, expected, largest, names=list(names) if names else None)


def input_gradient(run: Callable[..., Tensor], x: Tensor, grad: Tensor, *args: Any) -> Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(run(x, *args), x, grad)[0]


def assert_same_input_gradients(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], x: Tensor, grad: Tensor, *args: Any
) -> None:
    expected = input_gradient(theirs, x, grad, *args)
    magnitude = input_gradient(theirs, x, grad.abs(), *args)
    actual = input_gradient(ours, x, grad, *args)
    assert_close(actual, expected.double(), magnitude.double())
