"""A call whose tensors are sharded over a device mesh, and the comparison with the whole call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from boxes import edge_boxes, inside_boxes
from cases import Case, Options, grad_of, make_case
from op_table import DEFORM_ROI_POOL, OPS, Op
from tolerance import assert_close, assert_same_bits
from torch import Tensor
from torch.distributed.tensor import Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode

Row = tuple[Op, Options]
# One call of each operator; with offsets, and without.
ROWS: list[Row] = [(op, op.few_options[0]) for op in OPS]
ROWS.append((DEFORM_ROI_POOL, DEFORM_ROI_POOL.few_options[-1]))
SIZE = (9, 8)
BOXES = list((inside_boxes(*SIZE) | edge_boxes(*SIZE)).items())[::2]


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
