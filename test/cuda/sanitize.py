"""The hard boxes through every kernel, small, for compute-sanitizer: python test/cuda/sanitize.py"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from boxes import hard_boxes
from cases import grad_of, make_case
from op_table import OPS
from test_nms_graphs import sample_calls

H, W = 11, 13


def main() -> None:
    generator = torch.Generator().manual_seed(1)
    for op in OPS:
        for options in op.few_options[:2]:
            for layout in (torch.contiguous_format, torch.channels_last):
                case = make_case(
                    op, options, generator, (H, W), hard_boxes(H, W), channels=8,
                    dtype=torch.float32,
                ).to("cuda").map(lambda m, f=layout: m.to(memory_format=f))  # fmt: skip
                grad = grad_of(case, generator)
                case.gradients(grad)
                case.box_jvp(torch.ones_like(case.boxes))
        torch.cuda.synchronize()
        print(op, "done", flush=True)
    for name, args in sample_calls("cuda"):
        getattr(torch.ops.roiops, name)(*args)
    torch.cuda.synchronize()
    print("boxes done", flush=True)


if __name__ == "__main__":
    main()
