"""RoIs of many taps: neither what is listed at a time nor the way to the features changes a value."""

from __future__ import annotations

import pytest
import torch
from cases import DTYPES, Case, Options, grad_of, make_case
from op_table import Op, some_ops
from tolerance import assert_close, assert_same_bits


def many_taps(
    op: Op, side: int, count: int, size: tuple[int, int], generator, dtype, channels: int = 5
) -> Case:
    """Slightly different boxes of about the whole map: adaptive, they have about side^2 taps."""
    ends = [(i / 8, side - 4 + i / 8) for i in range(count)]
    boxes = {str(i): (a, a, b, b) for i, (a, b) in enumerate(ends)}
    options = Options(size, canonical_scale=10**6)
    channels = 1 if op.position_sensitive else channels
    return make_case(op, options, generator, (side, side), boxes, 1, channels, dtype, torch.float32)


MANY_TAPS = {"many_boxes": (300, 30, (7, 7)), "one_box_of_many_taps": (1200, 2, (7, 5))}


@some_ops(lambda op: not op.has_indices)
@pytest.mark.parametrize("dtype", DTYPES[1:3], ids=("float32", "float16"))
@pytest.mark.parametrize("side, count, size", MANY_TAPS.values(), ids=MANY_TAPS.keys())
def test_more_taps_than_one_chunk_holds(
    op, side, count, size, dtype, device, at_each_thread_count, generator
) -> None:
    """The engine lists about 2^20 taps at a time. Boxes one by one are the reference. Eight threads
    share the panel of five channels."""
    if op.position_sensitive and side > 1000:
        size = (2, 2)  # 35 channels of such a map are slow
    case = many_taps(op, side, count, size, generator, dtype).to(device)
    grad = grad_of(case, generator)
    out, by_boxes = case(), case.box_gradient(grad)
    rows = [slice(k, k + 1) for k in range(count)]
    for row in rows[:3]:
        assert_same_bits(out[row], case.rows(row)())
        assert_same_bits(by_boxes[row], case.rows(row).box_gradient(grad[row]))
    # A half type may be rounded once, after the last chunk, not once per chunk.
    wide, wide_grad = case.map(torch.Tensor.float), grad.float()
    actual, *others = at_each_thread_count(lambda: case.input_gradients(grad)[0])
    for other in others:
        assert_same_bits(other, actual)
    magnitude = wide.input_gradients(wide_grad.abs())[0].double().cpu()
    one_by_one = sum(wide.rows(r).input_gradients(wide_grad[r])[0].double() for r in rows)
    assert_close(actual, one_by_one.cpu(), magnitude)


@some_ops(lambda op: not op.has_indices and not op.position_sensitive)
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=("float64", "float32"))
def test_large_boxes_one_upon_another(op, dtype, device, generator) -> None:
    """More than the cache holds (kCacheBytes), which each reads again (kTapsPerItem): channels_last
    maps are packed as well."""
    case = many_taps(op, 130, 60, (4, 4), generator, dtype, 150).to(device)
    packed = case.map(lambda m: m.to(memory_format=torch.channels_last))()
    assert packed.is_contiguous(memory_format=torch.channels_last)
    assert_same_bits(packed, case())
