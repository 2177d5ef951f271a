"""TorchScript: script, trace, freeze, save and load, of functions and modules."""

from __future__ import annotations

import io

import pytest
import torch
from boxes import as_rois, edge_boxes
from cases import Options, make_case
from fixtures.make_torchscript import FILE, EveryOperator, inputs
from op_table import OPS, Op, each_op
from tolerance import assert_close, assert_same_bits
from torch import Tensor

import roiops

H, W = 9, 8


class OfTensor(torch.nn.Module):
    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        return roiops.roi_align(x, boxes, (3, 5), 0.5, 2, True)


class OfList(torch.nn.Module):
    def forward(self, x: Tensor, boxes: list[Tensor]) -> Tensor:
        return roiops.roi_align(x, boxes, (3, 5), 0.5, 2, True)


class OfDefaults(torch.nn.Module):
    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        return roiops.roi_align(x, boxes, 3)


class ModuleOfTensor(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = roiops.RoIAlign((3, 5), 0.5, 2, True)

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        return self.pool(x, boxes)


class ModuleOfList(ModuleOfTensor):
    def forward(self, x: Tensor, boxes: list[Tensor]) -> Tensor:
        return self.pool(x, boxes)


MODULES = [OfTensor, OfList, OfDefaults, ModuleOfTensor, ModuleOfList]
every_module = pytest.mark.parametrize("cls", MODULES, ids=lambda c: c.__name__)


def inputs_of(cls: type, seed: int = 0) -> tuple:
    x = torch.randn(2, 3, H, W, generator=torch.Generator().manual_seed(seed))
    rois = as_rois(edge_boxes(H, W), 0.5, dtype=torch.float32)
    per_image = [rois[rois[:, 0] == image, 1:] for image in (0, 1)]
    return x, per_image if "List" in cls.__name__ else rois


def through_a_file(script: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def assert_same_as_eager(script, cls: type) -> None:
    x, boxes = inputs_of(cls, seed=1)
    assert_same_bits(script(x, boxes), cls()(x, boxes))
    by_script, by_eager = x.clone().requires_grad_(), x.clone().requires_grad_()
    script(by_script, boxes).square().sum().backward()
    cls()(by_eager, boxes).square().sum().backward()
    assert_same_bits(by_script.grad, by_eager.grad)


@every_module
def test_script(cls) -> None:
    script = torch.jit.script(cls())
    assert_same_as_eager(script, cls)
    assert_same_as_eager(through_a_file(script), cls)


@every_module
def test_freeze(cls) -> None:
    frozen = torch.jit.freeze(torch.jit.script(cls().eval()))
    assert_same_as_eager(frozen, cls)
    assert_same_as_eager(through_a_file(frozen), cls)


@pytest.mark.parametrize("cls", [OfTensor, OfDefaults, ModuleOfTensor], ids=lambda c: c.__name__)
def test_trace(cls) -> None:
    traced = torch.jit.trace(cls(), inputs_of(cls))
    assert_same_as_eager(traced, cls)
    assert_same_as_eager(through_a_file(traced), cls)


def test_script_of_the_function_and_module_themselves() -> None:
    x, rois = inputs_of(OfTensor)
    _, per_image = inputs_of(OfList)
    for boxes in (rois, per_image):
        expected = roiops.roi_align(x, boxes, [3, 5], 0.5, 2, True)
        scripted = torch.jit.script(roiops.roi_align)
        assert_same_bits(scripted(x, boxes, [3, 5], 0.5, 2, True), expected)
        module = torch.jit.script(roiops.RoIAlign((3, 5), 0.5, 2, True))
        assert_same_bits(through_a_file(module)(x, boxes), expected)


def test_errors_in_script_name_the_rule() -> None:
    script = torch.jit.script(OfList())
    x, _ = inputs_of(OfList)
    with pytest.raises(torch.jit.Error, match=r"must have shape \[L, 4\].*but got \[3, 5\]"):
        script(x, [torch.zeros(2, 4), torch.zeros(3, 5)])


def test_a_scripted_call_is_one_operator() -> None:
    graph = str(torch.jit.script(OfTensor()).inlined_graph)
    assert graph.count("roiops::roi_align(") == 1


@each_op
def test_script_and_trace_of_every_module(op: Op, generator) -> None:
    case = make_case(op, Options((3, 5), 0.5, 2, True), generator, (H, W), dtype=torch.float32)
    leading, module = case.leading(list(case.maps)), op.module(*op.python_args(case.options))
    script = torch.jit.script(module)
    for run in (script, through_a_file(script), torch.jit.freeze(script.eval())):
        assert_same_bits(run(*leading), case())
    if op.lists:
        boxes = [case.boxes[case.boxes[:, 0] == image, 1:] for image in (0, 1)]
        order = torch.cat([(case.boxes[:, 0] == image).nonzero() for image in (0, 1)]).flatten()
        extra = case.rows(order).leading(list(case.maps))[2:]
        assert_same_bits(script(leading[0], boxes, *extra), case.rows(order)())
    traced = torch.jit.trace(module, leading)
    assert_same_bits(through_a_file(traced)(*leading), case())


def version_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in version.split("+")[0].split(".")[:2])


@pytest.mark.parametrize("method", ["forward", "run_traced"])
def test_a_file_of_an_older_torch_keeps_loading(method) -> None:
    """It holds every operator, scripted and traced, and is never written again: see
    test/fixtures/make_torchscript.py."""
    saved = torch.jit.load(FILE)
    assert version_numbers(saved.torch_version) <= version_numbers(torch.__version__)
    assert set(saved.expected) == {op.name for op in OPS}
    run = getattr(saved, method)
    for name, got in run(saved.x, saved.boxes).items():
        expected = saved.expected[name].double()
        assert_close(got, expected, 10 * float(expected.abs().max()))
    for name, got in getattr(torch.jit.freeze(saved.eval(), ["run_traced"]), method)(
        saved.x, saved.boxes
    ).items():
        assert_same_bits(got, run(saved.x, saved.boxes)[name])


@pytest.mark.parametrize("method", ["forward", "run_traced"])
def test_a_loaded_file_is_trained_as_the_model_of_today(method) -> None:
    saved = torch.jit.load(FILE)
    model = EveryOperator()
    model.load_state_dict(saved.scripted.state_dict())
    x, boxes = (t.requires_grad_() for t in inputs(seed=3))
    run = getattr(saved, method)
    by_saved = sum(t.square().sum() for t in run(x, boxes).values())
    by_model = sum(t.square().sum() for t in model(x, boxes).values())
    expected = torch.autograd.grad(by_model, (x, boxes))
    for got, exact in zip(torch.autograd.grad(by_saved, (x, boxes)), expected, strict=True):
        assert_close(got, exact.double(), 100 * float(exact.abs().max()))
