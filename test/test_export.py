"""torch.export and torch.compile: every size stays symbolic, and nothing is compiled twice."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest
import torch
from boxes import as_rois, edge_boxes
from expecttest import assert_expected_inline
from functorch.compile import make_boxed_func
from op_table import MEAN_BACKWARD, MEAN_BACKWARD_BOXES, Op, each_op
from tolerance import assert_close, assert_same_bits
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor.utils import fresh_cache
from torch.export import Dim

import roiops

BOTH = (True, True)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Net(torch.nn.Module):
    def __init__(self, op: Op) -> None:
        super().__init__()
        self.pool = op.module((7, 5), 0.5, 2, True)

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        return self.pool(input, rois)


def problem(n: int, k: int, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All sizes differ, so that none can stand for another."""
    generator = torch.Generator().manual_seed(k)
    x = torch.randn(n, 3, h, w, generator=generator)
    rois = as_rois(edge_boxes(h, w), 0.5, images=n, dtype=torch.float32)
    return x, rois[:k]


def dynamic_shapes() -> tuple[dict[int, Dim], dict[int, Dim]]:
    return {0: Dim("N"), 2: Dim("H"), 3: Dim("W")}, {0: Dim("K")}


def readable(program: torch.export.ExportedProgram, names: dict[str, torch.SymInt]) -> str:
    """Each node with its shape; symbols named after the sizes of the inputs, as they are numbered
    differently from one torch to the next."""
    renamed = {str(symbol): name for name, symbol in names.items()}
    lines = []
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            shape = ", ".join(renamed.get(str(s), str(s)) for s in value.shape)
            target = node.name if node.op == "placeholder" else node.target
            lines.append(f"{target}: [{shape}]")
    return "\n".join(lines)


def sizes_of(program: torch.export.ExportedProgram) -> dict[str, torch.SymInt]:
    inputs = [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder"]
    x, rois = (t for t in inputs if isinstance(t, torch.Tensor))
    return {"N": x.shape[0], "H": x.shape[2], "W": x.shape[3], "K": rois.shape[0]}


@each_op
@pytest.mark.parametrize("strict", [False, True], ids=("non_strict", "strict"))
def test_export_keeps_every_size_symbolic(op: Op, strict) -> None:
    net, example = Net(op), problem(2, 4, 11, 13)
    program = torch.export.export(net, example, dynamic_shapes=dynamic_shapes(), strict=strict)
    text = readable(program, sizes_of(program))
    assert_expected_inline(
        text,
        """\
input: [N, 3, H, W]
rois: [K, 5]
roiops.roi_align.default: [K, 3, 7, 5]""",
    )
    for sizes in ((5, 9, 6, 23), (3, 2, 31, 7)):
        inputs = problem(*sizes)
        assert_same_bits(program.module()(*inputs), net(*inputs))


@each_op
def test_export_of_a_data_dependent_number_of_boxes(op: Op) -> None:
    class Selected(Net):
        def forward(self, input, rois, scores):
            return self.pool(input, rois[(scores > 0).nonzero().squeeze(1)])

    x, rois = problem(2, 6, 11, 13)
    scores = torch.tensor([1.0, -1, 2, 3, -2, 1])
    program = torch.export.export(Selected(op), (x, rois, scores))
    text = readable(program, {})
    assert_expected_inline(
        text.splitlines()[-1],
        """roiops.roi_align.default: [u0, 3, 7, 5]""",
    )
    for sign in (1, -1, 0):  # four boxes, two, none
        inputs = x, rois, scores * sign
        assert_same_bits(program.module()(*inputs), Selected(op)(*inputs))


@each_op
def test_exported_program_survives_saving(op: Op) -> None:
    net, example = Net(op), problem(2, 4, 11, 13)
    program = torch.export.export(net, example, dynamic_shapes=dynamic_shapes())
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    loaded = torch.export.load(buffer)
    inputs = problem(3, 7, 9, 14)
    assert_same_bits(loaded.module()(*inputs), net(*inputs))


@each_op
def test_export_of_the_training_graph_is_one_node_each_way(op: Op) -> None:
    """Ahead-of-time autograd sees the operators, not their insides."""
    seen: list[str] = []

    def backend(graph, inputs):
        def compiler(graph, inputs):
            calls = [n for n in graph.graph.nodes if n.op == "call_function"]
            seen.extend(str(n.target) for n in calls if "roiops" in str(n.target))
            return make_boxed_func(graph.forward)

        return aot_autograd(fw_compiler=compiler)(graph, inputs)

    x, rois = problem(2, 4, 11, 13)
    run = torch.compile(Net(op), backend=backend, fullgraph=True)
    run(x.requires_grad_(), rois.requires_grad_()).sum().backward()
    assert seen == [str(o) for o in (op.overload, MEAN_BACKWARD, MEAN_BACKWARD_BOXES)]


def gradients(run: Callable, x: torch.Tensor, rois: torch.Tensor, needs: tuple[bool, bool]):
    x, rois = x.clone().requires_grad_(needs[0]), rois.clone().requires_grad_(needs[1])
    out = run(x, rois)
    leaves = [t for t in (x, rois) if t.requires_grad]
    return out, *(torch.autograd.grad(out, leaves, torch.ones_like(out)) if leaves else ())


@each_op
@pytest.mark.parametrize(
    "needs",
    [(False, False), (True, False), (False, True), (True, True)],
    ids=("forward", "backward", "backward_boxes", "backward_both"),
)
@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=("contiguous", "channels_last")
)
def test_compile_does_not_recompile_for_new_sizes(op: Op, needs, layout) -> None:
    net = Net(op)
    counter = CompileCounterWithBackend("aot_eager")
    run = torch.compile(net, backend=counter, fullgraph=True, dynamic=True)
    x, rois = problem(2, 4, 11, 13)
    gradients(run, x.to(memory_format=layout), rois, needs)
    # Not 1: the float in the module restarts the analysis of the first call once.
    compiled = counter.frame_count
    for sizes in ((3, 9, 6, 23), (5, 2, 31, 7), (4, 5, 12, 3)):
        x, rois = problem(*sizes)
        x = x.to(memory_format=layout)
        for got, expected in zip(
            gradients(run, x, rois, needs), gradients(net, x, rois, needs), strict=True
        ):
            assert got.stride() == expected.stride()
            assert_same_bits(got, expected)
    assert counter.frame_count == compiled


@each_op
def test_compile_of_the_list_form(op: Op) -> None:
    def run(x, a, b):
        return op.function(x, [a, b], 3, 0.5)

    x, rois = problem(2, 7, 11, 13)
    compiled = torch.compile(run, backend="aot_eager", fullgraph=True, dynamic=True)
    for a, b in ((rois[:4, 1:], rois[4:, 1:]), (rois[:2, 1:], rois[2:, 1:])):
        assert_same_bits(compiled(x, a, b), run(x, a, b))


@each_op
def test_compiled_autograd(op: Op) -> None:
    """The Node describes itself to compiled autograd, in which its scalars are symbolic."""
    net = Net(op)
    with torch._dynamo.utils.maybe_enable_compiled_autograd(True, fullgraph=True, dynamic=True):
        for sizes in ((2, 4, 11, 13), (3, 9, 6, 23)):
            x, rois = (t.requires_grad_() for t in problem(*sizes))
            net(x, rois).square().sum().backward()
            expected = gradients(lambda *a: net(*a).square(), x.detach(), rois.detach(), BOTH)
            assert_same_bits(x.grad, expected[1])
            assert_same_bits(rois.grad, expected[2])


@each_op
@pytest.mark.skipif(sys.platform == "win32", reason="inductor needs a C++ compiler on the path")
def test_compile_with_inductor(op: Op) -> None:
    class Head(Net):
        def forward(self, input, rois):
            return (self.pool(input.relu(), rois) * 2).relu()

    head = Head(op)
    run = torch.compile(head, fullgraph=True, dynamic=True)
    for sizes in ((2, 4, 11, 13), (3, 9, 6, 23)):
        x, rois = problem(*sizes)
        with fresh_cache():  # a cached graph may call the operators of another build
            got = gradients(run, x, rois, BOTH)
        for result, expected in zip(got, gradients(head, x, rois, BOTH), strict=True):
            exact = expected.detach().double()
            assert_close(result, exact, 100 * float(exact.abs().max()))


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
    inputs = problem(2, 4, 11, 13)
    assert_same_bits(traced(*inputs), cls()(*inputs))
