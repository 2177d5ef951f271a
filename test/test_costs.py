"""Memory and time stay in proportion to what a call touches."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from box_recipes import FUNCTIONS, OVERLAPS, BoxCase, BoxRecipe
from cases import make_case
from op_table import OPS

import roiops

# Prints by how many MiB the process grew at its peak while it ran the statement.
MEASURE = """
import resource, torch, roiops
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
roi = lambda *box: torch.tensor([[0.0, *box]])
roiops.roi_align(torch.rand(1, 64, 9, 9, requires_grad=True), roi(0, 0, 5, 5), 2).sum().backward()
{prepare}
before = peak()
{statement}
print(peak() - before)
"""


def growth(prepare: str, statement: str) -> float:
    code = MEASURE.format(prepare=prepare, statement=statement)
    folder = Path(__file__).parent  # in the root Python would import the sources
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return float(run.stdout)


# Prints whether the middle of a large result has asked for huge pages: "hg", see proc(5).
FLAGS = """
import re, torch, roiops
y = roiops.roi_align(torch.rand(1, 64, 9, 9), torch.tensor([[0, 1., 1, 5, 5]]).repeat(8000, 1), 7)
middle = y.data_ptr() + y.nbytes // 2
for line in open("/proc/self/smaps"):
    if span := re.match("([0-9a-f]+)-([0-9a-f]+) ", line):
        found = int(span[1], 16) <= middle < int(span[2], 16)
    elif found and line.startswith("VmFlags"):
        print("hg" in line.split())
"""
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not HUGE_PAGES.exists(), reason="this system has no huge pages on request")
@pytest.mark.parametrize("switch", ["1", "0"])
def test_large_results_ask_for_huge_pages(switch: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FLAGS], cwd=Path(__file__).parent, capture_output=True, text=True,
        check=True, env=os.environ | {"ROIOPS_HUGE_PAGES": switch},
    )  # fmt: skip
    assert run.stdout.split() == [str(switch == "1")]


MAP_MIB = 64  # 1 x 1 x 4096 x 4096 float32


@pytest.mark.parametrize("channels", [1, 16])
def test_backward_of_a_small_box_needs_the_gradient_and_little_more(channels):
    size = 4096 if channels == 1 else 1024
    prepare = f"x = torch.rand(1, {channels}, {size}, {size}, requires_grad=True)"
    statement = "y = roiops.roi_align(x, roi(5, 5, 15, 15), 7); y.backward(torch.ones_like(y))"
    assert growth(prepare, statement) < 2 * MAP_MIB  # 33 times with a panel of the whole map


def test_forward_of_one_channel_makes_no_panel():
    prepare = "x = torch.rand(1, 1, 4096, 4096)"
    statement = "roiops.roi_align(x, roi(0, 0, 4096, 4096), 7, 1.0, 2)"
    assert growth(prepare, statement) < 0.5 * MAP_MIB


def test_a_16_bit_map_under_autocast_is_read_and_differentiated_as_it_is():
    """Its gradient has its size; a float32 copy of either would have twice that."""
    prepare = "x = torch.empty(1, 16, 1024, 2048, dtype=torch.bfloat16).fill_(1).requires_grad_()"
    statement = """
with torch.autocast("cpu", torch.bfloat16):
    y = roiops.roi_align(x, roi(5, 5, 1500, 1000), 7, 1.0, 2)
y.backward(torch.ones_like(y))
"""
    assert growth(prepare, statement) < 2 * MAP_MIB


def test_gradient_by_a_box_of_the_whole_map_makes_no_wide_copy_of_it():
    prepare = """
x = torch.empty(1, 64, 1024, 512, dtype=torch.bfloat16).fill_(1)
box = roi(0, 0, 512, 1024).requires_grad_()
"""
    statement = "roiops.roi_align(x, box, 7).sum().backward()"
    assert growth(prepare, statement) < 0.75 * MAP_MIB  # of taps; the map alone has 64 MiB


def test_backward_of_a_photograph_costs_what_its_box_touches():
    photo = torch.rand(1, 3, 2000, 3000, requires_grad=True)
    boxes = torch.tensor([[0, 100.0, 100, 110, 110]])
    out = roiops.roi_align(photo, boxes, 7)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        torch.autograd.grad(out, photo, torch.ones_like(out), retain_graph=True)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    torch.zeros_like(photo)
    zeros = time.perf_counter() - start
    assert min(seconds) < 20 * zeros + 0.1  # 0.43 s when it walked 32 channels of the whole map


class Mallinfo(ctypes.Structure):
    """Of glibc: what is in use, in its arenas and in pages of its own, among others."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost",
    )]  # fmt: skip


def bytes_in_use() -> int:
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Mallinfo
    info = mallinfo()
    return int(info.uordblks + info.hblkhd)


def leak() -> None:
    """Run by the tests below: prints what 400 rounds of calls leave behind, errors among them."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    cases = [make_case(op, op.few_options[0], generator, channels=20).leaves() for op in OPS]

    def calls() -> None:
        for case in cases:
            out = case()
            torch.autograd.grad(out, case.trainable, torch.ones_like(out))
            case.box_jvp(torch.ones_like(case.boxes))
            with contextlib.suppress(IndexError):
                case.map(lambda m: m[:1])()
            with contextlib.suppress(RuntimeError):
                case.map(lambda m: m[0])()

    count_bytes(calls)


def box_case(op: str) -> BoxCase:
    """Images of drawn boxes and others, with classes, in types that are converted."""
    rotated = "rotated" in op
    row = (1.0, 1.0, 9.0, 7.0, 0.3)[: 5 if rotated else 4]
    batched = op.endswith("padded") or op in OVERLAPS
    return BoxRecipe(
        op, (row, row), (row,), (0.5, 0.7), rotated=rotated, more=60, images=2 if batched else 0,
        classes=None if op in ("nms", *OVERLAPS) else (0, 1), classes_dtype="int32",
        dtype="bfloat16", second_dtype="float64", layout="sliced", score_threshold=0.1,
        max_output=40,
    ).case()  # fmt: skip


def leak_of_boxes() -> None:
    """Also derivatives, and every error of an option."""
    torch.set_num_threads(1)
    cases = [box_case(op) for op in FUNCTIONS]

    def calls() -> None:
        for case in cases:
            case()
            with contextlib.suppress(RuntimeError):
                case.of(lambda t: t[..., :1])()
            with contextlib.suppress(RuntimeError):
                case.of(torch.Tensor.contiguous, threshold=2.0, sigma=-1.0)()
            if case.recipe.op == "box_iou":
                leaf = case.boxes.detach().requires_grad_()
                ious = roiops.box_iou(leaf, case.second)
                torch.autograd.grad(ious, leaf, torch.ones_like(ious))

    count_bytes(calls)


def count_bytes(calls: Callable[[], None]) -> None:
    for _ in range(20):
        calls()
    gc.collect()
    before = bytes_in_use()
    for _ in range(400):
        calls()
    gc.collect()
    print(bytes_in_use() - before)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc counts")
@pytest.mark.parametrize("calls", ["leak", "leak_of_boxes"])
def test_calls_leave_no_memory_behind(calls):
    """One piece of memory, of 32 bytes at least, in each round would be more."""
    command = [sys.executable, "-c", f"import test_costs; test_costs.{calls}()"]
    run = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 400 * 32
