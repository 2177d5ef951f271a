"""Runs named checks in every process of a gloo group, and tells what each process says of each."""

from __future__ import annotations

import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

COLLECTIVE_LIMIT = timedelta(seconds=60)  # a process that waits longer for the others fails
GROUP_LIMIT = 300  # seconds for all checks of a group


@dataclass(frozen=True)
class Group:
    """This process and its group."""

    rank: int
    world: int

    @cached_property
    def mesh(self) -> Any:
        return self.mesh_of(self.world)

    @cached_property
    def square(self) -> Any:
        return self.mesh_of(2, self.world // 2)

    def mesh_of(self, *sizes: int) -> Any:
        from torch.distributed.tensor import init_device_mesh

        return init_device_mesh("cpu", sizes)


Check = Callable[[Group], None]


# Modules with a function checks(world), which names the checks for a group of that size.
MODULES = ("distributed_training", "distributed_checks")


def checks_of(world: int) -> dict[str, Check]:
    return {k: v for module in MODULES for k, v in import_module(module).checks(world).items()}


def _run(rank: int, world: int, folder: str) -> None:
    """One process: all checks in order; a line of its report for each."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", world)
    dist.init_process_group("gloo", None, COLLECTIVE_LIMIT, world, rank, store)
    group = Group(rank, world)
    with open(f"{folder}/{rank}", "w") as report:
        for name, check in checks_of(world).items():
            error, in_step = "", True
            start = time.perf_counter()
            try:
                check(group)
            except AssertionError:  # about gathered values, hence the same in every process
                error = traceback.format_exc()
            except Exception:  # noqa: BLE001 (another process may now wait for this one)
                error, in_step = traceback.format_exc(), False
            line = [name, error, round(time.perf_counter() - start, 2)]
            report.write(json.dumps(line) + "\n")
            report.flush()
            if not in_step:
                break
    dist.destroy_process_group()


def _wait(processes: Any) -> str:
    """Until all have ended, or the limit; says how that went wrong."""
    end = time.monotonic() + GROUP_LIMIT
    try:
        while time.monotonic() < end:
            if processes.join(timeout=5):
                return ""
        return f"not done within {GROUP_LIMIT} s"
    except Exception as error:  # noqa: BLE001 (also that a process was killed)
        return str(error)
    finally:
        for process in processes.processes:
            if process.is_alive():
                process.kill()


def run_group(world: int) -> dict[str, list[str]]:
    """For each check, what went wrong in each process: empty if nothing did."""
    with tempfile.TemporaryDirectory() as folder:
        # One import of torch instead of `world`: the processes are forks of a server that has it.
        mp.get_context("forkserver").set_forkserver_preload(list(MODULES))
        processes = mp.start_processes(
            _run, args=(world, folder), nprocs=world, join=False, start_method="forkserver"
        )
        failure = _wait(processes)
        results: dict[str, list[str]] = {name: [] for name in checks_of(world)}
        for rank in range(world):
            file = Path(folder, str(rank))
            lines = file.read_text().splitlines() if file.exists() else []
            done = {name: error for name, error, _ in map(json.loads, lines)}
            for name, errors in results.items():
                errors.append(done.get(name, f"not done, after the failure of another. {failure}"))
            if os.environ.get("ROIOPS_TIME_CHECKS"):
                slow = sorted(map(json.loads, lines), key=lambda line: -line[2])
                print(f"process {rank}:", [(name, seconds) for name, _, seconds in slow[:12]])
    return results
