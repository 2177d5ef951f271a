"""Processes and threads: what surrounds a call must not matter."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from box_ops import random_boxes, random_rotated, results_of, sample_calls
from boxes import finite_boxes
from cases import Case, grad_of, make_case
from child_process import Crops, share_results
from op_table import OPS, Op
from torch import Tensor

import roiops

H, W = 11, 13
SECONDS = 120  # of a process that hangs


def problem(op: Op) -> tuple[Case, Tensor]:
    """So small that PyTorch's own operators use one thread, and ours all."""
    generator = torch.Generator().manual_seed(3)
    boxes = dict(list(finite_boxes(H, W).items())[::4])
    case = make_case(
        op, op.few_options[0], generator, (H, W), boxes,
        channels=4 if op.position_sensitive else 20, dtype=torch.float32,
    )  # fmt: skip
    return case, grad_of(case, generator)


def everything(op: Op) -> list[Tensor]:
    """Forward, by autograd and by the operators themselves."""
    case, grad = problem(op)
    leaves = case.leaves()
    out = leaves()
    return [out.detach(), *torch.autograd.grad(out, leaves.trainable, grad), *case.gradients(grad)]


def box_results() -> dict[str, list[Tensor]]:
    """Of each function of boxes alone, of few boxes, and the gradient of overlaps."""
    generator = torch.Generator().manual_seed(3)
    upright, rotated = (make(90, generator) for make in (random_boxes, random_rotated))
    results = {n: list(results_of(c)) for n, c in sample_calls(upright, rotated).items()}
    leaf = upright[0].requires_grad_()
    results["box_iou"] += torch.autograd.grad(roiops.box_iou(leaf, leaf).sum(), leaf)
    return results


def every_operator() -> list[Tensor]:
    of_boxes = [tensor for tensors in box_results().values() for tensor in tensors]
    return [tensor for op in OPS for tensor in everything(op)] + of_boxes


def same(actual: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def fork_after_use() -> None:
    """Run by the test below: the child has none of the parent's OpenMP threads, for which PyTorch's
    own operators wait in vain."""
    torch.set_num_threads(4)
    expected = every_operator()
    for threads in (None, 1, 3):
        child = os.fork()
        if child == 0:
            if threads:
                torch.set_num_threads(threads)
            os._exit(0 if same(every_operator(), expected) else 7)
        assert os.waitpid(child, 0)[1] == 0, threads
    assert same(every_operator(), expected)  # the parent goes on with its own


def in_python(statement: str, **environment: str) -> None:
    code = f"import test_processes as t; {statement}"
    folder = Path(__file__).parent  # in the root Python would import the sources
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        timeout=SECONDS, env=os.environ | environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_made_by_fork_after_use_can_call_every_operator() -> None:
    in_python("t.fork_after_use()")


def start_children() -> None:
    """Run by the test below, in a process whose threads are at work when it forks."""
    case, _ = problem(OPS[0])
    maps, boxes = case.maps[0].clone().share_memory_(), case.boxes.clone().share_memory_()
    leaf = maps.clone().requires_grad_()
    expected = roiops.roi_align(leaf, boxes, 3)
    expected.sum().backward()
    for method in multiprocessing.get_all_start_methods():
        context = torch.multiprocessing.get_context(method)
        results, received = context.Queue(), context.Event()
        child = context.Process(target=share_results, args=(maps, boxes, results, received))
        child.start()
        got = [results.get(timeout=SECONDS) for _ in range(2)]
        assert same(got, [expected.detach(), leaf.grad]), method
        received.set()
        child.join()
        assert child.exitcode == 0, method


def test_children_of_every_kind_share_tensors() -> None:
    in_python("t.start_children()")


def load_crops() -> None:
    """Run by the test below."""
    every_operator()
    loader = torch.utils.data.DataLoader(Crops(), batch_size=2, num_workers=2)
    batches = torch.cat(list(loader))
    assert torch.allclose(batches[:, 0, 0, 0], torch.arange(8.0))


def test_workers_of_a_data_loader() -> None:
    in_python("t.load_crops()")


def test_many_threads_of_python_at_once() -> None:
    """Each calls every operator, beginning with another one."""
    expected = {op.name: everything(op) for op in OPS}
    of_boxes = box_results()

    def work(first: int) -> list[str]:
        turn = [*OPS[first:], *OPS[:first]] * 2
        wrong = [op.name for op in turn if not same(everything(op), expected[op.name])]
        again = box_results()
        return [*wrong, *(n for n in of_boxes if not same(again[n], of_boxes[n]))]

    with ThreadPoolExecutor(8) as pool:
        wrong = list(pool.map(work, [i % len(OPS) for i in range(16)]))
    assert [names for names in wrong if names] == []
