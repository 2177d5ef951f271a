"""That kernels use PyTorch's threads; that results do not depend on them is tested op by op."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from boxes import finite_boxes
from cases import grad_of, make_case
from op_table import OPS

TASKS = Path("/proc/self/task")
H, W = 11, 13


def calls() -> Iterator[tuple[str, Callable[[], object]]]:
    for op in OPS:
        generator = torch.Generator().manual_seed(1)
        case = make_case(
            op, op.few_options[0], generator, (H, W), finite_boxes(H, W),
            channels=256, dtype=torch.float32, boxes_dtype=torch.float32,
        )  # fmt: skip
        grad = grad_of(case, generator)
        yield f"{op.name} forward", case
        yield f"{op.name} backward", lambda case=case, grad=grad: case.input_gradients(grad)
        yield f"{op.name} by boxes", lambda case=case, grad=grad: case.box_gradients(grad)


def report() -> None:
    """Run by the test below. Every call may use one thread more than all before it, and OpenMP
    starts threads when they are first used."""
    names = []
    prepared = list(calls())
    for threads, (name, call) in enumerate(prepared, start=2):
        torch.set_num_threads(threads)
        call()
        if len(os.listdir(TASKS)) < threads:
            names.append(name)
    print(*names, sep="\n", end="")


@pytest.mark.skipif(not TASKS.exists(), reason="counts threads in /proc")
def test_every_call_uses_all_threads() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", "import test_threads; test_threads.report()"],
        cwd=Path(__file__).parent, check=True, text=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    assert not printed
