"""Which peers are there.

ROIOPS_REQUIRE_PEERS="a,b" makes a run fail in which one of these cannot be imported; otherwise the
tests of a missing peer are skipped.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import pytest

# package -> distribution
PEERS = {
    "torchvision": "torchvision",
    "tensorflow": "tensorflow-cpu",
    "openvino": "openvino",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
}

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's banner; read at its import


def version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(installed under another name)"


def pytest_report_header(config: pytest.Config) -> str:
    found = [f"{p} {version_of(d)}" for p, d in PEERS.items() if find_spec(p)]
    return f"peers: {', '.join(found) or 'none'}"


def pytest_configure(config: pytest.Config) -> None:
    required = [p for p in os.environ.get("ROIOPS_REQUIRE_PEERS", "").split(",") if p]
    missing = [p for p in required if not find_spec(p)]
    if missing:
        raise pytest.UsageError(f"ROIOPS_REQUIRE_PEERS names {missing}, not installed here")
