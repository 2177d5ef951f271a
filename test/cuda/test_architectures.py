"""From torch's names of GPU architectures to CMake's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from build_tree import ROOT

sys.path.insert(0, str(ROOT / "examples"))

import deploy

SCRIPT = """\
include("@ROOT@/cmake/cudaArchitectures.cmake")
roiops_cuda_architectures(result "@LIST@")
message(STATUS "${result}")
"""


def converted(torch_list: str, folder: Path) -> str:
    script = folder / "script.cmake"
    script.write_text(SCRIPT.replace("@ROOT@", str(ROOT)).replace("@LIST@", torch_list))
    command = ["cmake", "-P", script]
    environment = deploy.tool_environment()
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    return done.stdout.strip().removeprefix("-- ") if done.returncode == 0 else done.stderr


@pytest.mark.parametrize(
    "torch_list, architectures",
    [
        ("9.0", "90-real"),
        ("9.0+PTX", "90"),
        ("8.0;9.0", "80-real;90-real"),
        ("8.0 9.0+PTX", "80-real;90"),
        ("7.5, 9.0a, 12.0+PTX", "75-real;90a-real;120"),
    ],
)
def test_torch_list_in_the_notation_of_cmake(
    torch_list: str, architectures: str, tmp_path: Path
) -> None:
    assert converted(torch_list, tmp_path) == architectures


@pytest.mark.parametrize("torch_list", ["Hopper", "90", "9.0+SASS", "9"])
def test_anything_else_is_an_error(torch_list: str, tmp_path: Path) -> None:
    message = " ".join(converted(torch_list, tmp_path).split())
    rule = 'TORCH_CUDA_ARCH_LIST must be like "8.0;9.0+PTX", but got'
    assert f'{rule} "{torch_list}".' in message
