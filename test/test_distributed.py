"""Real process groups: DTensor, DistributedDataParallel and FSDP2 against a single process."""

from __future__ import annotations

import importlib
import subprocess
import sys
from functools import cache

import pytest
import torch
from process_group import checks_of, run_group

GROUPS = [(world, module) for world in (2, 4) for module in ("distributed_checks",)]
run_once = cache(run_group)


@pytest.mark.parametrize(
    "world, module, check",
    [
        pytest.param(world, module, check, id=f"{world}-{check}")
        for world, module in GROUPS
        for check in checks_of(module, world)
    ],
)
def test_a_group_of_processes_agrees_with_one(world, module, check) -> None:
    results = run_once(world, module)[check]
    assert results == [""] * world, "\n".join(f"process {i}: {r}" for i, r in enumerate(results))


def test_importing_roiops_leaves_torch_distributed_alone() -> None:
    code = "import sys, roiops; sys.exit('torch.distributed.tensor' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_torch_without_distributed_is_named(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "roiops.distributed", raising=False)
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    with pytest.raises(ImportError, match="roiops.distributed: `torch.distributed` must be"):
        importlib.import_module("roiops.distributed")
