"""The memory that a call takes beyond its results, at its peak.

On the CPU it is the growth of the resident set, measured in a process of its own:
    python benchmark/memory.py '{"workload": "fpn_p2", "library": "roiops", ...}'
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from problems import Call, Variant, build
from workloads import named


def result_bytes(results: tuple[torch.Tensor, ...]) -> int:
    return sum(t.numel() * t.element_size() for t in results)


def resident(field: str) -> int:
    """VmRSS, or VmHWM: its highest value since the last reset."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError(f"memory.py: /proc/self/status must have {field}, but got {status!r}.")
    return int(found[1]) * 1024


def cpu_extra_bytes(call: Call) -> int:
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, see proc(5)
    before = resident("VmRSS")
    results = call()
    return max(resident("VmHWM") - before - result_bytes(results), 0)


def cuda_extra_bytes(call: Call) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    results = call()
    return torch.cuda.max_memory_allocated() - before - result_bytes(results)


def in_child(task: dict[str, Any]) -> int:
    command = [sys.executable, __file__, json.dumps(task)]
    # Freed tensors go back to the system, so that the next ones count.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return int(child.stdout)


def measure(task: dict[str, Any]) -> int:
    torch.set_num_threads(task["threads"])
    variant = Variant(task["dtype"], task["layout"])
    workload, small = (
        named(task["workload"], shrunk, task["hostile"]) for shrunk in (task["shrink"], True)
    )
    # What a first call loads and starts belongs to the process, not to the call.
    build(small, task["library"], variant).prepare(task["pass"])()
    call = build(workload, task["library"], variant).prepare(task["pass"])
    # Scratch that the library keeps for its next call stays with its thread: a new one has none.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(cpu_extra_bytes, call).result()


if __name__ == "__main__":
    print(measure(json.loads(sys.argv[1])))
