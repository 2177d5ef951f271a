"""What autograd offers around a graph: saved tensors, checkpoints, hooks, versions, anomalies."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from boxes import edge_boxes
from cases import Case, make_case
from op_table import Op, each_op
from tolerance import assert_same_bits
from torch.autograd.graph import (
    allow_mutation_on_saved_tensors,
    get_gradient_edge,
    save_on_cpu,
    saved_tensors_hooks,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

H, W = 9, 8


def problem(op: Op, device: str, generator: torch.Generator) -> Case:
    case = make_case(op, op.few_options[0], generator, (H, W), edge_boxes(H, W), device=device)
    return case.leaves()


def gradients(out: torch.Tensor, case: Case, **rest) -> list[torch.Tensor]:
    return list(torch.autograd.grad(out, case.trainable, torch.ones_like(out), **rest))


def assert_same(actual: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    for a, b in zip(actual, expected, strict=True):
        assert_same_bits(a, b)


class Calls(TorchDispatchMode):
    """Counts how often the operator reaches its kernel."""

    def __init__(self, op: Op) -> None:
        super().__init__()
        self.op, self.count = op, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is self.op.overload
        return func(*args, **(kwargs or {}))


@each_op
def test_saved_tensor_hooks(op: Op, device, generator) -> None:
    """All that a node keeps passes through them, and comes back from them."""
    case, packed, unpacked = problem(op, device, generator), [], []

    def pack(tensor):
        packed.append(tensor)
        return tensor.clone(), tensor.shape

    def unpack(stored):
        unpacked.append(stored[1])
        return stored[0]

    with saved_tensors_hooks(pack, unpack):
        out = case()
    shapes = [t.shape for t in packed]
    assert shapes and unpacked == []
    expected = gradients(case(), case)
    with torch.no_grad():  # the graph has the copies
        for tensor in case.tensors:
            tensor.zero_()
    assert_same(gradients(out, case), expected)
    assert sorted(unpacked) == sorted(shapes)


@each_op
def test_the_maps_are_kept_for_the_boxes_only(op: Op, device, generator) -> None:
    case, kept = problem(op, device, generator), []
    rest = (False,) * (len(case.needs) - len(case.maps))
    for needs in ((True,) * len(case.maps) + rest, case.needs):
        case, packed = case.leaves(needs), []
        with saved_tensors_hooks(lambda t, packed=packed: packed.append(t), lambda t: t):
            case()
        addresses = {t.data_ptr() for t in packed}
        kept.append([m.data_ptr() in addresses for m in case.maps])
    by_boxes = op.differentiates_boxes(case.options) or case.has_offset
    assert kept == [[False] * op.levels, [by_boxes] * op.levels]


@each_op
def test_save_on_cpu(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    with save_on_cpu():
        out = case()
    assert_same(gradients(out, case), gradients(case(), case))


@each_op
@pytest.mark.parametrize("use_reentrant", [False, True], ids=("non_reentrant", "reentrant"))
def test_checkpoint(op: Op, use_reentrant, device, generator) -> None:
    case = problem(op, device, generator)

    def head(*tensors):
        return case.run(*(m.sin() for m in tensors[: op.levels]), *tensors[op.levels :]).cos()

    with Calls(op) as calls:
        out = checkpoint(head, *case.tensors, use_reentrant=use_reentrant)
        assert calls.count == 1
        out.sum().backward()  # a reentrant checkpoint knows no other way
        assert calls.count == 2
    expected = torch.autograd.grad(head(*case.tensors).sum(), case.trainable)
    assert_same([t.grad for t in case.trainable], expected)


@each_op
def test_selective_checkpoint_keeps_the_result(op: Op, device, generator) -> None:
    """A policy can name an operator whose result is kept instead of computed again."""
    case = problem(op, device, generator)

    def head(*tensors):
        return case.run(*tensors).cos().sin()

    def contexts():
        return create_selective_checkpoint_contexts([op.overload])

    with Calls(op) as calls:
        out = checkpoint(head, *case.tensors, use_reentrant=False, context_fn=contexts)
        got = gradients(out, case)
    assert calls.count == 1
    assert_same(got, gradients(head(*case.tensors), case))


@each_op
def test_a_graph_is_used_as_often_as_it_is_kept(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    out = case()
    first = gradients(out, case, retain_graph=True)
    assert_same(gradients(out, case, retain_graph=True), first)
    assert_same(gradients(out, case), first)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        gradients(out, case)


@each_op
def test_a_kept_tensor_must_not_change(op: Op, device, generator) -> None:
    """The version counter: an error, not the gradient of other values."""
    example = problem(op, device, generator)
    for number in range(len(example.tensors)):
        case = example.leaves()
        result = case.result()
        with torch.no_grad():
            case.tensors[number].add_(0)
        is_map = number < op.levels
        if is_map and not op.differentiates_boxes(case.options):
            gradients(case.run(*case.tensors), case)
            continue
        out = result[0] if op.takes_maximum else result
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            gradients(out, case)
    if op.takes_maximum:
        out, winners = example.result()
        winners.add_(0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            gradients(out, example)


@each_op
def test_mutation_of_kept_tensors_where_it_is_allowed(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    expected = gradients(case(), case)
    copies = [t.clone() for t in case.tensors]  # a leaf itself must not be changed
    with allow_mutation_on_saved_tensors():
        out = case.run(*copies)
        for tensor in copies:
            tensor.mul_(0)
        assert_same(gradients(out, case), expected)


@each_op
def test_the_result_may_change_in_place(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    expected = [2 * g for g in gradients(case(), case)]
    out = case()
    out.mul_(2)
    assert_same(gradients(out, case), expected)


@each_op
def test_hooks_of_the_node(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    expected = gradients(case(), case)
    out = case()
    node, seen = out.grad_fn, []
    assert node.name() == ("RoiMaxBackward" if op.takes_maximum else "RoiMeanBackward")
    accumulators = {f.variable.data_ptr() for f, _ in node.next_functions if f is not None}
    assert accumulators == {t.data_ptr() for t in case.trainable}
    node.register_prehook(lambda grads: tuple(g if g is None else 2 * g for g in grads))
    node.register_hook(lambda results, grads: seen.append((results, grads)))
    got = gradients(out, case, retain_graph=True)
    assert_same(got, [2 * g for g in expected])
    ((results, grads),) = seen
    assert_same([r for r in results if r is not None], got)
    assert_same_bits(grads[0], torch.full_like(out, 2))
    edge = get_gradient_edge(out)
    by_edge = torch.autograd.grad(edge, case.trainable, torch.ones_like(out))
    assert_same(by_edge, got)


@each_op
def test_anomaly_mode_names_the_node(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    expected = gradients(case(), case)
    with torch.autograd.set_detect_anomaly(True):
        out = case()
        assert_same(gradients(out, case, retain_graph=True), expected)
        kind = "Max" if op.takes_maximum else "Mean"
        with (
            pytest.warns(UserWarning, match=f"Error detected in Roi{kind}Backward.*Traceback"),
            pytest.raises(RuntimeError, match=f"'Roi{kind}Backward' returned nan values"),
        ):
            torch.autograd.grad(out, case.trainable, torch.full_like(out, torch.nan))


@each_op
def test_tensors_of_inference_mode_cannot_be_kept(op: Op, device, generator) -> None:
    """PyTorch's own rule and words: a copy outside the mode is an ordinary tensor."""
    case = problem(op, device, generator)
    with torch.inference_mode():
        boxes = case.boxes.clone()
    rest = case.tensors[op.levels + 1 :]
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        case.run(*case.maps, boxes, *rest)
    assert case.run(*case.maps, boxes.clone(), *rest).grad_fn is not None
