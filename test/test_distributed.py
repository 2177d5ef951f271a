"""Real process groups: DTensor, DistributedDataParallel and FSDP2 against a single process."""

from __future__ import annotations

import importlib
import subprocess
import sys
from functools import cache

import pytest
import torch
from process_group import checks_of, run_group

run_once = cache(run_group)


@pytest.mark.parametrize(
    "world, check",
    [
        pytest.param(world, check, id=f"{world}-{check}")
        for world in (2, 4)
        for check in checks_of(world)
    ],
)
def test_a_group_of_processes_agrees_with_one(world: int, check: str) -> None:
    errors = run_once(world)[check]
    assert errors == [""] * world, "\n".join(f"process {i}: {e}" for i, e in enumerate(errors))


def test_importing_roiops_leaves_torch_distributed_alone() -> None:
    code = "import sys, roiops; sys.exit('torch.distributed.tensor' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_torch_without_distributed_is_named(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "roiops.distributed", raising=False)
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    with pytest.raises(ImportError, match="roiops.distributed: `torch.distributed` must be"):
        importlib.import_module("roiops.distributed")
