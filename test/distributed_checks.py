"""Sharded calls of every operator against the same call in one process: see process_group.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from box_ops import random_boxes
from cases import Case
from op_table import ROI_ALIGN, label
from process_group import Check, Group
from sharded import ROWS, Row, Way, call, problem, same, without_communication
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import Placement

import roiops.distributed  # noqa: F401 (registers the rules)

MAPS = ("input", "image", "features")
BINS = ("grad", "argmax")


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


def check_box_lists(group: Group) -> None:
    """Boxes per image, which the function numbers and joins."""
    case, _ = problem((ROI_ALIGN, ROI_ALIGN.few_options[0]))
    way = Way(group.mesh, "rois")
    lists = [case.boxes[:6, 1:], case.boxes[6:, 1:]]
    placed = [way.put(boxes, way.rows) for boxes in lists]
    options = case.op.python_args(case.options)
    output = case.op.function(way.put(case.maps[0], way.maps), placed, *options)
    same(output, case.op.function(case.maps[0], lists, *options), True, "results of box lists")


def check_channels_last(group: Group) -> None:
    case, _ = problem((ROI_ALIGN, ROI_ALIGN.few_options[0]))
    last = case.map(lambda m: m.to(memory_format=torch.channels_last))
    for dim in ("channels", "rois"):
        output = without_communication(call, Way(group.mesh, dim).case(last))
        same(output, call(last), True, f"results of channels_last by {dim}")


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


def check_compiled(dim: str, group: Group) -> None:
    case, grad = problem((ROI_ALIGN, ROI_ALIGN.few_options[0]))
    way = Way(group.mesh, dim)
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


def check_boxes(group: Group) -> None:
    """Suppression by images, overlaps by the boxes of either set; what does not fit is gathered."""
    mesh, size = group.mesh, group.mesh.size()
    generator = torch.Generator().manual_seed(3)
    boxes, scores = random_boxes(20 * size, generator)
    images = boxes.view(2 * size, 10, 4), scores.view(2 * size, 10)

    def put(tensor: Tensor, *placements: Any) -> Tensor:
        return distribute_tensor(tensor, mesh, list(placements))

    ops = torch.ops.roiops
    for op, args in (
        (ops.nms_padded, (0.3, 5)),
        (ops.soft_nms_padded, (5,)),
    ):
        expected = op(*images, *args)
        for got, wanted in zip(
            without_communication(op, *(put(t, Shard(0)) for t in images), *args),
            expected,
            strict=True,
        ):
            assert list(got.placements) == [Shard(0)], got.placements
            assert torch.equal(got.full_tensor(), wanted)
        gathered = op(*(put(t, Shard(1)) for t in images), *args)
        for got, wanted in zip(gathered, expected, strict=True):
            assert torch.equal(got.full_tensor(), wanted)
    keep = ops.nms_padded(put(boxes, Shard(0)), put(scores, Shard(0)), 0.3, 9)[0]
    assert torch.equal(keep.full_tensor(), ops.nms_padded(boxes, scores, 0.3, 9)[0])
    few = boxes[: 3 * size] + 1
    wanted = ops.box_iou(boxes, few)
    for first, second in ((Shard(0), Replicate()), (Replicate(), Shard(0))):
        got = without_communication(ops.box_iou, put(boxes, first), put(few, second))
        assert list(got.placements) == [Shard(0) if first == Shard(0) else Shard(1)]
        assert torch.equal(got.full_tensor(), wanted)
        check_overlaps_gradient(first, second, put, boxes, few)


def check_overlaps_gradient(
    first: Placement, second: Placement, put: Callable[..., Tensor], *pair: Tensor
) -> None:
    box_iou = torch.ops.roiops.box_iou
    single = [t.clone().requires_grad_() for t in pair]
    sharded = [put(t, p).requires_grad_() for t, p in zip(pair, (first, second), strict=True)]
    for leaves in (single, sharded):
        box_iou(*leaves).square().sum().backward()
    for got, wanted in zip(sharded, single, strict=True):
        same(got.grad, wanted.grad, exact=False, what="gradients of overlaps")


def check_registered(group: Group) -> None:
    """Every operator of the library has rules."""
    known = {op.name() for op in DTensor._op_dispatcher.sharding_propagator.op_strategy_funcs}
    names = {s.name for s in torch._C._jit_get_all_schemas() if s.name.startswith("roiops::")}
    assert names and names <= known, names - known


def checks(world: int) -> dict[str, Check]:
    """By name. Options and layouts are the business of other tests."""
    result: dict[str, Check] = {
        "registered": check_registered,
        "boxes": check_boxes,
        "mixed": check_mixed,
        "box_lists": check_box_lists,
        "channels_last": check_channels_last,
    }
    if world == 2:
        for dim in ("channels", "rois"):
            result[f"compiled-{dim}"] = partial(check_compiled, dim)

    def add(
        what: str, rows: list[Row], check: Callable[..., None], *args: Any, **more: Any
    ) -> None:
        def run(row: Row, square: bool, group: Group) -> None:
            check(row, group.square if square else group.mesh, *args, **more)

        square = what.startswith("square")
        for row in rows:
            result[f"{what}-{label(*row)}"] = partial(run, row, square)

    sensitive = [row for row in ROWS if row[0].position_sensitive]
    others = [row for row in ROWS if not row[0].position_sensitive]
    add("replicated", ROWS, check_sharded, ["replicated"])
    for dim in ("channels", "rois"):
        add(dim, ROWS, check_sharded, [dim])
        add(f"private-{dim}", ROWS, check_private, dim)
        add(f"second-{dim}", ROWS, check_second_order, dim)
        add(f"winners-{dim}", [r for r in ROWS if r[0].takes_maximum], check_winners, dim)
    add("redistributed", ROWS, check_redistributed)
    add("few", ROWS[:2], check_few_rois)
    add("torn", sensitive, check_torn_groups)
    if world == 4:
        # of 5 in shards of 2 the last has none
        add("empty-rois", ROWS, check_sharded, ["rois"], rois=5)
        add("empty-channels", others, check_sharded, ["channels"], exact=False, channels=5)
        add("square", ROWS, check_sharded, ["channels", "rois"])
        add("square-channels", ROWS, check_sharded, ["channels", "channels"])
    return result
