"""What only a GPU shows of the operators on boxes alone: graphs, no synchronisation, every run alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from box_ops import random_boxes, random_rotated
from torch import Tensor

import roiops

if not torch.cuda.is_available():
    pytest.skip("torch sees no CUDA device", allow_module_level=True)

OPS = torch.ops.roiops
CALLS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Any]] = {
    "nms_padded": lambda b, s, t, i: OPS.nms_padded(b, s, 0.3, 300, i, 0.1),
    "rotated": lambda b, s, t, i: OPS.nms_padded(t, s, 0.3, 300),
    "images": lambda b, s, t, i: OPS.nms_padded(b.view(4, -1, 4), s.view(4, -1), 0.3, 99),
    "soft": lambda b, s, t, i: OPS.soft_nms_padded(b, s, 300, 0.3, 0.5, 0.1, "linear", i),
    "box_iou": lambda b, s, t, i: (roiops.box_iou(b, b[:77]),),
    "box_iou_rotated": lambda b, s, t, i: (roiops.box_iou_rotated(t, t[:77]),),
}
each_call = pytest.mark.parametrize("name", CALLS)


@pytest.fixture
def tensors(generator) -> tuple[Tensor, ...]:
    boxes, scores = random_boxes(2000, generator, extent=400.0)
    turned, _ = random_rotated(2000, generator, extent=400.0)
    idxs = torch.randint(0, 5, (2000,), generator=generator)
    return tuple(t.cuda() for t in (boxes, scores, turned, idxs))


@each_call
def test_never_synchronises(name, tensors) -> None:
    torch.cuda.set_sync_debug_mode("error")
    try:
        CALLS[name](*tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@each_call
def test_can_be_captured_in_a_graph(name, tensors) -> None:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        CALLS[name](*tensors)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = CALLS[name](*tensors)
    tensors[1].copy_(tensors[1].flip(0))
    graph.replay()
    for a, b in zip(captured, CALLS[name](*tensors), strict=True):
        assert torch.equal(a, b)


@each_call
def test_the_same_bits_in_every_run_and_those_of_the_cpu(name, tensors) -> None:
    first = CALLS[name](*tensors)
    for _ in range(3):
        for a, b in zip(CALLS[name](*tensors), first, strict=True):
            assert torch.equal(a, b)
    for a, b in zip(first, CALLS[name](*(t.cpu() for t in tensors)), strict=True):
        # Sine, cosine and exponential differ in the last bit, which may decide.
        if name == "box_iou_rotated":
            torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-5)
        elif name not in ("rotated", "soft"):
            assert torch.equal(a.cpu(), b)
