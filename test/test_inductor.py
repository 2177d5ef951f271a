"""torch.compile with Inductor: one compilation for all sizes, forward and backward, in the strides
that eager has. What the operators' neighbours in a model compute is C++ that Inductor writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from cases import Case
from op_table import OPS, ROI_ALIGN, Op, each_op
from test_export import gradients, net_of, problem
from tolerance import assert_close, assert_same_bits
from torch._dynamo.utils import counters

# The first compiles, with sizes that differ from each other and from a box's number of columns.
SIZES = ((8, 11, 20, 23), (3, 9, 12, 23), (5, 2, 31, 14))

each_layout = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=("contiguous", "channels_last")
)


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def case_of(op: Op, sizes: tuple[int, int, int, int], layout: torch.memory_format) -> Case:
    return problem(op, *sizes).map(lambda m: m.to(memory_format=layout))


@each_op
@each_layout
def test_no_recompilation_for_new_sizes(op: Op, layout) -> None:
    net = net_of(op)
    run = torch.compile(net, fullgraph=True, dynamic=True)
    stats = []
    for sizes in SIZES:
        case = case_of(op, sizes, layout)
        for got, expected in zip(gradients(run, case), gradients(net, case), strict=True):
            assert got.stride() == expected.stride()
            assert_same_bits(got, expected)
        # Not 1: the float in the module restarts the analysis of the first call once.
        stats.append((counters["stats"]["unique_graphs"], counters["aot_autograd"]["total"]))
    assert stats[0][0] >= 1 and stats[1:] == stats[:1] * 2


@each_layout
def test_the_operator_between_generated_layers(layout) -> None:
    """Inductor may choose a layout for what it generates, but not for what the operator reads."""
    net = net_of(ROI_ALIGN)

    def head(x, boxes):
        pooled = net(x.sin() * 2, boxes)
        return pooled, pooled.square().sigmoid()

    run = torch.compile(head, fullgraph=True, dynamic=True)
    for sizes in SIZES[:2]:
        case = case_of(ROI_ALIGN, sizes, layout)
        results = []
        for call in (run, head):
            leaves = case.leaves()
            pooled, out = call(*leaves.tensors)
            assert pooled.is_contiguous(memory_format=layout)
            results.append([pooled, out, *torch.autograd.grad(out.sum(), leaves.trainable)])
        for got, expected in zip(*results, strict=True):
            assert got.stride() == expected.stride()
            exact = expected.detach().double()
            assert_close(got, exact, 100 * float(exact.abs().max()))
    assert counters["stats"]["unique_graphs"] == 1


class EveryOperator(torch.nn.Module):
    """On the tensors of one call of each, in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = torch.nn.ModuleList(net_of(op) for op in OPS)

    def forward(self, *tensors):
        results, start = [], 0
        for op, net in zip(OPS, self.nets, strict=True):
            end = start + op.levels + 1 + op.takes_extra
            results.append(net(*tensors[start:end]))
            start = end
        return results


def test_a_compiled_package_of_every_operator(tmp_path) -> None:
    def cases(*sizes: int) -> list[Case]:
        return [problem(op, *sizes) for op in OPS]

    def tensors(cases: list[Case]) -> tuple[torch.Tensor, ...]:
        return tuple(t for case in cases for t in case.tensors)

    example = tensors(cases(2, 4, 15, 17))
    any_size = {4: (0, 2, 3), 2: (0,), 1: (0,)}  # of maps and offsets, boxes, indices
    shapes = [dict.fromkeys(any_size[t.dim()], torch.export.Dim.AUTO) for t in example]
    program = torch.export.export(EveryOperator(), example, dynamic_shapes=(tuple(shapes),))
    # Quick to compile, where the default is quick to run.
    configs = {"aot_inductor.compile_wrapper_opt_level": "O0"}
    file = torch._inductor.aoti_compile_and_package(
        program, package_path=str(tmp_path / "package.pt2"), inductor_configs=configs
    )
    run = torch._inductor.aoti_load_package(file)
    for sizes in ((2, 4, 15, 17), (5, 9, 12, 23), (3, 1, 31, 14), (2, 0, 8, 9)):
        expected = [case() for case in cases(*sizes)]
        for got, exact in zip(run(*tensors(cases(*sizes))), expected, strict=True):
            assert_same_bits(got, exact)
