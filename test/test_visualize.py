"""roiops.visualize: weights reproduce results, samples reproduce weights."""

from __future__ import annotations

import pytest
import torch
from boxes import edge_boxes, finite_boxes, inside_boxes
from cases import Case, Options, make_case
from op_table import (
    CROP_AND_RESIZE,
    DEFORM_ROI_POOL,
    PRROI_POOL,
    PS_ROI_POOL,
    ROI_ALIGN,
    ROI_POOL,
    Op,
    each_op,
    few_options,
    one_option,
    some_ops,
)
from tolerance import assert_close
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import roiops
from roiops import visualize

H, W = 7, 9
CHANNEL = 1
BOX = (1.7, 1.3, 7.9, 5.6)


def case_of(op: Op, options: Options, generator: torch.Generator, **rest) -> Case:
    return make_case(op, options, generator, (H, W), **rest)


def call(function, case: Case, **rest):
    """The function of the public operator's call."""
    leading = case.leading(list(case.maps))
    return function(case.op.function, *leading, *case.op.python_args(case.options), **rest)


def images(case: Case) -> Tensor:
    return (case.extra if case.op.has_indices else case.boxes[:, 0]).long()


def read_maps(case: Case) -> list[Tensor]:
    """[K, PH, PW, H, W]: what each bin reads of each map for CHANNEL of the output."""
    height, width = case.options.output_size
    step = case.op.channels_per_output(case.options)
    of_bin = torch.arange(height * width) % step
    maps = [m[images(case)][:, CHANNEL * step + of_bin] for m in case.maps]
    return [m.unflatten(1, (height, width)) for m in maps]


def results(case: Case, weights: list[Tensor]) -> Tensor:
    terms = [(w * m).sum((-2, -1)) for w, m in zip(weights, read_maps(case), strict=True)]
    return sum(terms[1:], terms[0])


def as_list(weights: Tensor | list[Tensor]) -> list[Tensor]:
    return weights if isinstance(weights, list) else [weights]


@few_options
def test_weights_reproduce_the_result(op: Op, options: Options, generator) -> None:
    """Of every hard box, in float64."""
    case = case_of(op, options, generator)
    weights = as_list(call(visualize.weights, case, channel=CHANNEL))
    assert [w.shape[3:] for w in weights] == [m.shape[2:] for m in case.maps]
    constant = case.map(torch.zeros_like)()[:, CHANNEL]
    if op is CROP_AND_RESIZE:  # where it extrapolates
        read = sum(w.sum((-2, -1)) for w in weights)
        assert torch.equal(constant == 0, (read > 0) | (options.extrapolation_value == 0))
    assert_close(results(case, weights) + constant, case()[:, CHANNEL], 8.0)


class BackwardRows(TorchDispatchMode):
    """Counts the boxes that backward goes through."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.roiops._mean_backward.default:
            self.count += len(args[1])
        return func(*args, **(kwargs or {}))


def test_weights_of_twice_the_boxes_cost_twice_as_much() -> None:
    def rows(boxes: int) -> int:
        with BackwardRows() as backward:
            rois = torch.tensor([[0, *BOX]]).repeat(boxes, 1)
            visualize.weights(roiops.roi_align, torch.rand(1, 1, H, W), rois, 2)
        return backward.count

    assert 0 < rows(6) == 2 * rows(3)


@few_options
def test_weights_of_a_box_inside_are_a_mean(op: Op, options: Options, generator) -> None:
    case = case_of(op, options, generator, boxes={"inside": (2.25, 1.5, 6.75, 5.125)})
    case = case.with_options(extrapolation_value=0.0)
    if case.has_offset:
        case.extra.clamp_(-0.2, 0.2)
    weights = as_list(call(visualize.weights, case))
    assert all((w >= 0).all() for w in weights)
    sums = sum(w.sum((-2, -1)) for w in weights)
    assert_close(sums, torch.ones_like(sums), 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@one_option
def test_weights_are_of_the_type_of_the_geometry(op, options, dtype, generator) -> None:
    case = case_of(op, options, generator, boxes=inside_boxes(H, W), dtype=dtype,
                   boxes_dtype=torch.float32)  # fmt: skip
    weights = as_list(call(visualize.weights, case, channel=CHANNEL))
    assert {w.dtype for w in weights} == {torch.float32}
    exact = case.map(lambda m: m.float())()[:, CHANNEL].double()
    case = case.map(lambda m: m.double())
    constant = case.map(torch.zeros_like)()[:, CHANNEL]
    assert_close(results(case, [w.double() for w in weights]) + constant, exact, 8.0, 1e-5)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_weights_need_no_gradients_of_the_caller(mode) -> None:
    x, rois = torch.ones(1, 1, H, W, requires_grad=True), torch.tensor([[0, *BOX]])
    with mode():
        weights = visualize.weights(roiops.roi_align, x + 0, rois + 0, 2)
    assert not weights.requires_grad and (weights.sum((-2, -1)) - 1).abs().max() < 1e-6


def bilinear_weights(positions: Tensor, size) -> Tensor:
    """[..., S, 2] -> [..., H, W]: the sum over samples, by the rule of docs/semantics.md."""
    axes = []
    for position, n in zip(positions.unbind(-1), size, strict=True):
        accepted = (position >= -1) & (position <= n)
        tent = 1 - (position.clamp(0, n - 1)[..., None] - torch.arange(n)).abs()
        axes.append(tent.clamp(min=0) * accepted[..., None])
    return torch.einsum("...sh,...sw->...hw", *axes)


SAMPLED_MEANS = some_ops(lambda op: op.samples and not op.takes_maximum)


@SAMPLED_MEANS
@pytest.mark.parametrize("ratio", [-1, 2])
def test_samples_reproduce_the_weights(op: Op, ratio: int, generator) -> None:
    """Their bilinear weights, rejected and clamped here, have the mean that the operator has."""
    options = Options((2, 3), 1.0, ratio, aligned=True)
    case = case_of(op, options, generator, boxes=inside_boxes(H, W) | edge_boxes(H, W))
    weights = as_list(call(visualize.weights, case))
    compared = 0
    for k, positions in enumerate(call(visualize.samples, case)):
        count = positions.shape[2]
        assert positions.shape[:2] == (2, 3) and (count == 4 or ratio < 0)
        level = max(range(len(weights)), key=lambda i, k=k: float(weights[i][k].sum()))
        size = torch.tensor(case.maps[level].shape[2:])
        known = not torch.isnan(positions).any()  # else moved by more than the map's width
        assert known or op is DEFORM_ROI_POOL
        limits = torch.stack([-torch.ones(2), size]).double()
        on_a_limit = torch.isclose(positions[..., None, :], limits).any()  # rounding decides
        if known and not on_a_limit:
            compared += 1
            expected = bilinear_weights(positions, size.tolist()) / max(count, 1)
            assert_close(weights[level][k], expected, 4.0)
    assert compared >= 20


def test_samples_of_a_maximum_are_those_of_the_mean(generator) -> None:
    options = Options((2, 3), 1.0, -1, aligned=True)
    case = case_of(ROI_ALIGN, options, generator, boxes=inside_boxes(H, W))
    leading = case.leading(list(case.maps))
    mean = visualize.samples(roiops.roi_align, *leading, (2, 3), aligned=True)
    most = visualize.samples(roiops.roi_align, *leading, (2, 3), aligned=True, mode="max")
    assert [tuple(m.shape) for m in most] == [tuple(m.shape) for m in mean]
    assert all(torch.equal(a, b) for a, b in zip(most, mean, strict=True))


@pytest.mark.parametrize("ratio", [-1, 2])
@pytest.mark.parametrize("box", ["reversed_x", "reversed_both", "zero_area", "nan", "far"])
def test_samples_of_boxes_that_have_none(ratio, box) -> None:
    """With a fixed number the samples of a reversed or empty box are real ones, mirrored or equal."""
    boxes = {n: b for n, b in finite_boxes(H, W).items()} | {
        "nan": (1.0, float("nan"), 5, 5),
        "far": (1e6, 1e6, 1e6 + 4, 1e6 + 4),
    }
    rois = torch.tensor([[0, *boxes[box]]])
    (positions,) = visualize.samples(
        roiops.roi_align, torch.rand(1, 1, H, W), rois, (2, 3), 1.0, ratio, True
    )
    none = ratio < 0 or box in ("nan", "far")
    assert tuple(positions.shape) == (2, 3, 0 if none else 4, 2)
    if box == "reversed_x" and not none:
        assert (positions[:, 0, :, 1].mean() > positions[:, -1, :, 1].mean()).item()


@some_ops(lambda op: op in (ROI_POOL, PS_ROI_POOL, PRROI_POOL))
def test_operators_without_samples_have_none(op: Op, generator) -> None:
    case = case_of(op, op.few_options[0], generator, boxes={"box": BOX})
    height, width = case.options.output_size
    assert [tuple(p.shape) for p in call(visualize.samples, case)] == [(height, width, 0, 2)]


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_samples_of_crops_are_on_a_lattice_between_the_corners(method) -> None:
    boxes = torch.tensor([[-0.25, 0.125, 0.75, 1.5], [0.9, 0.8, 0.1, 0.2]])
    found = visualize.samples(
        roiops.crop_and_resize, torch.rand(2, 1, H, W), boxes, torch.tensor([1, 0]), (3, 4), method
    )
    for (y1, x1, y2, x2), positions in zip(boxes.double(), found, strict=True):
        y = y1 * (H - 1) + torch.arange(3)[:, None] / 2 * (y2 - y1) * (H - 1)
        x = x1 * (W - 1) + torch.arange(4)[None, :] / 3 * (x2 - x1) * (W - 1)
        expected = torch.stack(torch.broadcast_tensors(y, x), -1)[:, :, None]
        assert_close(positions, expected, 8.0, 1e-6)


def test_lists_of_boxes_are_boxes(generator) -> None:
    x = torch.rand(2, 3, H, W, generator=generator)
    boxes = [torch.tensor([BOX]), torch.tensor([[0.0, 1, 4, 5]])]
    rois = torch.tensor([[0, *BOX], [1, 0, 1, 4, 5]])
    for function in (visualize.weights, visualize.bins):
        actual, expected = (function(roiops.roi_align, x, b, 3) for b in (boxes, rois))
        assert torch.equal(actual, expected)


@each_op
def test_no_boxes_have_no_weights(op: Op, generator) -> None:
    case = case_of(op, op.few_options[0], generator).rows(slice(0))
    height, width = case.options.output_size
    weights = as_list(call(visualize.weights, case))
    shapes = [(0, height, width, *m.shape[2:]) for m in case.maps]
    assert [tuple(w.shape) for w in weights] == shapes
    assert tuple(call(visualize.bins, case).shape) == (0, height, width, 4, 2)
    assert call(visualize.samples, case) == []
