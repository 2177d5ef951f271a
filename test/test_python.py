"""The Python face: names, defaults, representation, copies, and where the library lies."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from boxes import inside_boxes
from cases import Case, Options, make_case
from op_table import Op, each_op
from tolerance import assert_same_bits

import roiops
from roiops import _library

OPTIONS = Options((3, 2), 0.5, 2, True, True, "nearest", 0.25, 0.2)


def problem(op: Op, options: Options = OPTIONS) -> Case:
    generator = torch.Generator().manual_seed(1)
    return make_case(op, options, generator, (9, 8), inside_boxes(9, 8), dtype=torch.float32)


def module_of(case: Case) -> torch.nn.Module:
    return case.op.module(*case.op.python_args(case.options))


@each_op
def test_public_names(op: Op) -> None:
    assert op.name == "_".join([op.python_name, *([] if op.mode is None else [op.mode])])
    assert getattr(roiops, op.python_name) is op.function
    assert {op.function.__name__, op.module.__name__} <= set(roiops.__all__)


@each_op
def test_keywords_and_defaults_are_those_of_the_schema(op: Op) -> None:
    parameters = inspect.signature(op.function).parameters
    of_module = inspect.signature(op.module).parameters
    for argument in op.overload._schema.arguments:
        if argument.default_value is not None:
            assert parameters[argument.name].default == argument.default_value
            assert of_module[argument.name].default == argument.default_value
    for shown in (parameters, of_module):
        assert shown[op.size_name].annotation == int | tuple[int, int]
    required = [p.name for p in parameters.values() if p.default is inspect.Parameter.empty]
    case = problem(op)
    tensors = dict(zip(required, case.leading(list(case.maps)), strict=False))
    assert next(iter(parameters)) == op.input_name
    keywords = {op.size_name: (3, 2), **op.python_values(OPTIONS)}
    assert_same_bits(op.function(**tensors, **keywords), case())
    assert_same_bits(op.module(**keywords)(*tensors.values()), case())


@each_op
def test_one_size_is_both_sizes(op: Op) -> None:
    case = problem(op, Options((4, 4)))
    leading = case.leading(list(case.maps))
    _, *values = op.python_args(case.options)
    assert_same_bits(op.function(*leading, 4, *values), case())
    assert_same_bits(op.module(4, *values)(*leading), case())


@each_op
def test_function_says_what_it_does(op: Op) -> None:
    text = op.function.__doc__ or ""
    for part in ("Args:", "Returns:", "radients", "eterminis"):
        assert part in text, part
    if "errors are those of :func:`roi_align`" not in " ".join(text.split()):
        assert "Raises:" in text
    for name in inspect.signature(op.function).parameters:
        assert name in text, name


@each_op
def test_module_shows_its_options(op: Op) -> None:
    text = repr(module_of(problem(op)))
    assert text.startswith(op.module.__name__ + "(")
    values = op.python_values(OPTIONS).items()
    for part in (f"{op.size_name}=(3, 2)", *(f"{k}={v!r}" for k, v in values)):
        assert part in text


@each_op
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=("copy", "pickle")
)
def test_module_survives_copies(op: Op, duplicate) -> None:
    case = problem(op)
    module = module_of(case)
    assert module.state_dict() == {}
    assert_same_bits(duplicate(module)(*case.leading(list(case.maps))), case())


@each_op
def test_wrong_number_of_sizes(op: Op) -> None:
    case = problem(op)
    rule = "must be an integer or two integers (height, width)"
    for wrong in ((1, 2, 3), (7,), (), 2.5, (2, "3")):
        with pytest.raises(TypeError) as error:
            op.function(*case.leading(list(case.maps)), wrong, *op.python_args(OPTIONS)[1:])
        assert str(error.value) == f"{op.python_name}: `{op.size_name}` {rule}, but got {wrong}."


def test_library_and_cmake_package_are_where_the_package_says() -> None:
    assert Path(roiops.library_path).is_file()
    assert list(Path(roiops.cmake_prefix_path).rglob("roiopsConfig.cmake"))
    assert roiops.__version__[0].isdigit()


@pytest.mark.parametrize(
    "built_for, cuda, says",
    [
        ("1.13.1", "", f"was built for torch 1.13.1, but torch {torch.__version__} is installed"),
        (torch.__version__, "", f"torch {torch.__version__} cannot load "),
        (torch.__version__, "3.2", "was built with kernels for CUDA 3.2, but torch "),
        (None, "", "is missing"),
    ],
    ids=["another_torch", "broken", "another_cuda", "missing"],
)
def test_a_library_that_does_not_fit_says_what_to_do(built_for, cuda, says, tmp_path, monkeypatch):
    library = tmp_path / "libroiops.so"
    if built_for:
        library.write_text("no library")
        library.with_name("torch_version.txt").write_text(built_for)
        library.with_name("cuda_version.txt").write_text(f"{cuda}\n")
    monkeypatch.setattr(_library, "library_path", str(library))
    monkeypatch.setattr(_library, "_PACKAGE", tmp_path)  # not the source folder
    with pytest.raises(ImportError) as error:
        _library._load()
    assert says in str(error.value) and "\n" not in str(error.value)
    assert "Install roiops again with `pip install --no-build-isolation" in str(error.value)


@pytest.mark.parametrize(
    "built_with, has, says",
    [
        ("12.8", "13.0", "is a build for CUDA 13.0"),
        ("12.8", None, "is a build without CUDA"),
        ("12.8", "12.6", None),
        ("", "13.0", None),
        ("", None, None),
    ],
)
def test_cuda_kernels_fit_the_cuda_of_torch(built_with, has, says, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", has)
    if says is None:
        _library._check_cuda(built_with)
        return
    with pytest.raises(ImportError, match=f"kernels for CUDA {built_with}, but torch .* {says}"):
        _library._check_cuda(built_with)


def test_scales_are_a_list_of_numbers() -> None:
    """torchvision's module takes the names of its maps first."""
    maps, boxes = [torch.zeros(1, 1, 4, 4)], torch.zeros(0, 5)
    for scales in (0.25, None, ["0"]):
        rule = r": `spatial_scales` must be a list of numbers, one for each map, but got "
        with pytest.raises(TypeError, match="^MultiScaleRoIAlign" + rule):
            roiops.MultiScaleRoIAlign(7, scales)
        with pytest.raises(TypeError, match="^multiscale_roi_align" + rule):
            roiops.multiscale_roi_align(maps, boxes, 7, scales)
    for scales in ([0.25], (1,), [np.float32(0.25)]):
        assert roiops.MultiScaleRoIAlign(7, scales)(maps, boxes).shape == (0, 1, 7, 7)
