"""vmap inside vmap, around derivatives and in a traced graph: where a batching rule cannot look at
the values, which an outer vmap or a graph hides."""

from __future__ import annotations

import torch
from boxes import hard_boxes
from op_table import Op, each_op, some_ops
from test_func import EDGES, OPTIONS, H, W, edge_case, no_vmap_fallback, problem
from tolerance import assert_close, assert_same_bits
from torch.func import grad, hessian, jacfwd, jacrev, vmap
from torch.fx.experimental.proxy_tensor import make_fx

__all__ = ["no_vmap_fallback"]  # a fixture


@each_op
def test_vmap_of_vmap(op: Op, device, generator) -> None:
    case = edge_case(op, OPTIONS, device, generator, hard_boxes(H, W))
    twice = [m.expand(2, 3, *m.shape) * torch.rand(2, 3, 1, 1, 1, 1, device=device)
             for m in case.maps]  # fmt: skip
    rest = case.tensors[len(case.maps) :]
    got = vmap(vmap(lambda *maps: case.run(*maps, *rest)))(*twice)
    for i in range(2):
        for j in range(3):
            assert_same_bits(got[i, j], case.run(*(m[i, j] for m in twice), *rest))


@each_op
def test_vmap_of_vmap_over_boxes(op: Op, device, generator) -> None:
    """An outer vmap's values are not there to be looked at. Maps inside; and those of the extra
    tensor, image numbers for crop_and_resize."""
    case = edge_case(op, OPTIONS, device, generator, EDGES)
    levels = len(case.maps)
    maps, rest = case.tensors[:levels], case.tensors[levels:]
    twice = [t.expand(2, 3, *t.shape).clone() for t in rest]
    got = vmap(vmap(lambda *t: case.run(*maps, *t)))(*twice)
    pair = [torch.stack([m, m + 1]) for m in maps]
    inside = vmap(lambda *t: vmap(lambda *m: case.run(*m, *t))(*pair))(*(t[0] for t in twice))
    for i in range(3):
        assert_same_bits(got[1, i], case())
        for j in range(2):
            assert_same_bits(inside[i, j], case.run(*(m[j] for m in pair), *rest))


@each_op
def test_vmap_over_boxes_of_derivatives_by_maps(op: Op, device, generator) -> None:
    case = problem(op, device, generator, count=1).map(
        lambda m: m[:1, : op.channels_per_output(OPTIONS)]
    )
    maps, rest = case.maps[1:], case.tensors[len(case.maps) :]

    def run(x, *rest):
        return case.run(x, *maps, *rest)

    def loss(x, *rest):
        return run(x, *rest).square().sum()

    x, batch = case.maps[0], [t.expand(2, *t.shape) for t in rest]
    for derive in (jacfwd(run), jacrev(run), hessian(loss)):
        expected = derive(x, *rest)
        for got in vmap(lambda *t, derive=derive: derive(x, *t))(*batch):
            assert_close(got, expected.cpu(), 4 * float(expected.abs().max()) + 1e-12)


@some_ops(lambda op: op.differentiates_boxes(OPTIONS))
def test_vmap_of_vmap_of_gradients_by_boxes(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    maps, rest = case.maps, case.tensors[len(case.maps) + 1 :]
    by_boxes = grad(lambda b: case.run(*maps, b, *rest).square().sum())
    expected = by_boxes(case.boxes)
    got = vmap(vmap(by_boxes))(case.boxes.expand(2, 3, *case.boxes.shape))
    assert_close(got[1, 2], expected.cpu(), 4 * float(expected.abs().max()))


@each_op
def test_a_vmap_can_be_traced(op: Op, device, generator) -> None:
    case = edge_case(op, OPTIONS, device, generator, EDGES)
    batch = [t.expand(2, *t.shape) for t in case.tensors]
    graph = make_fx(vmap(case.run))(*batch)
    assert_same_bits(graph(*batch)[1], case())
