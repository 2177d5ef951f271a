"""Run by torchrun: trains the example in a group of processes, each of which prints its weights.

`alone` leaves out DistributedDataParallel, so that a test sees that the comparison can fail. Weights
are not gathered: gloo's threads may hold gathered tensors when Python is already shutting down, and
then end the process.
"""

from __future__ import annotations

import sys
from hashlib import sha256

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
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    print(f"weights {sha256(weights.numpy().tobytes()).hexdigest()}\n", end="", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
