"""roi_pool and roi_align with mode="max" against slow loops written from semantics.md."""

from __future__ import annotations

import math

import pytest
import torch
from boxes import as_rois, edge_boxes, hard_boxes, inside_boxes
from torch import Tensor

import roiops

HEIGHT, WIDTH = 11, 13
POOL = torch.ops.roiops.roi_pool
ALIGN_MAX = torch.ops.roiops.roi_align_max
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def winner(values: list[float]) -> int:
    """The first largest, or the first NaN."""
    best = -1
    for i, value in enumerate(values):
        if best < 0 or value > values[best] or (math.isnan(value) and not math.isnan(values[best])):
            best = i
    return best


def half_away(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def pool_pixels(box: list[float], size: tuple[int, int], dtype: torch.dtype):
    """The pixels of each bin; none for a box that is not finite."""
    geometry = torch.float64 if dtype == torch.float64 else torch.float32
    box = torch.tensor(box, dtype=torch.float64).to(geometry)
    if not torch.isfinite(box).all():
        return [[] for _ in range(size[0] * size[1])]
    x1, y1, x2, y2 = (half_away(max(min(v, 2.0**31), -(2.0**31))) for v in box.tolist())

    def edges(low: int, high: int, bins: int, pixels: int) -> list[range]:
        extent = torch.tensor(max(high - low + 1, 1), dtype=geometry)
        step = extent / torch.tensor(bins, dtype=geometry)
        ranges = []
        for p in range(bins):
            first = low + int(torch.floor(torch.tensor(p, dtype=geometry) * step))
            last = low + int(torch.ceil(torch.tensor(p + 1, dtype=geometry) * step))
            ranges.append(range(max(first, 0), min(last, pixels)))
        return ranges

    rows, columns = edges(y1, y2, size[0], HEIGHT), edges(x1, x2, size[1], WIDTH)
    return [[(y, x) for y in r for x in c] for r in rows for c in columns]


def reference_pool(input: Tensor, rois: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    shape = (len(rois), input.shape[1], *size)
    values, argmax = torch.zeros(shape, dtype=torch.float64), torch.full(shape, -1)
    for k, (image, *box) in enumerate(rois.tolist()):
        for b, pixels in enumerate(pool_pixels(box, size, input.dtype)):
            for c in range(input.shape[1]):
                seen = [input[int(image), c, y, x].item() for y, x in pixels]
                if (at := winner(seen)) >= 0:
                    p, q = divmod(b, size[1])
                    values[k, c, p, q] = seen[at]
                    argmax[k, c, p, q] = pixels[at][0] * WIDTH + pixels[at][1]
    return values, argmax


def boxes_for(dtype: torch.dtype) -> tuple[list[str], Tensor]:
    named = inside_boxes(HEIGHT, WIDTH) | edge_boxes(HEIGHT, WIDTH) | hard_boxes(HEIGHT, WIDTH)
    return list(named), as_rois(named, images=2, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 7)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_roi_pool_equals_reference_exactly(dtype, size, layout, generator):
    names, rois = boxes_for(torch.float64 if dtype == torch.float64 else torch.float32)
    input = torch.randn(2, 3, HEIGHT, WIDTH, generator=generator).to(dtype)
    values, argmax = POOL(input.contiguous(memory_format=layout), rois, 1.0, *size)
    expected, winners = reference_pool(input, rois, size)
    wrong = [
        n for n, a, b in zip(names, argmax, winners, strict=True) if not torch.equal(a, b.int())
    ]
    assert wrong == []
    assert torch.equal(values.double(), expected)
    assert values.dtype == dtype and values.is_contiguous(memory_format=layout)
    assert argmax.dtype == torch.int32 and argmax.stride() == values.stride()


@pytest.mark.parametrize("value", [-math.inf, math.nan, -1e300])
def test_a_bin_of_equal_values_has_the_first_as_winner(value):
    input = torch.full((1, 1, 6, 6), value, dtype=torch.float64)
    values, argmax = POOL(input, torch.tensor([[0, 1.0, 1, 4, 4]]), 1.0, 2, 2)
    assert argmax.flatten().tolist() == [7, 9, 19, 21]
    torch.testing.assert_close(values, torch.full_like(values, value), equal_nan=True)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_first_nan_wins(layout):
    input = torch.arange(36.0).view(1, 1, 6, 6).repeat(1, 40, 1, 1)
    input[..., 2, 3] = input[..., 4, 1] = math.nan
    rois = torch.tensor([[0, 0.0, 0, 5, 5]])
    values, argmax = POOL(input.contiguous(memory_format=layout), rois, 1.0, 1, 1)
    assert values.isnan().all() and (argmax == 2 * 6 + 3).all()
    assert torch.equal(values.isnan(), torch.max_pool2d(input, 6).isnan())


def one_sample_values(input: Tensor, roi: Tensor, size, scale, ratio, aligned):
    """[samples, C, PH, PW]: roi_align with a grid as fine as all bins' samples, regrouped."""
    fine = roiops.roi_align(
        input, roi, (size[0] * ratio, size[1] * ratio), scale, 1, aligned
    )  # one sample per bin, at the centres of roi_align's grid
    c = input.shape[1]
    grid = fine.view(1, c, size[0], ratio, size[1], ratio).permute(0, 3, 5, 1, 2, 4)
    return grid.reshape(ratio * ratio, c, *size)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("aligned", [False, True])
def test_max_is_the_largest_of_the_samples(layout, aligned, generator):
    input = torch.randn(2, 5, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    named = inside_boxes(HEIGHT, WIDTH)
    rois = as_rois(named, images=2, dtype=torch.float64)
    values, tags = ALIGN_MAX(input.contiguous(memory_format=layout), rois, 1.0, 2, 3, 2, aligned)
    for k in range(len(rois)):
        samples = one_sample_values(input, rois[k : k + 1], (2, 3), 1.0, 2, aligned)
        torch.testing.assert_close(values[k], samples.max(0).values)
        picked = samples.gather(0, tags[k][None].long())[0]
        torch.testing.assert_close(picked, values[k])


def test_samples_outside_the_map_are_no_candidates():
    input = torch.full((1, 1, 6, 6), -3.0)
    rois = torch.tensor([[0, -8.0, 1, 4, 4], [0, -30.0, -30, -20, -20]])
    values, tags = ALIGN_MAX(input, rois, 1.0, 1, 1, 4, True)
    assert values.flatten().tolist() == [-3.0, 0.0] and tags.flatten().tolist()[1] == -1


@pytest.mark.parametrize("op", ["roi_pool", "roi_align_max"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_backward_is_adjoint_to_the_selected_values(op, dtype, generator):
    _, rois = boxes_for(torch.float64 if dtype == torch.float64 else torch.float32)
    options = [1.0] if op == "roi_pool" else [1.0, 2.0, 0.0]
    input = torch.randn(2, 33, HEIGHT, WIDTH, generator=generator).to(dtype)
    call = POOL if op == "roi_pool" else ALIGN_MAX
    extra = () if op == "roi_pool" else (2, False)
    values, argmax = call(input, rois, 1.0, 3, 2, *extra)
    grad = torch.randn(values.shape, generator=generator).to(dtype)
    back = torch.ops.roiops._max_backward(grad, argmax, rois, input.shape, op, options)
    selected = torch.ops.roiops._max_select(input, argmax, rois, None, op, options)
    assert torch.equal(selected, values)
    left = (values.double() * grad.double()).sum()
    right = (input.double() * back.double()).sum()
    scale = (values.double() * grad.double()).abs().sum()
    epsilon = torch.finfo(dtype).eps
    assert (left - right).abs() <= 4 * epsilon * scale + 1e-12 * scale


@pytest.mark.parametrize("bad", [-2, 10**6])
def test_a_foreign_winner_reads_and_writes_nothing(bad):
    rois = torch.tensor([[0, 1.0, 1, 4, 4]])
    argmax = torch.full((1, 2, 2, 2), bad, dtype=torch.int32)
    for op, options in (("roi_pool", [1.0]), ("roi_align_max", [1.0, 2.0, 0.0])):
        back = torch.ops.roiops._max_backward(
            torch.ones(1, 2, 2, 2), argmax, rois, (1, 2, 6, 6), op, options
        )
        picked = torch.ops.roiops._max_select(
            torch.ones(1, 2, 6, 6), argmax, rois, None, op, options
        )
        assert not back.any() and not picked.any()


def away_from_ties(generator) -> tuple[Tensor, Tensor]:
    input = torch.randperm(2 * 3 * 9 * 8, generator=generator).double().view(2, 3, 9, 8) / 50
    rois = torch.tensor([[0, 1.13, 0.57, 6.21, 7.38], [1, -1.7, 2.3, 4.6, 10.4]])
    return input.requires_grad_(), rois.double()


@pytest.mark.parametrize("op", ["roi_pool", "roi_align_max"])
def test_gradients(op, generator):
    input, rois = away_from_ties(generator)
    call = POOL if op == "roi_pool" else ALIGN_MAX
    extra = () if op == "roi_pool" else (2, True)

    def by_input(x: Tensor) -> Tensor:
        return call(x, rois, 1.0, 2, 3, *extra)[0]

    checks = {"check_batched_grad": True, "check_forward_ad": True}
    assert torch.autograd.gradcheck(by_input, (input,), **checks)
    assert torch.autograd.gradgradcheck(by_input, (input,), check_fwd_over_rev=True)
    if op == "roi_align_max":
        boxes = rois[:, 1:].clone().requires_grad_()

        def by_boxes(b: Tensor) -> Tensor:
            return call(input.detach(), torch.cat([rois[:, :1], b], 1), 1.0, 2, 3, *extra)[0]

        assert torch.autograd.gradcheck(by_boxes, (boxes,), **checks)


def test_roi_pool_gives_no_gradient_to_boxes(generator):
    input, rois = away_from_ties(generator)
    rois.requires_grad_()
    roiops.roi_pool(input, rois, 3).sum().backward()
    assert rois.grad is None and input.grad is not None


@pytest.mark.parametrize("op, extra", [(POOL, ()), (ALIGN_MAX, (2, True))], ids=["pool", "align"])
@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_opcheck_and_vmap(op, extra, count, layout, generator):
    input, rois = away_from_ties(generator)
    input = input.detach().contiguous(memory_format=layout).requires_grad_()
    torch.library.opcheck(op.default, (input, rois[:count], 1.0, 2, 3, *extra))
    batch = torch.stack([input.detach(), -input.detach()])
    for dims in ((0, None), (0, 0), (None, 0)):
        maps = batch if dims[0] == 0 else batch[0]
        boxes = torch.stack([rois, rois.flip(1).abs() * 0 + rois]) if dims[1] == 0 else rois
        got = torch.vmap(lambda x, b: op(x, b, 1.0, 2, 3, *extra), in_dims=dims)(maps, boxes)
        for i in range(2):
            want = op(
                maps[i] if dims[0] == 0 else maps, boxes[i] if dims[1] == 0 else boxes,
                1.0, 2, 3, *extra,
            )  # fmt: skip
            assert all(torch.equal(g[i], w) for g, w in zip(got, want, strict=True))


def test_modules_scripts_and_modes(generator):
    input, rois = away_from_ties(generator)
    input = input.detach()
    for module in (roiops.RoIPool(3), roiops.RoIAlign(3, mode="max")):
        assert torch.equal(torch.jit.script(module)(input, rois), module(input, rois))
        program = torch.export.export(module, (input, rois))
        assert torch.equal(program.module()(input, rois), module(input, rois))
    with pytest.raises(
        RuntimeError, match='roi_align: `mode` must be "avg" or "max", but got "min"'
    ):
        roiops.roi_align(input, rois, 3, mode="min")
