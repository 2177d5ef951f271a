"""torchvision's MultiScaleRoIAlign: the same levels and values, without its memory of sizes."""

from __future__ import annotations

import pytest
import torch
from peer_tools import two_types
from tolerance import assert_close
from torch import Tensor

import roiops

torchvision = pytest.importorskip("torchvision", reason="compares with torchvision")

IMAGE = 512
SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
each_ratio = pytest.mark.parametrize("ratio", [-1, 2], ids=lambda r: f"ratio{r}")
each_size = pytest.mark.parametrize("size", [(2, 2), (3, 5)], ids=lambda s: f"{s[0]}x{s[1]}")


def pyramid(
    generator: torch.Generator, dtype: torch.dtype, scales: list[float] = SCALES, image: int = IMAGE
) -> list[Tensor]:
    sides = [int(image * scale) for scale in scales]
    maps = [torch.randn(2, 3, s, s, generator=generator, dtype=torch.float64) for s in sides]
    return [m.to(dtype).requires_grad_() for m in maps]


def images_boxes(generator: torch.Generator, dtype: torch.dtype) -> list[Tensor]:
    """For each of two images: 60 boxes of 2 to 512 pixels, log-uniform, oblong up to 1:4; and boxes
    that sit on the limits between levels (56, 112, 224, 448) or have no size."""
    result = []
    for _ in range(2):
        u = torch.rand(60, 4, generator=generator, dtype=torch.float64)
        side = 2 ** (1 + 8 * u[:, :1])
        sides = side * torch.cat([2 ** (2 * u[:, 1:2] - 1), 2 ** (1 - 2 * u[:, 1:2])], 1)
        start = u[:, 2:] * IMAGE * 0.7
        limits = torch.tensor([56.0, 112, 224, 448], dtype=torch.float64)
        corner = limits[:, None] / 16
        exact = torch.cat([corner, corner, corner + limits[:, None], corner + limits[:, None]], 1)
        odd = [[9, 9, 9, 9], [40, 40, 10, 10], [-60, -60, 700, 700]]
        odd_ones = torch.tensor(odd, dtype=torch.float64)
        result.append(torch.cat([torch.cat([start, start + sides], 1), exact, odd_ones]).to(dtype))
    return result


def their_pooler(levels: int, size: tuple[int, int], ratio: int, **options: int):
    names = [str(i) for i in range(levels)]
    return torchvision.ops.MultiScaleRoIAlign(names, list(size), ratio, **options)


def run_theirs(pooler, maps: list[Tensor], boxes: list[Tensor], image: int = IMAGE) -> Tensor:
    return pooler({str(i): m for i, m in enumerate(maps)}, boxes, [(image, image)] * 2)


def largest(maps: list[Tensor]) -> float:
    return max(float(m.detach().abs().max()) for m in maps)


def drift(dtype: torch.dtype) -> float:
    """Positions up to 128 pixels are rounded four times by at most 32 units in the last place of
    one, on two axes and by two libraries: so much may their weights differ."""
    return 4 * 32 * 2 * 2 * torch.finfo(dtype).eps


def assert_same_outputs(actual: Tensor, expected: Tensor, maps: list[Tensor]) -> None:
    """Neighbouring pixels differ by at most twice the largest."""
    slack = drift(maps[0].dtype) * 2 * largest(maps)
    assert_close(actual, expected.detach().double(), largest(maps), slack)


@each_ratio
@each_size
@two_types
@pytest.mark.parametrize("levels", [1, 2, 4], ids=lambda n: f"{n}levels")
def test_same_values_and_gradients(levels, ratio, size, dtype, generator) -> None:
    maps = pyramid(generator, dtype, SCALES[:levels])
    boxes = images_boxes(generator, dtype)
    expected = run_theirs(their_pooler(levels, size, ratio), maps, boxes)
    actual = roiops.multiscale_roi_align(maps, boxes, size, SCALES[:levels], ratio)
    assert_same_outputs(actual, expected, maps)
    grad = torch.randn(expected.shape, generator=generator, dtype=torch.float64).to(dtype)
    got = torch.autograd.grad(actual, maps, grad)
    wanted = torch.autograd.grad(expected, maps, grad, retain_graph=True)
    terms = torch.autograd.grad(expected, maps, grad.abs())
    for a, b, magnitude in zip(got, wanted, terms, strict=True):
        # The taps of every sample that reaches a pixel lie in the 3 x 3 pixels around it.
        around = 9 * torch.nn.functional.avg_pool2d(magnitude.double(), 3, 1, 1)
        assert_close(a, b.double(), magnitude.double(), drift(dtype) * around)
        assert b.any()


@pytest.mark.parametrize("shift", [0.0, 3.3], ids=lambda s: f"from{s:g}")
@pytest.mark.parametrize("canonical", [(224, 4), (160, 4), (112, 3)], ids=str)
def test_same_levels_around_the_limits(canonical, shift, generator) -> None:
    """Maps filled with their number tell the level. 4000 float32 sizes, half of them within a few
    units in the last place of a limit: the epsilon of 1e-6 and the order of operations."""
    maps = [torch.full((2, 1, int(IMAGE * s), int(IMAGE * s)), i) for i, s in enumerate(SCALES, 0)]
    maps = [m.float() for m in maps]
    limit = canonical[0] / 4 * 2.0 ** torch.randint(0, 5, (2000, 1), generator=generator)
    near = limit * (1 + torch.randint(-12, 13, (2000, 1), generator=generator) * 2.0**-23)
    side = torch.cat([near, 500 * torch.rand(2000, 1, generator=generator)])
    boxes = torch.cat([torch.zeros(4000, 2), side, side], 1) + shift
    options = {"canonical_scale": canonical[0], "canonical_level": canonical[1]}
    expected = run_theirs(their_pooler(4, (1, 1), 1, **options), maps, [boxes, boxes[:9]])
    actual = roiops.multiscale_roi_align(maps, [boxes, boxes[:9]], 1, SCALES, 1, **options)
    assert expected.unique().numel() >= 3
    # Levels differ by one: anything below that is rounding of the four weights.
    assert_close(actual, expected.double(), 3.0)


ONE_SIDE_NEGATIVE = [torch.tensor([[30.0, 20, 10, 40]]), torch.tensor([[30.0, 40, 40, 20]])]


def test_same_zeros_for_a_box_without_a_size(generator) -> None:
    """One side negative: the square root is NaN, and torchvision's row keeps its zeros."""
    maps = pyramid(generator, torch.float32)
    assert not run_theirs(their_pooler(4, (2, 2), 2), maps, ONE_SIDE_NEGATIVE).any()
    assert not roiops.multiscale_roi_align(maps, ONE_SIDE_NEGATIVE, 2, SCALES, 2).any()


def test_one_level_is_no_exception_for_a_box_without_a_size(generator) -> None:
    """torchvision asks for no size if there is one map, and enlarges the box as roi_align does;
    ours depends on the box only."""
    maps = pyramid(generator, torch.float32, SCALES[:1])
    expected = run_theirs(their_pooler(1, (2, 2), 2), maps, ONE_SIDE_NEGATIVE)
    as_roi_align = roiops.roi_align(maps[0], ONE_SIDE_NEGATIVE, 2, SCALES[0], 2)
    assert_same_outputs(as_roi_align, expected, maps)
    assert expected.any()
    assert not roiops.multiscale_roi_align(maps, ONE_SIDE_NEGATIVE, 2, SCALES[:1], 2).any()


def test_v20_scales_are_arguments(generator) -> None:
    """torchvision guesses the scales from the first images it sees, and keeps them."""
    scales = [1 / 8, 1 / 16]
    maps = pyramid(generator, torch.float32, scales)
    boxes = [torch.tensor([[64.0, 64, 448, 448]])] * 2
    halved = [1 / 16, 1 / 32]  # the same maps belong to images of 1024 pixels
    pooler = their_pooler(2, (2, 2), 2)
    run_theirs(pooler, maps, boxes, image=512)
    stale = run_theirs(pooler, maps, boxes, image=1024)
    fresh = run_theirs(their_pooler(2, (2, 2), 2), maps, boxes, image=1024)
    actual = roiops.multiscale_roi_align(maps, boxes, 2, halved, 2)
    assert_same_outputs(actual, fresh, maps)
    assert (stale - fresh).abs().max() > 0.01


def test_v16_gradient_by_the_boxes(generator) -> None:
    maps = pyramid(generator, torch.float64)
    boxes = [b.requires_grad_() for b in images_boxes(generator, torch.float64)]
    expected = run_theirs(their_pooler(4, (2, 2), 2), maps, boxes)
    by_boxes = torch.autograd.grad(expected.sum(), boxes, allow_unused=True)
    assert by_boxes == (None, None)
    actual = roiops.multiscale_roi_align(maps, boxes, 2, SCALES, 2)
    assert all(b.any() for b in torch.autograd.grad(actual.sum(), boxes))
