"""The kernels by real threads, under ThreadSanitizer: see phases.cpp."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from build_tree import ROOT

INCLUDES = (ROOT / "csrc", Path(torch.__path__[0]) / "include")


@pytest.mark.skipif(
    not (shutil.which("g++") and shutil.which("setarch")), reason="needs g++ and setarch"
)
def test_no_two_threads_of_a_phase_touch_one_word(tmp_path: Path) -> None:
    program, source = tmp_path / "phases", ROOT / "test" / "cuda" / "phases.cpp"
    flags = ("-std=c++20", "-O1", "-g", "-ffp-contract=off", "-fsanitize=thread", "-pthread")
    folders = [f"-I{folder}" for folder in INCLUDES]
    subprocess.run(["g++", *flags, *folders, source, "-o", program], check=True)
    # The sanitizer needs addresses that are not randomised everywhere.
    run = subprocess.run(
        ["setarch", "--addr-no-randomize", program], capture_output=True, text=True, check=False
    )
    assert "ThreadSanitizer" not in run.stderr, run.stderr[:3000]
    lines = run.stdout.splitlines()
    assert run.returncode == 0 and len(lines) >= 60
    assert [line for line in lines if not line.startswith("same ")] == []
