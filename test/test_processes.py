"""Processes, threads, and tensors of other kinds: what surrounds a call must not matter."""

from __future__ import annotations

import copy
import io
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from boxes import finite_boxes
from cases import Case, grad_of, make_case
from child_process import Crops, share_results
from op_table import OPS, Op, each_op
from tolerance import assert_same_bits
from torch import Tensor
from torch.utils._pytree import tree_map

import roiops

H, W = 11, 13
SECONDS = 120  # of a process that hangs


def problem(op: Op) -> tuple[Case, Tensor]:
    """So small that PyTorch's own operators use one thread, and ours all."""
    generator = torch.Generator().manual_seed(3)
    boxes = dict(list(finite_boxes(H, W).items())[::4])
    case = make_case(
        op, op.few_options[0], generator, (H, W), boxes,
        channels=4 if op.position_sensitive else 20, dtype=torch.float32,
    )  # fmt: skip
    return case, grad_of(case, generator)


def everything(op: Op) -> list[Tensor]:
    """Forward, by autograd and by the operators themselves."""
    case, grad = problem(op)
    leaves = case.leaves()
    out = leaves()
    return [out.detach(), *torch.autograd.grad(out, leaves.trainable, grad), *case.gradients(grad)]


def every_operator() -> list[Tensor]:
    return [tensor for op in OPS for tensor in everything(op)]


def same(actual: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def fork_after_use() -> None:
    """Run by the test below: the child has none of the parent's OpenMP threads, for which PyTorch's
    own operators wait in vain."""
    torch.set_num_threads(4)
    expected = every_operator()
    for threads in (None, 1, 3):
        child = os.fork()
        if child == 0:
            if threads:
                torch.set_num_threads(threads)
            os._exit(0 if same(every_operator(), expected) else 7)
        assert os.waitpid(child, 0)[1] == 0, threads
    assert same(every_operator(), expected)  # the parent goes on with its own


def in_python(statement: str, **environment: str) -> None:
    code = f"import test_processes as t; {statement}"
    folder = Path(__file__).parent  # in the root Python would import the sources
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        timeout=SECONDS, env=os.environ | environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_made_by_fork_after_use_can_call_every_operator() -> None:
    in_python("t.fork_after_use()")


def start_children() -> None:
    """Run by the test below, in a process whose threads are at work when it forks."""
    case, _ = problem(OPS[0])
    maps, boxes = case.maps[0].clone().share_memory_(), case.boxes.clone().share_memory_()
    leaf = maps.clone().requires_grad_()
    expected = roiops.roi_align(leaf, boxes, 3)
    expected.sum().backward()
    for method in multiprocessing.get_all_start_methods():
        context = torch.multiprocessing.get_context(method)
        results, received = context.Queue(), context.Event()
        child = context.Process(target=share_results, args=(maps, boxes, results, received))
        child.start()
        got = [results.get(timeout=SECONDS) for _ in range(2)]
        assert same(got, [expected.detach(), leaf.grad]), method
        received.set()
        child.join()
        assert child.exitcode == 0, method


def test_children_of_every_kind_share_tensors() -> None:
    in_python("t.start_children()")


def load_crops() -> None:
    """Run by the test below."""
    every_operator()
    loader = torch.utils.data.DataLoader(Crops(), batch_size=2, num_workers=2)
    batches = torch.cat(list(loader))
    assert torch.allclose(batches[:, 0, 0, 0], torch.arange(8.0))


def test_workers_of_a_data_loader() -> None:
    in_python("t.load_crops()")


def test_many_threads_of_python_at_once() -> None:
    """Each calls every operator, beginning with another one."""
    expected = {op.name: everything(op) for op in OPS}

    def work(first: int) -> list[str]:
        turn = [*OPS[first:], *OPS[:first]] * 2
        return [op.name for op in turn if not same(everything(op), expected[op.name])]

    with ThreadPoolExecutor(8) as pool:
        wrong = list(pool.map(work, [i % len(OPS) for i in range(16)]))
    assert [names for names in wrong if names] == []


@each_op
def test_inference_mode_changes_nothing(op: Op) -> None:
    case, _ = problem(op)
    expected = case()
    with torch.inference_mode():
        assert_same_bits(case(), expected)
        born_here = case.map(torch.clone)
        assert_same_bits(born_here(), expected)
    assert born_here.maps[0].is_inference()
    assert_same_bits(born_here().clone(), expected)  # outside of it


class Named(torch.Tensor):
    """Keeps its class, by the default rule of __torch_function__."""


class Logged(torch.Tensor):
    """Records the calls that it is in, by __torch_function__."""

    calls: ClassVar[list[Callable[..., Any]]] = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.calls.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


class Wrapped(torch.Tensor):
    """Holds another tensor, by __torch_dispatch__."""

    @staticmethod
    def __new__(cls, inner: Tensor):
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=inner.device,
            requires_grad=inner.requires_grad,
        )  # fmt: skip

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        def unwrap(value: Any) -> Any:
            return value.inner if isinstance(value, cls) else value

        result = func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs or {}))
        return tree_map(lambda v: cls(v) if isinstance(v, Tensor) else v, result)


def function_of(case: Case) -> Tensor:
    result: Tensor = case.op.function(
        *case.leading(list(case.maps)), *case.op.python_args(case.options)
    )
    return result


@each_op
def test_a_subclass_is_kept_and_sees_one_call(op: Op) -> None:
    case, grad = problem(op)
    expected = case()
    out = function_of(case.map(lambda m: m.as_subclass(Named)))
    assert type(out) is Named
    assert_same_bits(out.as_subclass(Tensor), expected)
    Logged.calls.clear()
    out = function_of(case.map(lambda m: m.as_subclass(Logged)))
    assert type(out) is Logged and Logged.calls[0] is op.function
    leaf = case.map(lambda m: m.as_subclass(Named).requires_grad_())
    leaf().backward(grad)
    for m, gradient in zip(leaf.maps, case.input_gradients(grad), strict=True):
        assert_same_bits(m.grad.as_subclass(Tensor), gradient)


@each_op
def test_a_wrapper_subclass_is_taken_apart_below_autograd(op: Op) -> None:
    case, grad = problem(op)
    wrapped = case.map(lambda m: Wrapped(m).requires_grad_())
    out = function_of(wrapped)
    assert type(out) is Wrapped
    assert_same_bits(out.inner, case())
    gradients = torch.autograd.grad(out, wrapped.maps, Wrapped(grad))
    for actual, expected in zip(gradients, case.input_gradients(grad), strict=True):
        assert_same_bits(actual.inner, expected)


@each_op
def test_parameters_are_tensors(op: Op) -> None:
    case, grad = problem(op)
    leaf = case.map(torch.nn.Parameter)
    function_of(leaf).backward(grad)
    for m, gradient in zip(leaf.maps, case.input_gradients(grad), strict=True):
        assert_same_bits(m.grad, gradient)


class Head(torch.nn.Module):
    """What a model does with an operator's module."""

    def __init__(self, pool: torch.nn.Module, channels: int) -> None:
        super().__init__()
        self.pool, self.weight = pool, torch.nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, *leading: Any) -> Tensor:
        return self.pool(*leading) * self.weight


@each_op
def test_a_model_with_a_module_is_copied_and_saved(op: Op) -> None:
    case, _ = problem(op)
    leading = case.leading(list(case.maps))
    model = Head(op.module(*op.python_args(case.options)), case.output_channels)
    with torch.no_grad():
        model.weight.copy_(torch.arange(case.output_channels).view(-1, 1, 1))
    expected = model(*leading)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    other = Head(op.module(*op.python_args(case.options)), case.output_channels)
    other.load_state_dict(model.state_dict())
    for twin in (copy.deepcopy(model), torch.load(file, weights_only=False), other):
        assert_same_bits(twin(*leading), expected)
