"""Every product of every operator by several threads at once, for ThreadSanitizer: see run.py.

Arguments: the operators, if not all."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import box_ops
import torch
from boxes import hard_boxes
from cases import grad_of, make_case
from op_table import OPS

import roiops

CALLERS = 3  # threads of Python that call it at once
SIZE = (11, 13)


def products(op_number: int) -> None:
    """In both layouts; few channels, and whole vectors with a tail."""
    op = OPS[op_number]
    for options in op.few_options[:2]:
        for last in (False, True):
            for channels, dtype in ((2, torch.float32), (37, torch.float32), (37, torch.float16)):
                channels = 2 if op.position_sensitive else channels
                generator = torch.Generator().manual_seed(1)
                case = make_case(
                    op, options, generator, SIZE, hard_boxes(*SIZE), 2, channels, dtype,
                    torch.float32,
                )  # fmt: skip
                if last:
                    case = case.map(lambda m: m.to(memory_format=torch.channels_last))
                case = case.rows(torch.arange(len(case.boxes)).repeat(2))
                grad = grad_of(case, generator)
                leaves = case.leaves()
                torch.autograd.grad(leaves(), leaves.trainable, grad)
                case.box_jvp(torch.ones_like(case.boxes))


def box_calls() -> dict[str, box_ops.BoxCall]:
    """Of so many boxes that every loop is worth some threads."""
    generator = torch.Generator().manual_seed(1)
    upright = box_ops.random_boxes(3000, generator, extent=400.0)
    hard = box_ops.hard_boxes()
    upright = tuple(torch.cat(pair) for pair in zip(upright, hard, strict=True))
    return box_ops.sample_calls(upright, box_ops.random_rotated(1500, generator, extent=400.0))


def at_once(work: Callable[[], object]) -> None:
    """By several threads of Python."""
    callers = [threading.Thread(target=work) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def main(names: list[str]) -> None:
    print("roiops of", Path(roiops.library_path).parent, flush=True)
    for number, op in enumerate(OPS):
        if names and op.name not in names:
            continue
        at_once(partial(products, number))
        print(op, "done", flush=True)
    for name, call in box_calls().items():
        if names and name not in names:
            continue
        at_once(partial(box_ops.results_of, call))
        print(name, "done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
