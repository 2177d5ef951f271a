"""Run by torchrun: trains the example in a group of processes, and prints whether it is one model.

`alone` leaves out DistributedDataParallel, so that a test sees that the comparison can fail.
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from build_tree import ROOT
from few_pictures import Few

sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "examples" / "detector")]

import train
from model import Detector


def main(*arguments: str) -> None:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if "alone" in arguments:
        train.DistributedDataParallel = lambda module: module
    model = Detector("align")
    train.train(model, Few(False, 4), steps=2, batch=4, rate=2e-3, shown=False)
    own = torch.cat([p.detach().flatten() for p in model.parameters()])
    each = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(each, own)
    if dist.get_rank() == 0:
        print(f"one model: {all(torch.equal(other, own) for other in each)}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
