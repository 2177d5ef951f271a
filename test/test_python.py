"""The Python face: names, defaults, representation, copies, and where the library lies."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path

import pytest
import torch
from boxes import as_rois, inside_boxes
from op_table import Op, Options, each_op
from tolerance import assert_same_bits

import roiops

OPTIONS = Options((3, 2), 0.5, 2, True)


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(1))
    return x, as_rois(inside_boxes(9, 8), dtype=torch.float32)


@each_op
def test_public_names(op: Op) -> None:
    assert getattr(roiops, op.name) is op.function
    assert {op.function.__name__, op.module.__name__} <= set(roiops.__all__)


@each_op
def test_keywords_and_defaults_are_those_of_the_schema(op: Op) -> None:
    parameters = inspect.signature(op.function).parameters
    for argument in op.overload._schema.arguments:
        if argument.default_value is not None:
            assert parameters[argument.name].default == argument.default_value
    x, rois = problem()
    expected = op.overload(x, rois, 1.0, 4, 4)
    assert_same_bits(op.function(input=x, boxes=rois, output_size=4), expected)
    expected = op.overload(x, rois, *OPTIONS.args)
    keywords = {"spatial_scale": 0.5, "sampling_ratio": 2, "aligned": True}
    assert_same_bits(op.function(x, rois, output_size=(3, 2), **keywords), expected)
    assert_same_bits(op.module(output_size=(3, 2), **keywords)(x, rois), expected)


@each_op
def test_function_says_what_it_does(op: Op) -> None:
    for part in ("Args:", "Returns:", "Border:", "Gradients:", "Deterministic", "Raises:"):
        assert part in (op.function.__doc__ or ""), part


@each_op
def test_module_shows_its_options(op: Op) -> None:
    text = repr(op.module(*OPTIONS.python_args))
    for part in ("(3, 2)", "0.5", "sampling_ratio=2", "aligned=True"):
        assert part in text


@each_op
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=("copy", "pickle")
)
def test_module_survives_copies(op: Op, duplicate) -> None:
    module = op.module(*OPTIONS.python_args)
    assert module.state_dict() == {}
    assert_same_bits(duplicate(module)(*problem()), module(*problem()))


def test_library_and_cmake_package_are_where_the_package_says() -> None:
    assert Path(roiops.library_path).is_file()
    assert list(Path(roiops.cmake_prefix_path).rglob("roiopsConfig.cmake"))
    assert roiops.__version__[0].isdigit()
