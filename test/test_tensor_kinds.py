"""Tensors of other kinds, and modules that are copied: what carries a call must not matter."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from box_ops import random_boxes, random_rotated, results_of, sample_calls
from cases import Case
from op_table import Op, each_op
from test_processes import problem
from tolerance import assert_same_bits
from torch import Tensor
from torch.utils._pytree import tree_map

import roiops


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


def box_calls(change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Of functions of boxes alone, of changed tensors."""
    generator = torch.Generator().manual_seed(3)
    upright, rotated = (make(40, generator) for make in (random_boxes, random_rotated))
    calls = sample_calls(upright, rotated)
    return {
        name: (f, tuple(change(a) if isinstance(a, Tensor) else a for a in arguments))
        for name, (f, arguments) in calls.items()
    }


each_box_function = pytest.mark.parametrize("name", box_calls(torch.clone))


@each_box_function
def test_boxes_of_a_subclass(name: str) -> None:
    expected = results_of(box_calls(torch.clone)[name])
    for out, plain in zip(
        results_of(box_calls(lambda t: t.as_subclass(Named))[name]), expected, strict=True
    ):
        assert type(out) is Named
        assert_same_bits(out.as_subclass(Tensor), plain)
    function, arguments = box_calls(lambda t: t.as_subclass(Logged))[name]
    Logged.calls.clear()
    function(*arguments)
    assert Logged.calls[0] in (function, torch.ops.roiops.soft_nms_padded.default)
    for out, plain in zip(results_of(box_calls(Wrapped)[name]), expected, strict=True):
        assert type(out) is Wrapped
        assert_same_bits(out.inner, plain)


@each_box_function
def test_boxes_in_inference_mode_and_in_parameters(name: str) -> None:
    expected = results_of(box_calls(torch.clone)[name])

    def parameter(tensor: Tensor) -> Tensor:
        return torch.nn.Parameter(tensor, tensor.is_floating_point())

    with torch.inference_mode():
        born_here = box_calls(torch.clone)[name]
    for call in (born_here, box_calls(parameter)[name]):
        for out, plain in zip(results_of(call), expected, strict=True):
            assert_same_bits(out.detach(), plain)


def test_the_gradient_by_a_subclass_and_a_parameter_of_boxes() -> None:
    _, (boxes, _) = box_calls(torch.clone)["box_iou"]
    plain = boxes.clone().requires_grad_()
    roiops.box_iou(plain, boxes).sum().backward()
    for leaf in (torch.nn.Parameter(boxes), boxes.as_subclass(Named).requires_grad_()):
        roiops.box_iou(leaf, boxes).sum().backward()
        assert_same_bits(leaf.grad.as_subclass(Tensor), plain.grad)
    wrapped = Wrapped(boxes).requires_grad_()
    ious = roiops.box_iou(wrapped, Wrapped(boxes))
    (gradient,) = torch.autograd.grad(ious, wrapped, Wrapped(torch.ones(len(boxes), len(boxes))))
    assert_same_bits(gradient.inner, plain.grad)
