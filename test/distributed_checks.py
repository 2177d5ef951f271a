"""Sharded calls of every operator against the same call in one process: see process_group.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from boxes import edge_boxes, inside_boxes
from cases import Case, Options, grad_of, make_case
from op_table import DEFORM_ROI_POOL, OPS, ROI_ALIGN, Op, label
from process_group import Check, Group
from tolerance import assert_close, assert_same_bits
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode

import roiops.distributed  # noqa: F401 (registers the rules)

Row = tuple[Op, Options]
# One call of each operator; with offsets, and without.
ROWS: list[Row] = [(op, op.few_options[0]) for op in OPS]
ROWS.append((DEFORM_ROI_POOL, DEFORM_ROI_POOL.few_options[-1]))
SIZE = (9, 8)
BOXES = list((inside_boxes(*SIZE) | edge_boxes(*SIZE)).items())[::2]
MAPS = ("input", "image", "features")
BINS = ("grad", "argmax")


def problem(row: Row, rois: int = 11, channels: int = 0) -> tuple[Case, Tensor]:
    """The same in every process: a call, and a gradient of its result.

    By default neither RoIs nor channels divide evenly (where they need not), and every shard has
    four channels or more: with fewer, sums are taken in another order.
    """
    op, options = row
    generator = torch.Generator().manual_seed(5)
    named = dict(BOXES[:rois])
    assert len(named) == rois
    channels = channels or (8 if op.position_sensitive else 22)
    case = make_case(op, options, generator, SIZE, named, 2, channels)
    return case, grad_of(case, generator)


class Way:
    """Placements of maps, bins and rows (boxes, ...) on a mesh, and of the gradients."""

    def __init__(self, mesh: Any, *dims: str) -> None:
        one = {"channels": Shard(1), "rois": Shard(0)}
        self.mesh = mesh
        self.maps = [one[d] if d == "channels" else Replicate() for d in dims]
        self.rows = [one[d] if d == "rois" else Replicate() for d in dims]
        self.bins = [one.get(d, Replicate()) for d in dims]
        sums = [Replicate() if d == "replicated" else Partial() for d in dims]
        self.grad_maps = [
            s if m == Replicate() else m for s, m in zip(sums, self.maps, strict=True)
        ]
        self.grad_rows = [
            s if r == Replicate() else r for s, r in zip(sums, self.rows, strict=True)
        ]

    def put(self, tensor: Tensor, placements: Sequence[Any]) -> Tensor:
        return distribute_tensor(tensor.detach(), self.mesh, list(placements))

    def case(self, case: Case) -> Case:
        count = len(case.maps)
        placed = [
            self.put(t, self.maps if i < count else self.rows).requires_grad_(t.requires_grad)
            for i, t in enumerate(case.tensors)
        ]
        return case.of(*placed)

    def grads(self, case: Case) -> list[Any]:
        """Placements of the gradients of those of the case's tensors that have one."""
        count = len(case.maps)
        every = [self.grad_maps if i < count else self.grad_rows for i in range(len(case.tensors))]
        return [e for e, t in zip(every, case.tensors, strict=True) if t.requires_grad]


def call(case: Case) -> Tensor:
    """By the Python function, as a user does."""
    result: Tensor = case.op.function(
        *case.leading(list(case.maps)), *case.op.python_args(case.options)
    )
    return result


def without_communication(function: Callable[..., Any], *args: Any) -> Any:
    with CommDebugMode() as communication:
        result = function(*args)
    assert communication.get_total_counts() == 0, communication.get_comm_counts()
    return result


def same(actual: Any, expected: Tensor, exact: bool, what: str) -> None:
    """Of all shards together."""
    whole = actual.full_tensor().detach()
    expected = expected.detach()
    if exact:
        assert_same_bits(whole, expected, what)
    else:
        largest = float(expected.abs().max()) if expected.numel() else 0.0
        assert_close(whole, expected, 16 * largest + 1e-12)


def check_sharded(
    row: Row, mesh: Any, dims: Sequence[str], exact: bool = True, **sizes: int
) -> None:
    """Forward and backward keep the shards, communicate nothing, and give the whole's result."""
    case, grad = problem(row, **sizes)
    single = case.leaves()
    expected = call(single)
    expected_grads = torch.autograd.grad(expected, single.trainable, grad)

    way = Way(mesh, *dims)
    sharded = way.case(single)
    output = without_communication(call, sharded)
    assert list(output.placements) == way.bins, output.placements
    same(output, expected, exact, "results")

    placed = way.put(grad, way.bins)
    grads = without_communication(torch.autograd.grad, output, sharded.trainable, placed)
    for got, wanted, placements in zip(grads, expected_grads, way.grads(single), strict=True):
        assert list(got.placements) == placements, got.placements
        summed = any(p.is_partial() for p in placements)
        same(got, wanted, exact and not summed, "gradients")


def check_private(row: Row, mesh: Any, dim: str) -> None:
    """The operators behind the derivatives, of each level's map.

    A pyramid's levels differ only in the size of the map: what DTensor caches must know it.
    """
    case, grad = problem(row)
    way = Way(mesh, dim)
    tangents = (
        torch.ones_like(case.boxes),
        torch.ones_like(case.extra) if case.has_offset else None,
    )
    for level in range(len(case.maps)):
        arguments = case.private_args(level, grad, None, *tangents)
        for kind, overload, args in zip(arguments._fields, case.op.private, arguments, strict=True):
            names = [a.name for a in overload._schema.arguments]
            placed = []
            for name, value in zip(names, args, strict=True):
                lie = way.maps if name in MAPS else way.bins if name in BINS else way.rows
                placed.append(way.put(value, lie) if isinstance(value, Tensor) else value)
            wanted, got = overload(*args), without_communication(overload, *placed)
            several = isinstance(wanted, tuple)
            for w, g in zip(
                wanted if several else [wanted], got if several else [got], strict=True
            ):
                by = {"backward": way.grad_maps, "backward_boxes": way.grad_rows}
                placements = by.get(kind, way.bins)
                assert list(g.placements) == placements, (kind, g.placements)
                assert g.shape == w.shape, (kind, g.shape, w.shape)
                same(g, w, exact=False, what=kind)


def check_winners(row: Row, mesh: Any, dim: str) -> None:
    """A winner is named within the map or the bin, whatever the shard."""
    case, _ = problem(row)
    way = Way(mesh, dim)
    winners = without_communication(way.case(case).result)[1]
    assert list(winners.placements) == way.bins
    assert torch.equal(winners.full_tensor(), case.winners)


def check_second_order(row: Row, mesh: Any, dim: str) -> None:
    """The gradient of a function of the gradient by the maps."""
    case, grad = problem(row)
    way = Way(mesh, dim)

    def second(case: Case, grad: Tensor) -> list[Any]:
        first = torch.autograd.grad(case(), case.maps, grad, create_graph=True)
        return list(torch.autograd.grad([g.square().sum() for g in first], [grad]))

    maps = [*(True for _ in case.maps), *(False for _ in case.tensors[len(case.maps) :])]
    single = case.leaves(maps)
    expected = second(single, grad.clone().requires_grad_())
    got = second(way.case(single), way.put(grad, way.bins).requires_grad_())
    for g, e in zip(got, expected, strict=True):
        same(g, e, exact=False, what="second derivatives")


def check_redistributed(row: Row, mesh: Any) -> None:
    """Placements that no way has: the images', the rows', the columns'; sums not yet taken."""
    case, grad = problem(row)
    single = case.leaves()
    expected = call(single)
    expected_grads = torch.autograd.grad(expected, single.trainable, grad)
    for maps, rows in ((Shard(0), Replicate()), (Shard(2), Shard(0)), (Shard(1), Shard(0))):
        way = Way(mesh, "replicated")
        way.maps, way.rows = [maps], [rows]
        sharded = way.case(single)
        output = call(sharded)
        same(output, expected, exact=True, what="results")
        placed = way.put(grad, output.placements)
        for got, wanted in zip(
            torch.autograd.grad(output, sharded.trainable, placed), expected_grads, strict=True
        ):
            same(got, wanted, exact=False, what="gradients")
    parts = [DTensor.from_local(m / mesh.size(), mesh, [Partial()]) for m in case.maps]
    rest = [way.put(t, [Replicate()]) for t in case.tensors[len(case.maps) :]]
    same(call(case.of(*parts, *rest)), expected, exact=False, what="results of a sum")


def check_few_rois(row: Row, mesh: Any) -> None:
    """Fewer than processes: DTensor then shards nothing."""
    for rois in range(mesh.size()):
        case, _ = problem(row, rois=rois)
        output = call(Way(mesh, "rois").case(case))
        same(output, call(case), exact=True, what=f"results of {rois} RoIs")


def check_torn_groups(row: Row, mesh: Any) -> None:
    """Shards that would tear a bin's channels apart: right, by other means."""
    case, _ = problem(row, channels=mesh.size() + 1)
    output = call(Way(mesh, "channels").case(case))
    assert not any(p.is_shard(1) for p in output.placements), output.placements
    same(output, call(case), exact=True, what="results")


def check_mixed(group: Group) -> None:
    """A plain tensor beside a DTensor: which part of the whole it is nobody knows."""
    case, _ = problem((ROI_ALIGN, ROI_ALIGN.few_options[0]))
    sharded = Way(group.mesh, "channels").case(case)
    try:
        call(sharded.of(*sharded.maps, case.boxes))
    except RuntimeError as error:
        assert "mixed torch.Tensor and DTensor" in str(error)
    else:
        raise AssertionError("no error")


def check_compiled(group: Group) -> None:
    case, grad = problem((ROI_ALIGN, ROI_ALIGN.few_options[0]))
    way = Way(group.mesh, "channels")
    single, sharded = case.leaves(), way.case(case.leaves())
    options = case.op.python_args(case.options)

    def pooled(maps: Tensor, boxes: Tensor) -> Tensor:
        result: Tensor = case.op.function(maps, boxes, *options)
        return result

    output = torch.compile(pooled, backend="aot_eager", fullgraph=True)(*sharded.tensors)
    assert list(output.placements) == way.bins
    same(output, call(single), exact=True, what="compiled results")
    output.backward(way.put(grad, way.bins))
    call(single).backward(grad)
    for got, wanted in zip(sharded.trainable, single.trainable, strict=True):
        same(got.grad, wanted.grad, exact=False, what="compiled gradients")


def check_registered(group: Group) -> None:
    """Every operator of the library has rules."""
    known = {op.name() for op in DTensor._op_dispatcher.sharding_propagator.op_strategy_funcs}
    names = {s.name for s in torch._C._jit_get_all_schemas() if s.name.startswith("roiops::")}
    assert names and names <= known, names - known


def checks(world: int) -> dict[str, Check]:
    """By name. Options and layouts are the business of other tests."""
    result: dict[str, Check] = {"registered": check_registered, "mixed": check_mixed}
    if world == 2:
        result["compiled"] = check_compiled

    def add(
        what: str, rows: list[Row], check: Callable[..., None], *args: Any, **more: Any
    ) -> None:
        def run(row: Row, square: bool, group: Group) -> None:
            check(row, group.square if square else group.mesh, *args, **more)

        square = what.startswith("square")
        for row in rows:
            result[f"{what}-{label(*row)}"] = partial(run, row, square)

    whole = [row for row in ROWS if not row[0].position_sensitive]
    add("replicated", ROWS, check_sharded, ["replicated"])
    for dim in ("channels", "rois"):
        add(dim, ROWS, check_sharded, [dim])
        add(f"private-{dim}", ROWS, check_private, dim)
        add(f"second-{dim}", ROWS, check_second_order, dim)
        add(f"winners-{dim}", [r for r in ROWS if r[0].takes_maximum], check_winners, dim)
    add("redistributed", ROWS, check_redistributed)
    add("few", ROWS[:2], check_few_rois)
    add("torn", [r for r in ROWS if r[0].position_sensitive], check_torn_groups)
    if world == 4:
        # of 5 in shards of 2 the last has none
        add("empty-rois", ROWS, check_sharded, ["rois"], rois=5)
        add("empty-channels", whole, check_sharded, ["channels"], exact=False, channels=5)
        add("square", ROWS, check_sharded, ["channels", "rois"])
        add("square-channels", ROWS, check_sharded, ["channels", "channels"], exact=False)
    return result
