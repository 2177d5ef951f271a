"""The CPU engine of each instruction set, in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from boxes import finite_boxes
from build_tree import build_directory
from cases import DTYPES, grad_of, make_case
from op_table import OPS
from tolerance import HALF_TYPES

import roiops

H, W = 11, 13
ISAS = {"default": "DEFAULT", "avx2": "AVX2", "avx512": "AVX512"}
CHANNELS = (3, 45)  # fewer than a vector; whole vectors and a tail


def calls() -> Iterator[list[torch.Tensor]]:
    """Every product of every operator, in every type and both layouts."""
    for op in OPS:
        for dtype in DTYPES:
            for last in (False, True):
                for channels in CHANNELS:
                    generator = torch.Generator().manual_seed(1)
                    case = make_case(
                        op, op.few_options[0], generator, (H, W), finite_boxes(H, W),
                        channels=channels, dtype=dtype, boxes_dtype=torch.float32,
                    )  # fmt: skip
                    grad = grad_of(case, generator)
                    if last:
                        case = case.map(lambda m: m.to(memory_format=torch.channels_last))
                        grad = grad.to(memory_format=torch.channels_last)
                    gradients = [*case.input_gradients(grad), *case.box_gradients(grad)]
                    yield [case(), case.box_jvp(torch.ones_like(case.boxes)), *gradients]


def fixed_call() -> torch.Tensor:
    """Of numbers that every instruction set makes alike."""
    x = (torch.arange(37 * H * W) % 97 / 7).view(1, 37, H, W)
    return roiops.roi_align(x, torch.tensor([[0, 1.3, 2.1, 9.7, 8.2]]), 5, 1.0, 3)


def save(path: str) -> None:
    """Run by the test below."""
    torch.save([torch.backends.cpu.get_cpu_capability(), fixed_call(), list(calls())], path)


def require(isa: str, capability: str) -> None:
    """Skips where PyTorch, given ATEN_CPU_CAPABILITY, could not take it."""
    if isa != "default" and capability != ISAS[isa]:
        pytest.skip(f"this machine has no {isa}")
    assert capability == ISAS[isa]


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set_gives_the_same_results(isa: str, tmp_path: Path) -> None:
    code = "import sys, test_isa; test_isa.save(sys.argv[1])"
    file = tmp_path / "results.pt"
    environment = os.environ | {"ATEN_CPU_CAPABILITY": isa}
    command = [sys.executable, "-c", code, str(file)]
    subprocess.run(command, cwd=Path(__file__).parent, env=environment, check=True)
    capability, fixed, results = torch.load(file)
    require(isa, capability)
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        # They multiply and add in one rounding: ours has been chosen, not only PyTorch's.
        assert torch.equal(fixed, fixed_call()) == (isa != "default")
    for number, (actual, expected) in enumerate(zip(results, calls(), strict=True)):
        for a, b in zip(actual, expected, strict=True):
            unit = torch.finfo(b.dtype if b.dtype not in HALF_TYPES else torch.float32).eps
            bound = 1000 * unit * (b.double().abs().max() if b.numel() else 0)
            if b.dtype in HALF_TYPES:
                bound = bound + torch.finfo(b.dtype).eps * b.double().abs()
            assert ((a.double() - b.double()).abs() <= bound).all(), (number, a.dtype)


def objects(isa: str) -> list[Path]:
    return sorted(build_directory().glob(f"CMakeFiles/roiops_cpu_{isa}.dir/csrc/cpu/*.o"))


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("isa", ["generic", "avx2", "avx512"])
def test_no_function_of_an_instruction_set_is_shared(isa: str) -> None:
    """The linker keeps one copy of a weak symbol: it must not be another instruction set's."""
    assert objects(isa) or isa != "generic"
    for file in objects(isa):
        weak = re.findall(r" [VWu] (.*)", output_of("nm", "-C", "--defined-only", file))
        assert weak
        assert [name for name in weak if f"roiops::cpu::{isa}::" not in name] == []


@pytest.mark.skipif(not objects("avx2"), reason="the library has one instruction set")
def test_the_default_engine_needs_no_newer_instructions() -> None:
    for file in objects("generic"):
        assert re.findall(r"%[yz]mm\d+", output_of("objdump", "-d", file)) == []
