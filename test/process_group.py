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


def checks_of(module: str, world: int) -> dict[str, Check]:
    checks: dict[str, Check] = import_module(module).checks(world)
    return checks


def _run(rank: int, world: int, module: str, folder: str) -> None:
    """One process: all checks in order; a line of its report for each."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", world)
    dist.init_process_group("gloo", None, COLLECTIVE_LIMIT, world, rank, store)
    group = Group(rank, world)
    with open(f"{folder}/{rank}", "w") as report:
        for name, check in checks_of(module, world).items():
            error = ""
            start = time.perf_counter()
            try:
                check(group)
            except Exception:
                error = traceback.format_exc()
            line = [name, error, time.perf_counter() - start]
            report.write(json.dumps(line) + "\n")
            report.flush()
    dist.destroy_process_group()


def _wait(processes: Any) -> str:
    """Until all have ended, or the limit; says how that went wrong."""
    end = time.monotonic() + GROUP_LIMIT
    try:
        while time.monotonic() < end:
            if processes.join(timeout=5):
                return ""
        return f"not done within {GROUP_LIMIT} s"
    except Exception as error:
        return str(error)
    finally:
        for process in processes.processes:
            if process.is_alive():
                process.kill()


def run_group(world: int, module: str) -> dict[str, list[str]]:
    """For each check of `module`, what went wrong in each process: empty if nothing did."""
    with tempfile.TemporaryDirectory() as folder:
        # One import of torch instead of `world`: the processes are forks of a server that has it.
        mp.get_context("forkserver").set_forkserver_preload([module])
        arguments = (world, module, folder)
        processes = mp.start_processes(
            _run, args=arguments, nprocs=world, join=False, start_method="forkserver"
        )
        failure = _wait(processes)
        results: dict[str, list[str]] = {name: [] for name in checks_of(module, world)}
        for rank in range(world):
            file = Path(folder, str(rank))
            lines = file.read_text().splitlines() if file.exists() else []
            done = {name: error for name, error, _ in map(json.loads, lines)}
            for name, errors in results.items():
                lost = f"process {rank} of {world} did not get to the end of it. {failure}"
                errors.append(done.get(name, lost))
            if os.environ.get("ROIOPS_TIME_CHECKS"):
                slow = sorted((json.loads(line) for line in lines), key=lambda row: -row[2])
                print(rank, [(name, round(seconds, 2)) for name, _, seconds in slow[:12]])
    return results
