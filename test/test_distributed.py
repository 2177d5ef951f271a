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


WITHOUT_RULES = """
import sys, tempfile, torch, roiops
assert "torch.distributed.tensor" not in sys.modules, "import roiops is slow"
from torch.distributed.tensor import Replicate, distribute_tensor, init_device_mesh
store = torch.distributed.FileStore(tempfile.mkdtemp() + "/store", 1)
torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))
maps, boxes = (distribute_tensor(torch.zeros(n), mesh, [Replicate()]) for n in ((1, 2, 3, 3), (1, 5)))
try:
    roiops.roi_align(maps, boxes, 2)
except NotImplementedError as error:
    assert "does not have a sharding strategy registered" in str(error)
else:
    raise AssertionError("no error")
import roiops.distributed
roiops.roi_align(maps, boxes, 2)
torch.distributed.destroy_process_group()
"""


def test_rules_come_with_an_import_of_their_own(tmp_path) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_RULES], cwd=tmp_path, check=True)


def test_a_torch_without_distributed_is_named(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "roiops.distributed", raising=False)
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    with pytest.raises(ImportError, match="roiops.distributed: `torch.distributed` must be"):
        importlib.import_module("roiops.distributed")
