"""Rules of the repository that a script can check (CONTRIBUTING.md)."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import torch
from box_ops import CUT_FUNCTIONS

import roiops

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
CODE = sorted(
    p
    for d in ("csrc", "roiops", "test", "examples", "benchmark")
    for p in (ROOT / d).rglob("*")
    if p.suffix in (".cpp", ".h", ".cu", ".cuh", ".py")
    and "include" not in p.relative_to(ROOT / d).parts
)


def matches(pattern: str, files: list[Path]) -> list[str]:
    found = []
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if re.search(pattern, line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()}")
    return found


def sources(*folders: str) -> list[Path]:
    return [p for p in CODE if any(p.is_relative_to(CSRC / f) for f in folders)]


def test_core_includes_only_std_and_itself():
    includes = matches(r"#include", sources("core"))
    allowed = r"#include (<[a-z_]+>|<c10/macros/Macros\.h>|\"core/)"
    assert includes
    assert [line for line in includes if not re.search(allowed, line)] == []


def test_coordinates_are_rounded_only_in_core():
    folders = sources("cpu", "cuda", "torch", "roiops")
    assert matches(r"\b(floor|ceil|round|lround)\(", folders) == []


def test_the_engines_know_no_aten():
    assert matches(r"#include <(ATen|torch)/", sources("cpu", "cuda", "core")) == []


def test_kernels_are_launched_and_threads_named_in_one_place():
    launches = matches(r"<<<|threadIdx|__syncthreads|atomic[A-Z]|__global__", sources("cuda"))
    assert {line.split(":")[0] for line in launches} == {
        "csrc/cuda/context.h",
        "csrc/cuda/launch.cuh",
    }


def test_no_python_and_no_autograd_shortcut_in_the_library():
    assert (
        matches(
            r"torch/extension\.h|torch/torch\.h|torch::autograd::Function",
            sources("torch", "cpu", "cuda", "core", "roiops"),
        )
        == []
    )
    assert (
        matches(
            r"register_autograd|register_fake|autograd\.Function",
            sorted((ROOT / "roiops").glob("*.py")),
        )
        == []
    )


@pytest.mark.parametrize("name", ["meta.cpp", "check.cpp", "check_nms.cpp", "prepare.cpp"])
def test_sizes_stay_symbolic_in(name):
    assert matches(r"\.(size\([^)]|sizes\(|numel\(|stride)", [CSRC / "torch" / name]) == []


CHECKS = ("check.cpp", "check_nms.cpp", "prepare.cpp")


def test_every_check_has_a_message_that_names_the_operator():
    text = "".join((CSRC / "torch" / name).read_text() for name in CHECKS)
    checks = re.findall(r"TORCH(?:_SYM)?_CHECK\((.*?)\);", text, re.DOTALL)
    assert checks
    assert [c for c in checks if not re.search(r",\s*(args\.)?(call\.)?op,\s*\":", c)] == []


def test_no_file_is_too_long():
    long = {
        str(p.relative_to(ROOT)): n for p in CODE if (n := len(p.read_text().split("\n"))) > 300
    }
    assert long == {}


def lines_of(function: ast.FunctionDef) -> int:
    """Without the signature and the docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_function_of_python_is_too_long():
    example = ast.parse('def f(a):\n  "what it does"\n  x = a\n\n  return x').body[0]
    assert lines_of(example) == 3
    long = {
        f"{file.relative_to(ROOT)}: {node.name}": lines_of(node)
        for file in CODE
        if file.suffix == ".py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and lines_of(node) > 40
    }
    assert long == {}


def test_nothing_is_left_open():
    assert matches(r"TODO|FIXME|XXX", [p for p in CODE if p != Path(__file__)]) == []


def symbols(*options: str) -> str:
    command = ["nm", "-DC", *options, roiops.library_path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_library_has_no_python_symbol():
    assert re.findall(r" _*Py\w+", symbols("--undefined-only")) == []


def test_the_library_exports_the_public_header_only():
    own = re.findall(r" [TDB] (roiops::\S+)", symbols("--defined-only"))
    public = {name for name in operators() if "::_" not in name}
    switches = {"roiops::version", "roiops::patch_torchvision", "roiops::unpatch_torchvision"}
    cut = {f"roiops::{name}" for name in CUT_FUNCTIONS}
    assert {re.split(r"[(\[]", name)[0] for name in own} == switches | public | cut


def operators() -> list[str]:
    return sorted(s.name for s in torch._C._jit_get_all_schemas() if s.name.startswith("roiops::"))


@pytest.mark.parametrize("name", operators())
@pytest.mark.parametrize("key", ["CPU", "Meta", "Autograd", "FuncTorchBatched"])
def test_every_operator_has_a_kernel_for(name, key):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(name, key)


def test_files_named_in_documents_exist():
    missing = []
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            if not (document.parent / link).exists():
                missing.append(f"{document.name}: {link}")
        for name in re.findall(
            r"`((?:csrc|test|roiops|docs|examples)/[\w./]+)`", document.read_text()
        ):
            if not (ROOT / name).exists():
                missing.append(f"{document.name}: {name}")
    assert missing == []
