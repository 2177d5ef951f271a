"""That kernels use PyTorch's threads; that results do not depend on them is tested op by op."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from boxes import finite_boxes
from cases import grad_of, make_case
from op_table import OPS
from torch import Tensor

import roiops

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


def printed_by(call: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", f"import test_threads; test_threads.{call}"],
        cwd=Path(__file__).parent, env=os.environ | environment, check=True, text=True,
        stdout=subprocess.PIPE,
    ).stdout  # fmt: skip


@pytest.mark.skipif(not TASKS.exists(), reason="counts threads in /proc")
def test_every_call_uses_all_threads() -> None:
    assert not printed_by("report()")


def hard_to_share() -> Iterator[tuple[str, Callable[[], object]]]:
    """One RoI, or few channels of a contiguous map."""
    generator = torch.Generator().manual_seed(1)
    features = torch.rand(1, 64, 128, 128, generator=generator)
    few = features[:, :16].contiguous()
    box, rotated = torch.tensor([[0.0, 0, 0, 128, 128]]), torch.tensor([[0.0, 64, 64, 126, 120, 9]])
    middle = 128 * torch.rand(2000, 2, generator=generator)
    half = 2 + 20 * torch.rand(2000, 2, generator=generator)
    many = torch.cat([torch.zeros(2000, 1), middle - half, middle + half], dim=1)
    large = {"output_size": (64, 64), "sampling_ratio": 4}
    small = {"output_size": (7, 7), "sampling_ratio": 2}
    deform = partial(roiops.deform_roi_pool, **large)
    yield from passes(partial(roiops.roi_align_rotated, **large), features, rotated)
    yield from passes(deform, features, box, torch.zeros(1, 2, 64, 64))
    yield from passes(partial(roiops.roi_align, **large), features, box)
    yield from passes(partial(roiops.roi_align, **small), few, many)
    # Backward by the features is one thread's work: docs/design.md.
    yield "maximum, forward", lambda: roiops.roi_align(few, many, mode="max", **small)


def passes(op: partial[Tensor], *tensors: Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    """Forward, and backward by each tensor."""
    name = f"{op.func.__name__} of {list(tensors[0].shape)}"
    yield f"{name}, forward", lambda: op(*tensors)
    for i in range(len(tensors)):
        leaves = [t.clone().requires_grad_(j == i) for j, t in enumerate(tensors)]
        out = op(*leaves)
        back = partial(torch.autograd.grad, out, leaves[i], torch.ones_like(out), retain_graph=True)
        yield f"{name}, backward by argument {i}", back


def processor_times() -> dict[str, int]:
    """Nanoseconds, by thread."""
    return {task.name: int((task / "schedstat").read_text().split()[0]) for task in TASKS.iterdir()}


def largest_share(call: Callable[[], object]) -> float:
    """Of the processor's time for some calls, the part of the thread that has most. The system
    counts a thread's time now and then."""
    before, spent = processor_times(), [0]
    while sum(spent) < 5e7:
        call()
        spent = [time - before.get(thread, 0) for thread, time in processor_times().items()]
    return max(spent) / sum(spent)


def report_shares() -> None:
    """Run by the test below."""
    torch.set_num_threads(4)
    for name, call in hard_to_share():
        call()
        # Whoever finds all processors busy with something else gets no share.
        shares = (largest_share(call) for _ in range(20))
        if not any(share < 0.5 for share in shares):
            print(name)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="reads /proc")
def test_no_thread_has_most_of_the_work() -> None:
    # Threads that wait must not spend time.
    assert not printed_by("report_shares()", OMP_WAIT_POLICY="passive")
