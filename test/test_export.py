"""torch.export and torch.compile without a code generator (test_inductor.py has it): every size
stays symbolic, and nothing is compiled twice."""

from __future__ import annotations

import io
import operator

import pytest
import torch
from boxes import edge_boxes
from cases import Case, Options, make_case
from functorch.compile import make_boxed_func
from op_table import ROI_ALIGN, Op, each_op
from tolerance import assert_same_bits
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters
from torch.export import Dim

import roiops

OPTIONS = Options((7, 5), 0.5, 2, True)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Net(torch.nn.Module):
    def __init__(self, op: Op) -> None:
        super().__init__()
        self.pool = op.module(*op.python_args(OPTIONS))

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.pool(*tensors)


class PyramidNet(Net):
    def forward(self, a, b, c, boxes):
        return self.pool([a, b, c], boxes)


def net_of(op: Op) -> Net:
    return (PyramidNet if op.pyramid else Net)(op)


def problem(op: Op, n: int, k: int, h: int, w: int) -> Case:
    """All sizes differ, so that none can stand for another."""
    generator = torch.Generator().manual_seed(k)
    boxes = dict(list(edge_boxes(h, w).items())[:k])
    return make_case(op, OPTIONS, generator, (h, w), boxes, n, 3, dtype=torch.float32)


def dynamic_shapes(case: Case) -> tuple[dict[int, Dim], ...]:
    n, k = Dim("N"), Dim("K")
    maps = [{0: n, 2: Dim(f"H{i}"), 3: Dim(f"W{i}")} for i in range(len(case.maps))]
    return (*maps, *({0: k} for _ in case.tensors[len(maps) :]))


def export(net: torch.nn.Module, case: Case, **rest):
    shapes = dynamic_shapes(case)
    if not case.op.pyramid:
        shapes = (shapes,)  # of *tensors
    return torch.export.export(net, case.tensors, dynamic_shapes=shapes, **rest)


@each_op
@pytest.mark.parametrize("strict", [False, True], ids=("non_strict", "strict"))
def test_export_keeps_every_size_symbolic(op: Op, strict) -> None:
    net, example = net_of(op), problem(op, 2, 4, 15, 17)
    program = export(net, example, strict=strict)
    calls = [n.target for n in program.graph.nodes if n.op == "call_function"]
    assert [c for c in calls if c is not operator.getitem] == [op.overload]
    inputs = [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder"]
    tensors = [t for t in inputs if isinstance(t, torch.Tensor)]
    boxes = tensors[len(example.maps)]
    (output,) = program.graph.output_node().args[0]
    assert str(output.meta["val"].shape[0]) == str(boxes.shape[0])
    assert isinstance(boxes.shape[0], torch.SymInt)
    for sizes in ((5, 9, 12, 23), (3, 2, 31, 14)):
        case = problem(op, *sizes)
        assert_same_bits(program.module()(*case.tensors), case())


@each_op
def test_exported_program_survives_saving(op: Op) -> None:
    buffer = io.BytesIO()
    torch.export.save(export(net_of(op), problem(op, 2, 4, 15, 17)), buffer)
    buffer.seek(0)
    case = problem(op, 3, 7, 9, 14)
    assert_same_bits(torch.export.load(buffer).module()(*case.tensors), case())


@each_op
def test_export_of_a_data_dependent_number_of_boxes(op: Op) -> None:
    class Selected(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net_of(op)

        def forward(self, *tensors):
            *maps, boxes, scores = tensors if not op.takes_extra else (*tensors[:-2], tensors[-1])
            keep = (scores > 0).nonzero().squeeze(1)
            rest = [tensors[-2][keep]] if op.takes_extra else []
            return self.net(*maps, boxes[keep], *rest)

    case = problem(op, 2, 6, 15, 17)
    scores = torch.tensor([1.0, -1, 2, 3, -2, 1])
    program = torch.export.export(Selected(), (*case.tensors, scores))
    for sign in (1, -1, 0):  # four boxes, two, none
        expected = case.rows((scores * sign > 0).nonzero().squeeze(1))()
        assert_same_bits(program.module()(*case.tensors, scores * sign), expected)


@each_op
def test_export_of_the_training_graph_is_one_node_each_way(op: Op) -> None:
    """Ahead-of-time autograd sees the operators, not their insides; a level is one call."""
    seen: list[str] = []

    def backend(graph, inputs):
        def compiler(graph, inputs):
            calls = [n for n in graph.graph.nodes if n.op == "call_function"]
            seen.extend(str(n.target) for n in calls if "roiops" in str(n.target))
            return make_boxed_func(graph.forward)

        return aot_autograd(fw_compiler=compiler)(graph, inputs)

    case = problem(op, 2, 4, 15, 17).leaves()
    run = torch.compile(net_of(op), backend=backend, fullgraph=True)
    run(*case.tensors).sum().backward()
    each_level = list(op.private[1 : 2 + op.differentiates_boxes(OPTIONS)])
    assert seen == [str(o) for o in (op.overload, *each_level * op.levels)]


def gradients(run, case: Case) -> list[torch.Tensor]:
    leaves = case.leaves()
    out = run(*leaves.tensors)
    return [out, *torch.autograd.grad(out, leaves.trainable, torch.ones_like(out))]


@each_op
@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=("contiguous", "channels_last")
)
def test_compile_does_not_recompile_for_new_sizes(op: Op, layout) -> None:
    net = net_of(op)
    counter = CompileCounterWithBackend("aot_eager")
    run = torch.compile(net, backend=counter, fullgraph=True, dynamic=True)

    def case_of(*sizes: int) -> Case:
        return problem(op, *sizes).map(lambda m: m.to(memory_format=layout))

    # No size is that of a column (4, 5, 6) or of an offset (2): equal sizes share a symbol.
    gradients(run, case_of(8, 11, 20, 23))
    # Not 1: the float in the module restarts the analysis of the first call once.
    compiled = counter.frame_count
    for sizes in ((3, 9, 12, 23), (5, 2, 31, 14)):
        case = case_of(*sizes)
        for got, expected in zip(gradients(run, case), gradients(net, case), strict=True):
            assert got.stride() == expected.stride()
            assert_same_bits(got, expected)
    assert counter.frame_count == compiled


@each_op
@pytest.mark.parametrize("both", [False, True], ids=("one_size", "two_sizes"))
def test_compile_of_the_function_with_a_size_that_changes(op: Op, both) -> None:
    """The number of bins is a symbol too."""
    counter = CompileCounterWithBackend("aot_eager")
    run = torch.compile(op.function, backend=counter, fullgraph=True, dynamic=True)
    compiled = []
    for number, sizes in enumerate(((8, 11, 20, 23), (3, 9, 12, 23), (5, 2, 31, 14))):
        size = (7, 9 - 2 * number) if both else (7 if op.position_sensitive else 7 - number,) * 2
        case = problem(op, *sizes).with_options(output_size=size)
        if op.has_offset:
            offset = torch.zeros(len(case.boxes), 2, *size)
            case = case.of(*case.maps, case.boxes, offset)
        if op.position_sensitive:
            case = case.map(lambda m, n=size[0] * size[1]: m[:, :1].repeat(1, 3 * n, 1, 1))
        given = size if both else size[0]
        rest = op.python_args(case.options)[1:]
        got = run(*case.leading(list(case.maps)), given, *rest)
        assert_same_bits(got, case())
        compiled.append(counter.frame_count)
    assert compiled[0] == compiled[2]


@each_op
def test_compiled_autograd(op: Op) -> None:
    """The Node describes itself to compiled autograd, in which its scalars are symbolic."""
    net = net_of(op)
    cases = [problem(op, *sizes) for sizes in ((2, 4, 15, 17), (3, 9, 12, 23), (2, 5, 31, 14))]
    expected = [gradients(lambda *a: net(*a).square(), case)[1:] for case in cases]
    counters["compiled_autograd"].clear()
    with torch._dynamo.utils.maybe_enable_compiled_autograd(True, fullgraph=True, dynamic=True):
        for case, exact in zip(cases, expected, strict=True):
            leaves = case.leaves()
            net(*leaves.tensors).square().sum().backward()
            for leaf, gradient in zip(leaves.trainable, exact, strict=True):
                assert_same_bits(leaf.grad, gradient)
    assert counters["compiled_autograd"]["captures"] == 1


class CallsFunction(torch.nn.Module):
    def forward(self, x, boxes):
        return roiops.roi_align(x, boxes, (7, 5), 0.5, 2, True)


class CallsModule(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = roiops.RoIAlign((7, 5), 0.5, 2, True)

    def forward(self, x, boxes):
        return self.pool(x, boxes)


@pytest.mark.parametrize("cls", [CallsFunction, CallsModule], ids=lambda c: c.__name__)
def test_symbolic_trace_keeps_the_function_as_a_leaf(cls) -> None:
    traced = torch.fx.symbolic_trace(cls())
    calls = [n.target for n in traced.graph.nodes if n.op == "call_function"]
    assert calls == [roiops.roi_align]
    inputs = problem(ROI_ALIGN, 2, 4, 11, 13).tensors
    assert_same_bits(traced(*inputs), cls()(*inputs))
