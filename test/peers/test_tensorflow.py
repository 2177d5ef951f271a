"""TensorFlow's crop_and_resize: values and both gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peer_tools import assert_same_values
from tolerance import assert_close, assert_same_bits
from torch import Tensor

import roiops

tf = pytest.importorskip("tensorflow", reason="compares with TensorFlow")
# Its gradient by the image adds from several threads without a lock: two calls differ.
tf.config.threading.set_intra_op_parallelism_threads(1)

H, W = 9, 17  # H - 1 and W - 1 are powers of two: multiples of 1/16 are whole or half pixels
SIZES = [(1, 1), (1, 6), (7, 1), (5, 4), (3, 3)]
METHODS = ["bilinear", "nearest"]
each_size = pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
each_method = pytest.mark.parametrize("method", METHODS)


def nhwc(x: Tensor) -> np.ndarray:
    return x.detach().permute(0, 2, 3, 1).contiguous().numpy()


def nchw(x) -> Tensor:
    return torch.from_numpy(x.numpy()).permute(0, 3, 1, 2).contiguous()


def theirs(x: Tensor, boxes: Tensor, index: Tensor, size, method="bilinear", value=0.0) -> Tensor:
    return nchw(
        tf.image.crop_and_resize(
            nhwc(x), boxes.detach().numpy(), index.int().numpy(), size, method, value
        )
    )


def their_gradients(x, boxes, index, grad, size, method) -> tuple[Tensor, Tensor]:
    """By the image and by the boxes."""
    image, corners = tf.Variable(nhwc(x)), tf.Variable(boxes.detach().numpy())
    with tf.GradientTape() as tape:
        out = tf.image.crop_and_resize(image, corners, index.int().numpy(), size, method)
        loss = tf.reduce_sum(out * nhwc(grad))
    by_image, by_boxes = tape.gradient(loss, [image, corners])
    return nchw(by_image), torch.from_numpy(by_boxes.numpy())


def image_of(generator: torch.Generator) -> Tensor:
    return torch.randn(2, 3, H, W, generator=generator)


def index_of(boxes: Tensor) -> Tensor:
    return torch.arange(len(boxes)).remainder(2)


def random_boxes(generator: torch.Generator) -> Tensor:
    """A quarter each flipped in y, in x, in both, in neither; many reach outside."""
    return torch.rand(300, 4, generator=generator) * 2 - 0.5


def table_of_boxes() -> Tensor:
    """Corners at whole and half pixels, on the borders and one half pixel beyond them."""
    return torch.tensor(
        [
            [0, 0, 1, 1],
            [1, 1, 0, 0],
            [0, 1, 1, 0],
            [0.25, 0.25, 0.75, 0.5],
            [0.1875, 0.28125, 0.8125, 0.90625],
            [0.5, 0.5, 0.5, 0.5],
            [0.0625, 0.03125, 0.0625, 0.03125],
            [0, 0, 0, 0],
            [1, 1, 1, 1],
            [-0.0625, -0.03125, 1.0625, 1.03125],
            [-0.5, 0.25, 0.5, 0.75],
            [0.5, 0.5, 1.5, 1.5],
            [2, 2, 3, 3],
            [-1, 0, -0.5, 1],
        ],
        dtype=torch.float32,
    )


def away_from_kinks(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The boxes of which no sample lies within 1e-3 pixel of a whole one, where the derivative
    jumps: rounding may choose another side there, in either library."""
    keep = torch.ones(len(boxes), dtype=torch.bool)
    for low, high, n, count in ((0, 2, H, size[0]), (1, 3, W, size[1])):
        low_high = boxes[:, [low, high]].double() * (n - 1)
        t = torch.linspace(0, 1, count).double() if count > 1 else torch.tensor([0.5]).double()
        at = low_high[:, :1] * (1 - t) + low_high[:, 1:] * t
        keep &= ((at - at.round()).abs() > 1e-3).all(1)
    return boxes[keep]


@each_method
@each_size
@pytest.mark.parametrize("value", [0.0, -2.5], ids=("zeros", "constant"))
def test_values(method, size, value, generator) -> None:
    """Both libraries compute a position by the same float32 expression: none of the 300 boxes has
    a sample that falls on the other side of the border or of a half pixel."""
    x, boxes = image_of(generator), random_boxes(generator)
    index = index_of(boxes)
    expected = theirs(x, boxes, index, size, method, value)
    actual = roiops.crop_and_resize(x, boxes, index, size, method, value)
    assert_same_values(actual, expected, x)
    if method == "nearest":  # one pixel each, nothing to round
        assert_same_bits(actual, expected)
    assert (expected == value).any() and (expected != value).any()


@each_method
@each_size
def test_values_at_whole_and_half_pixels_and_the_border(method, size, generator) -> None:
    x, boxes = image_of(generator), table_of_boxes()
    expected = theirs(x, boxes, index_of(boxes), size, method, 7.0)
    actual = roiops.crop_and_resize(x, boxes, index_of(boxes), size, method, 7.0)
    assert_same_values(actual, expected, x)


def test_flipped_box_flips_the_crop(generator) -> None:
    x = image_of(generator)
    boxes = torch.tensor([[0.25, 0.125, 0.75, 0.625], [0.75, 0.625, 0.25, 0.125]])
    for run in (theirs, roiops.crop_and_resize):
        normal, flipped = run(x, boxes, torch.tensor([0, 0]), (3, 5))
        assert_close(flipped, normal.flip(1, 2).double(), float(x.abs().max()))


INTEGERS = ["uint8", "int8", "int16", "uint16", "int32", "int64"]


@each_method
@pytest.mark.parametrize("dtype", [*INTEGERS, "float16", "float64"])
def test_types(method, dtype, generator) -> None:
    """TensorFlow always returns float32; ours keeps a floating type and rounds to it once."""
    kind = getattr(torch, dtype)
    low = 0 if dtype.startswith("u") else -100
    x = torch.randint(low, 100, (2, 3, H, W), generator=generator).to(kind)
    boxes = random_boxes(generator)
    index = index_of(boxes)
    if dtype == "uint16":  # torch cannot permute it, numpy can
        x = x.to(torch.int32)
    source = nhwc(x).astype(dtype)
    result = tf.image.crop_and_resize(source, boxes.numpy(), index.int().numpy(), (5, 4), method)
    assert result.dtype == tf.float32
    actual = roiops.crop_and_resize(x.to(kind), boxes, index, (5, 4), method)
    assert actual.dtype == (kind if kind.is_floating_point else torch.float32)
    expected = nchw(result).double()
    if kind == torch.float64:  # the peer's own rounding to float32
        actual = actual.float()
    assert_close(actual, expected, 100.0)


@each_method
@each_size
def test_image_gradients(method, size, generator) -> None:
    x, boxes = image_of(generator), random_boxes(generator)
    index = index_of(boxes)
    grad = torch.randn(len(boxes), 3, *size, generator=generator)
    expected, _ = their_gradients(x, boxes, index, grad, size, method)
    magnitude, _ = their_gradients(x, boxes, index, grad.abs(), size, method)
    x.requires_grad_()
    out = roiops.crop_and_resize(x, boxes, index, size, method)
    (actual,) = torch.autograd.grad(out, x, grad)
    assert_close(actual, expected.double(), magnitude.double())


def box_gradient(x, boxes, index, grad, size, method="bilinear") -> Tensor | None:
    boxes = boxes.clone().requires_grad_()
    out = roiops.crop_and_resize(x.clone().requires_grad_(), boxes, index, size, method)
    return torch.autograd.grad(out, boxes, grad, allow_unused=True)[0]


def term_sizes(x: Tensor, grad: Tensor) -> Tensor:
    """Bound on the sum behind each box's gradients: a slope is at most twice the largest pixel,
    and a normalised unit is `n - 1` pixels."""
    sums = 2 * x.detach().abs().max() * grad.abs().flatten(1).sum(1)
    return sums[:, None].double() * torch.tensor([H, W, H, W]).sub(1)


@each_size
def test_box_gradients(size, generator) -> None:
    x = image_of(generator)
    boxes = away_from_kinks(random_boxes(generator), size)
    assert len(boxes) > 200
    index = index_of(boxes)
    grad = torch.randn(len(boxes), 3, *size, generator=generator)
    _, expected = their_gradients(x, boxes, index, grad, size, "bilinear")
    actual = box_gradient(x, boxes, index, grad, size)
    assert_close(actual, expected.double(), term_sizes(x, grad))
    assert expected.abs().max() > 10


@each_size
def test_box_gradients_at_whole_pixels(size, generator) -> None:
    """floor = ceil there, so the derivative is 0 and neither one-sided one, in both libraries."""
    x, boxes = image_of(generator), table_of_boxes()
    index = index_of(boxes)
    grad = torch.randn(len(boxes), 3, *size, generator=generator)
    if size[0] in (3, 5, 1) and size[1] in (3, 1):  # binary fractions: positions are exact
        _, expected = their_gradients(x, boxes, index, grad, size, "bilinear")
        actual = box_gradient(x, boxes, index, grad, size)
        assert_close(actual, expected.double(), term_sizes(x, grad))
    corners = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    one = torch.ones(1, 3, 2, 2)
    assert not their_gradients(x, corners, corners[:, 0].long(), one, (2, 2), "bilinear")[1].any()
    assert not box_gradient(x, corners, corners[:, 0].long(), one, (2, 2)).any()


def test_nearest_has_no_box_gradient(generator) -> None:
    """A nearest crop is piecewise constant in its boxes. TensorFlow returns the bilinear one's."""
    x, boxes = image_of(generator), random_boxes(generator)
    index = index_of(boxes)
    grad = torch.randn(len(boxes), 3, 5, 4, generator=generator)
    _, nearest = their_gradients(x, boxes, index, grad, (5, 4), "nearest")
    _, bilinear = their_gradients(x, boxes, index, grad, (5, 4), "bilinear")
    assert_same_bits(nearest, bilinear)
    assert nearest.any()
    ours = box_gradient(x, boxes, index, grad, (5, 4), "nearest")
    assert ours is None or not ours.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_box_that_is_not_finite(value) -> None:
    """TensorFlow raises (its box gradient would crash); ours is the extrapolation value."""
    x, boxes = torch.ones(1, 1, H, W), torch.tensor([[value, 0.0, 1.0, 1.0]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="not finite"):
        theirs(x, boxes, torch.tensor([0]), (2, 2))
    assert (roiops.crop_and_resize(x, boxes, torch.tensor([0]), 2, "bilinear", 3.0) == 3).all()


@pytest.mark.parametrize("image", [2, -1])
def test_image_out_of_range_is_an_error_in_both(image) -> None:
    x, boxes = torch.ones(2, 1, H, W), torch.tensor([[0.0, 0, 1, 1]])
    with pytest.raises(tf.errors.OutOfRangeError):
        theirs(x, boxes, torch.tensor([image]), (2, 2))
    with pytest.raises(IndexError):
        roiops.crop_and_resize(x, boxes, torch.tensor([image]), 2)
