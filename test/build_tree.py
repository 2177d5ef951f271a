"""The build directory of the library under test."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent


def build_directory() -> Path:
    """Where setup.py built the library, or ROIOPS_BUILD_DIR."""
    default = ROOT / "build" / f"torch-{torch.__version__}"
    directory = Path(os.environ.get("ROIOPS_BUILD_DIR", default))
    assert (directory / "CMakeCache.txt").exists(), f"no CMake build of roiops in {directory}"
    return directory


def cached(variable: str) -> str:
    """A variable of the build's CMake cache; "" if it is not there."""
    cache = (build_directory() / "CMakeCache.txt").read_text()
    found = re.search(rf"^{variable}:\w+=(.*)$", cache, re.MULTILINE)
    return found[1] if found else ""
