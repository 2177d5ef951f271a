"""What only a maximum promises: which sample wins, and that its gradient is that sample's."""

from __future__ import annotations

import math

import pytest
import reference
import torch
from boxes import inside_boxes
from cases import DTYPES, Case, Options, make_case
from op_table import ROI_ALIGN_MAX, ROI_POOL, Op, some_ops
from torch import Tensor

import roiops

max_ops = some_ops(lambda op: op.takes_maximum)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
layouts = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=("contiguous", "channels_last")
)


def one_bin(op: Op, device: str, x: Tensor, box: tuple[float, ...]) -> Case:
    """One bin, of whole pixels or of samples at them."""
    options = Options((1, 1), 1.0, 4, True)
    return Case(op, options, (x.to(device),), torch.tensor([[0.0, *box]], device=device))


@max_ops
@layouts
@each_dtype
def test_winners_are_integers_laid_out_as_the_values(op, layout, dtype, device, generator) -> None:
    case = make_case(op, op.few_options[0], generator, dtype=dtype, device=device)
    values, winners = case.map(lambda m: m.to(memory_format=layout)).result()
    assert winners.dtype == torch.int32 and winners.stride() == values.stride()
    assert torch.equal(winners, case.winners)


@pytest.mark.parametrize("options", ROI_POOL.options, ids=str)
@each_dtype
def test_the_winner_of_roi_pool_is_the_first_largest_pixel(
    options, dtype, device, generator
) -> None:
    case = make_case(ROI_POOL, options, generator, dtype=dtype, device=device)
    case = case.map(lambda m: (4 * m).round())  # many pixels are equal
    y, x = reference.winning_positions(case).unbind(-1)
    expected = (y * case.maps[0].shape[3] + x).nan_to_num(nan=-1)
    assert torch.equal(case.winners.cpu(), expected.int())
    assert (expected < 0).any() and (expected > 0).any()


def samples_of(case: Case) -> Tensor:
    """[samples, K, C, PH, PW]: an average of one sample per bin, with as many bins as samples."""
    (ph, pw), ratio = case.options.output_size, case.options.sampling_ratio
    fine = (ph * ratio, pw * ratio)
    x, rois, scale, aligned = *case.tensors, case.options.spatial_scale, case.options.aligned
    samples = roiops.roi_align(x, rois, fine, scale, 1, aligned)
    blocks = samples.unflatten(3, (pw, ratio)).unflatten(2, (ph, ratio))
    return blocks.permute(3, 5, 0, 1, 2, 4).flatten(0, 1)


def first_largest(plane: Tensor, rows: slice, columns: slice) -> int:
    """The position in the plane of the winner among these pixels."""
    position = torch.arange(plane.numel()).view_as(plane)[rows, columns].flatten()
    values = plane[rows, columns].flatten().double()
    nan = values.isnan()
    wins = nan if nan.any() else values == values.max()
    return int(position[wins.nonzero()[0, 0]])


@each_dtype
@layouts
@pytest.mark.parametrize("channels", [1, 3, 40])
@pytest.mark.parametrize("special", [None, -math.inf, math.nan, -0.0], ids=str)
def test_the_winner_of_long_rows(special, channels, layout, dtype, device, generator) -> None:
    """Rows of 16 pixels and more are searched in vectors if channels are few."""
    x = torch.randint(-8, 1, (1, channels, 8, 70), generator=generator).to(dtype)
    if special is not None:
        x[torch.rand(x.shape, generator=generator) < 0.1] = special
        x[..., :4, :35] = special
    rois = torch.tensor([[0.0, 0, 0, 69, 7]])
    x = x.contiguous(memory_format=layout)
    values, winners = torch.ops.roiops.roi_pool(x.to(device), rois.to(device), 1.0, 2, 2)
    for c, plane in enumerate(x[0]):
        expected = [[first_largest(plane, slice(4 * p, 4 * p + 4), slice(35 * q, 35 * q + 35))
                     for q in range(2)] for p in range(2)]  # fmt: skip
        assert winners[0, c].tolist() == expected
    picked = x.flatten(2).gather(2, winners.cpu().flatten(2).long()).view_as(values)
    torch.testing.assert_close(values.cpu(), picked, rtol=0, atol=0, equal_nan=True)
    zeros = picked == 0
    assert torch.equal(values.cpu().signbit() & zeros, picked.signbit() & zeros)


@layouts
@pytest.mark.parametrize("aligned", [False, True], ids=("legacy", "aligned"))
def test_the_winner_of_roi_align_is_the_number_of_the_largest_sample(
    layout, aligned, device, generator
) -> None:
    options = Options((2, 3), 1.0, 2, aligned)
    boxes = inside_boxes(11, 13)  # all samples are on the map
    case = make_case(ROI_ALIGN_MAX, options, generator, boxes=boxes, device=device)
    case = case.map(lambda m: m.to(memory_format=layout))
    samples, (values, winners) = samples_of(case), case.result()
    torch.testing.assert_close(values, samples.max(0).values)
    torch.testing.assert_close(values, samples.gather(0, winners[None].long())[0])


@max_ops
@layouts
@pytest.mark.parametrize("value", [-math.inf, math.nan, -1e300, -0.0], ids=str)
def test_the_first_of_equal_samples_wins(op: Op, layout, value, device) -> None:
    x = torch.full((1, 40, 6, 6), value, dtype=torch.float64).contiguous(memory_format=layout)
    # Between pixels: a weight of zero times infinity would be NaN.
    values, winners = one_bin(op, device, x, (1.25, 1.25, 5.25, 5.25)).result()
    assert (winners == (7 if op is ROI_POOL else 0)).all()
    torch.testing.assert_close(values, torch.full_like(values, value), equal_nan=True)
    assert torch.equal(values.signbit(), torch.full_like(values, value).signbit())


@max_ops
@layouts
def test_the_first_nan_wins(op: Op, layout, device) -> None:
    x = torch.arange(36.0).view(1, 1, 6, 6).repeat(1, 40, 1, 1)
    x[..., 2, 3] = x[..., 4, 1] = math.nan
    # aligned, these 4 x 4 samples lie at the pixels 1 to 4
    values, winners = one_bin(op, device, x.contiguous(memory_format=layout), (1, 1, 5, 5)).result()
    first = 2 * 6 + 3 if op is ROI_POOL else 1
    assert values.isnan().all() and (winners == first).all()


@layouts
def test_a_gradient_of_many_samples_goes_to_the_winners(layout, device, generator) -> None:
    """Bins of more samples than a vector has lanes."""
    options = Options((2, 2), 1.0, 7, True)
    case = make_case(ROI_ALIGN_MAX, options, generator, boxes=inside_boxes(11, 13), device=device)
    case = case.map(lambda m: m.to(memory_format=layout))
    x, boxes = case.tensors[0].detach().requires_grad_(), case.tensors[1]
    values = roiops.roi_align(x, boxes, (2, 2), 1.0, 7, True, mode="max")
    grad = torch.rand_like(values)
    (gradient,) = torch.autograd.grad(values, x, grad)
    # A maximum is homogeneous: <gradient, x> = <grad, values>.
    torch.testing.assert_close((gradient * x).sum(), (grad * values).sum())


@max_ops
def test_a_sample_outside_the_map_is_no_candidate(op: Op, device) -> None:
    """The others may all be negative; without any the value is 0, and there is no winner."""
    x = torch.full((1, 1, 6, 6), -3.0)
    for box, value in (((-8, 1, 4, 4), -3.0), ((-30, -30, -20, -20), 0.0)):
        values, winners = one_bin(op, device, x, box).result()
        assert values.item() == value and (winners.item() == -1) == (value == 0)


@max_ops
@pytest.mark.parametrize("bad", [-2, -(2**31), 10**6, 2**31 - 1])
def test_a_foreign_winner_reads_and_writes_nothing(op: Op, bad, device, generator) -> None:
    case = make_case(op, Options((2, 2), 1.0, 2), generator, boxes=inside_boxes(11, 13))
    case = case.to(device)
    for overload, args in case.private_calls():
        at = [argument.name for argument in overload._schema.arguments].index("argmax")
        result = overload(*args[:at], torch.full_like(args[at], bad), *args[at + 1 :])
        assert overload(*args).any() or op.constant_in_boxes
        assert not result.any()


def test_another_mode_is_an_error() -> None:
    x, boxes = torch.rand(1, 2, 6, 6), torch.ones(1, 5) * 0
    rule = 'roi_align: `mode` must be "avg" or "max", but got "min"'
    with pytest.raises(RuntimeError, match=rule):
        roiops.roi_align(x, boxes, 3, mode="min")
    with pytest.raises(RuntimeError, match=rule):
        roiops.RoIAlign(3, mode="min")(x, boxes)
