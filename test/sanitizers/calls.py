"""Every product of every operator by several threads at once, for ThreadSanitizer: see run.py.

Arguments: the operators, if not all."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from boxes import hard_boxes
from cases import grad_of, make_case
from op_table import OPS

import roiops

THREADS = 4  # of an operator
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


def main(names: list[str]) -> None:
    print("roiops of", Path(roiops.library_path).parent, flush=True)
    torch.set_num_threads(THREADS)
    for number, op in enumerate(OPS):
        if names and op.name not in names:
            continue
        callers = [threading.Thread(target=products, args=(number,)) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        print(op, "done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
