"""torchvision's operators with our kernels give what they give with torchvision's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from boxes import huge_boxes, non_finite_boxes
from peer_tools import H, W, random_rois, table_boxes, table_rois, two_types
from tolerance import HALF_TYPES, assert_close, assert_same_bits
from torch import Tensor

import roiops

torchvision = pytest.importorskip("torchvision", reason="patches it")

SCALE = 0.5


@dataclass(frozen=True)
class Op:
    """A replaced operator, called as torchvision's Autograd calls it."""

    name: str
    size: tuple[int, int]
    options: tuple[Any, ...] = ()  # after the output size

    def __str__(self) -> str:
        return "-".join(map(str, (self.name, *self.size, *self.options)))

    @property
    def channels(self) -> int:
        return 2 * self.size[0] * self.size[1] if self.name == "ps_roi_align" else 19

    def boxes(self) -> dict[str, Any]:
        """Those that torchvision survives, and where it does not divide zero by zero."""
        boxes = table_boxes()
        if self.options[:1] == (0,) and self.options[-1] is not False:
            degenerate = ("zero", "reversed", "slightly", "point", "far_away")
            boxes = {n: b for n, b in boxes.items() if not n.startswith(degenerate)}
        return boxes

    def rois(self, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        table = table_rois(self.boxes(), SCALE, dtype)
        rois = torch.cat([table, random_rois(generator, 100, SCALE, dtype)])
        return rois[rois.isfinite().all(1)]  # float16 turns far away into infinite

    def forward(self, x: Tensor, rois: Tensor) -> tuple[Tensor, ...]:
        """The result, and what is saved for backward."""
        function = getattr(torch.ops.torchvision, self.name)
        found = function(x, rois, SCALE, *self.size, *self.options)
        return found if isinstance(found, tuple) else (found,)

    def backward(self, grad: Tensor, rois: Tensor, saved: tuple[Tensor, ...], shape) -> Tensor:
        function = getattr(torch.ops.torchvision, f"_{self.name}_backward")
        first, last = (self.options, ()) if self.name == "ps_roi_align" else ((), self.options)
        return function(grad, rois, *saved, SCALE, *self.size, *first, *shape, *last)

    def roiops(self, x: Tensor, rois: Tensor) -> Tensor:
        found: Tensor = getattr(roiops, self.name)(x, rois, self.size, SCALE, *self.options)
        return found


OPS = [
    Op("roi_align", (2, 4), (0, False)), Op("roi_align", (7, 7), (2, False)),
    Op("roi_align", (3, 5), (0, True)), Op("roi_align", (1, 1), (3, True)),
    Op("ps_roi_align", (2, 4), (0,)), Op("ps_roi_align", (3, 3), (2,)),
    Op("roi_pool", (2, 4)), Op("roi_pool", (7, 7)),
]  # fmt: skip
each_op = pytest.mark.parametrize("op", OPS, ids=str)

LAYOUTS = {
    "nchw": lambda x: x,
    "channels_last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "expanded": lambda x: x[:1].expand_as(x),
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


def features(op: Op, generator: torch.Generator, dtype: torch.dtype, layout: str) -> Tensor:
    shape = (2, op.channels, H, W)
    return LAYOUTS[layout](torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))


@each_op
@two_types
@each_layout
def test_same_results_as_unpatched(op, dtype, layout, generator) -> None:
    x, rois = features(op, generator, dtype, layout), op.rois(generator, dtype)
    expected, *saved = op.forward(x, rois)
    grad = LAYOUTS[layout](torch.randn(expected.shape, generator=generator).to(dtype))
    by_input = op.backward(grad, rois, saved, x.shape)
    magnitude = op.backward(grad.abs(), rois, saved, x.shape)
    with roiops.torchvision_patched():
        actual, *own = op.forward(x, rois)
        # graphs made before patching, and walked after it; and the other way round
        gradients = [op.backward(grad, rois, kept, x.shape) for kept in (saved, own)]
    gradients.append(op.backward(grad, rois, own, x.shape))
    assert_close(actual, expected.double(), float(x.abs().max()))
    assert_same_bits(actual, op.roiops(x, rois))
    for got, wanted in zip(own, saved, strict=True):
        assert_same_bits(got, wanted, "what is saved for backward")
    for got in gradients:
        assert_close(got, by_input.double(), magnitude.double())
        assert got.stride() == by_input.stride()
    for got, wanted in zip((actual, *own), (expected, *saved), strict=True):
        assert got.dtype == wanted.dtype and got.stride() == wanted.stride()


@each_op
def test_the_kernels_that_run_are_ours(op, generator) -> None:
    """Only ours look at the boxes' images; torchvision's would read foreign memory."""
    x, rois = features(op, generator, torch.float32, "nchw"), op.rois(generator, torch.float32)
    expected, *saved = op.forward(x, rois)
    rois[0, 0] = 5
    with roiops.torchvision_patched():
        with pytest.raises(IndexError, match="must name images in"):
            op.forward(x, rois)
        with pytest.raises(IndexError, match="must name images in"):
            op.backward(expected, rois, saved, x.shape)


@each_op
@pytest.mark.parametrize("images, rois", [(2, 0), (0, 0)], ids=("no_rois", "no_images"))
def test_empty(op, images, rois) -> None:
    x, rois = torch.ones(images, op.channels, H, W), torch.ones(rois, 5)
    expected, *saved = op.forward(x, rois)
    with roiops.torchvision_patched():
        for got, wanted in zip(op.forward(x, rois), (expected, *saved), strict=True):
            assert_same_bits(got, wanted)
            assert got.stride() == wanted.stride()
        gradient = op.backward(expected, rois, saved, x.shape)
    assert gradient.shape == x.shape and not gradient.any()


@each_op
@pytest.mark.parametrize("dtype", HALF_TYPES, ids=("float16", "bfloat16"))
def test_half_types_are_computed_in_float32(op, dtype, generator) -> None:
    """torchvision computes float16 in float16, and has no bfloat16 on the CPU."""
    x, rois = features(op, generator, dtype, "nchw"), op.rois(generator, dtype)
    exact, *saved = op.forward(x.float(), rois.float())
    grad = torch.randn(exact.shape, generator=generator).to(dtype)
    by_input = op.backward(grad.float(), rois.float(), saved, x.shape)
    magnitude = op.backward(grad.float().abs(), rois.float(), saved, x.shape)
    with roiops.torchvision_patched():
        got, *own = op.forward(x, rois)
        gradient = op.backward(grad, rois, own, x.shape)
    assert got.dtype == gradient.dtype == dtype
    assert_close(got, exact.double(), float(x.abs().max()))
    assert_close(gradient, by_input.double(), magnitude.double())


@each_op
def test_autocast_stays_torchvisions(op, generator) -> None:
    """On the CPU it has autocast for roi_align alone: in float32, back in the features' dtype."""
    x, rois = features(op, generator, torch.bfloat16, "nchw"), op.rois(generator, torch.float32)
    x.requires_grad_()

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        out = op.forward(x, rois)[0]
        return out.detach(), torch.autograd.grad(out.float().sum(), x)[0]

    with torch.autocast("cpu", torch.bfloat16), roiops.torchvision_patched():
        if op.name != "roi_align":
            with pytest.raises(RuntimeError, match="must be bfloat16"):
                run(x)
            return
        ours = run(x)
    for got, wanted in zip(ours, run(x.detach().float().requires_grad_()), strict=True):
        assert got.dtype == torch.bfloat16
        assert_close(got, wanted.double(), float(wanted.abs().max()))


@each_op
def test_dtypes_must_be_equal(op, generator) -> None:
    x, rois = features(op, generator, torch.float32, "nchw"), op.rois(generator, torch.float64)
    expected, *saved = op.forward(x, rois.float())
    message = r"`rois` must be float32 as `(input|grad)`, but got float64\."
    with roiops.torchvision_patched():
        with pytest.raises(RuntimeError, match=f"torchvision::{op.name}: {message}"):
            op.forward(x, rois)
        with pytest.raises(RuntimeError, match=f"torchvision::_{op.name}_backward: {message}"):
            op.backward(expected, rois, saved, x.shape)


@each_op
@each_layout
def test_torchvisions_meta_kernels_foretell_ours(op, layout, generator) -> None:
    x, rois = features(op, generator, torch.float32, layout), op.rois(generator, torch.float32)
    forward = getattr(torch.ops.torchvision, op.name).default
    with roiops.torchvision_patched():
        args = (x, rois, SCALE, *op.size, *op.options)
        torch.library.opcheck(forward, args, test_utils=("test_schema", "test_faketensor"))


@each_op
def test_boxes_that_torchvision_does_not_survive(op, generator) -> None:
    x = features(op, generator, torch.float32, "nchw")
    rois = table_rois(huge_boxes(H, W) | non_finite_boxes(H, W), SCALE, torch.float32)
    with roiops.torchvision_patched():
        out, *saved = op.forward(x, rois)
        gradient = op.backward(torch.ones_like(out), rois, saved, x.shape)
    assert_same_bits(out, op.roiops(x, rois))
    assert out.isfinite().all() and gradient.isfinite().all()


def test_ps_roi_pool_is_left_alone() -> None:
    """torchvision never reads the last row and column: a model trained with it would change."""
    x = torch.zeros(1, 1, 6, 6)
    x[..., 5, :] = x[..., :, 5] = 36.0
    rois = torch.tensor([[0.0, 0, 0, 6, 6]])
    with roiops.torchvision_patched():
        assert torchvision.ops.ps_roi_pool(x, rois, 1).item() == 0
