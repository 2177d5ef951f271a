"""What the children of test_processes.py run: imports little, because spawned ones import it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import roiops


def share_results(maps: Tensor, boxes: Tensor, results: Any, received: Any) -> None:
    """The maps lie in shared memory, and so do the results."""
    maps = maps.detach().requires_grad_()
    out = roiops.roi_align(maps, boxes, 3)
    out.sum().backward()
    results.put(out.detach())
    results.put(maps.grad)
    received.wait()  # what it shares lives no longer than the child


class Crops(torch.utils.data.Dataset):
    """Calls an operator in the workers of a loader."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> Tensor:
        image = torch.full((1, 3, 11, 13), float(number))
        return roiops.roi_align(image, torch.tensor([[0, 1.0, 1, 6, 6]]), 2)[0]
