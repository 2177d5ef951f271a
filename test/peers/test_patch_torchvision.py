"""torchvision's operators on our kernels: what is replaced, and when."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

import roiops

torchvision = pytest.importorskip("torchvision", reason="patches it")

REPLACED = [
    "roi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward", "ps_roi_align",
    "_ps_roi_align_backward", "nms",
]  # fmt: skip
KEPT = ["ps_roi_pool", "_ps_roi_pool_backward", "deform_conv2d"]


@pytest.fixture(autouse=True)
def unpatched() -> Iterator[None]:
    yield
    roiops.unpatch_torchvision()


def registered(name: str) -> str:
    return torch._C._dispatch_dump(f"torchvision::{name}")


def is_ours(name: str, key: str = "CPU") -> bool:
    lines = [line for line in registered(name).splitlines() if line.startswith(f"{key}:")]
    return any("csrc/torch/torchvision.cpp" in line for line in lines)


def ours() -> list[str]:
    return [name for name in REPLACED + KEPT if is_ours(name)]


def test_it_is_explicit_and_reversible() -> None:
    before = {name: registered(name) for name in REPLACED + KEPT}
    assert ours() == []
    roiops.patch_torchvision()
    roiops.patch_torchvision()
    assert ours() == REPLACED
    assert [is_ours(name, "CUDA") for name in REPLACED] == [roiops.cuda_version is not None] * len(
        REPLACED
    )
    for key in ("Meta", "Autograd[alias]", "AutocastCPU", "AutocastCUDA", "QuantizedCPU"):
        assert not any(is_ours(name, key) for name in REPLACED)
    roiops.unpatch_torchvision()
    assert {name: registered(name) for name in REPLACED + KEPT} == before
    roiops.unpatch_torchvision()
    assert ours() == []


def test_blocks_nest() -> None:
    with roiops.torchvision_patched():
        with roiops.torchvision_patched():
            assert ours() == REPLACED
        assert ours() == REPLACED
    assert ours() == []


def test_a_block_leaves_an_explicit_patch() -> None:
    roiops.patch_torchvision()
    with roiops.torchvision_patched():
        pass
    assert ours() == REPLACED
    roiops.unpatch_torchvision()
    with roiops.torchvision_patched():
        roiops.patch_torchvision()
    assert ours() == REPLACED
    with roiops.torchvision_patched():
        roiops.unpatch_torchvision()
        assert ours() == REPLACED
    assert ours() == []


def test_a_block_ends_with_an_exception() -> None:
    with pytest.raises(KeyError), roiops.torchvision_patched():
        raise KeyError
    assert ours() == []


def test_a_function_can_be_decorated() -> None:
    assert roiops.torchvision_patched()(ours)() == REPLACED
    assert ours() == []


def test_blocks_overlap_in_threads() -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with roiops.torchvision_patched():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with roiops.torchvision_patched():
        thread.start()
        assert entered.wait(10)
    assert ours() == REPLACED
    leave.set()
    thread.join(10)
    assert ours() == []


SILENT = """
import sys, torch, roiops
assert "torchvision" not in sys.modules
import torchvision
dump = lambda: torch._C._dispatch_dump("torchvision::roi_align")
assert "csrc/torch/torchvision.cpp" not in dump()
roiops.patch_torchvision()
assert "csrc/torch/torchvision.cpp" in dump()
roiops.unpatch_torchvision()
"""

# torchvision is not imported: first there is none, then one of an unknown kind.
UNKNOWN = """
import sys, torch, roiops
def message(error, function):
    try:
        function()
    except error as e:
        return str(e)
assert "torchvision must be installed" in message(ImportError, roiops.patch_torchvision)
sys.modules["torchvision"] = torch
said = message(RuntimeError, roiops.patch_torchvision)
assert "must be loaded, but there is no torchvision::roi_align" in said, said
library = torch.library.Library("torchvision", "DEF")
library.define("roi_align(Tensor input, Tensor rois, float scale) -> Tensor")
said = message(RuntimeError, roiops.patch_torchvision)
assert "bool aligned) -> Tensor, but got torchvision::roi_align(" in said, said
assert "CPU" not in torch._C._dispatch_dump("torchvision::roi_align")
library._destroy()
"""


@pytest.mark.parametrize("program", [SILENT, "import sys\nsys.modules['torchvision'] = None" + UNKNOWN],
                         ids=("silent", "unknown_torchvision"))  # fmt: skip
def test_in_a_fresh_process(program, tmp_path) -> None:
    """Warnings of overridden kernels come once per process."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
