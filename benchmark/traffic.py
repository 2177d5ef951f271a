"""The floor of a row: the bytes that must move, over the bandwidth of a large copy."""

from __future__ import annotations

import statistics
from dataclasses import replace

import torch
from problems import DTYPES, Call, Problem, Variant, build
from timing import Clock, take_turns
from workloads import Workload

COPY_BYTES = 2**29  # much more than the caches
COPY_SECONDS = 1.0


def bandwidth(device: str, clock: Clock) -> float:
    """Bytes per second, read and written, of a copy with the current number of threads."""
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)

    def copy() -> tuple[torch.Tensor, ...]:
        return (target.copy_(source),)

    calls: list[Call] = [copy]
    return 2 * COPY_BYTES / statistics.median(take_turns(calls, clock, COPY_SECONDS)[0])


def one_channel(workload: Workload) -> Workload:
    """Reads the pixels that the workload reads. A maximum reads what the mean of its samples reads;
    RoIPool reads every pixel of the box, as RoIAlign with an adaptive grid does."""
    options = {name: value for name, value in workload.options.items() if name != "mode"}
    maps = tuple((n, 1, h, w) for n, _, h, w in workload.maps)
    if workload.op.startswith("ps_"):  # each channel has its own pixels
        maps = workload.maps
    if workload.op == "roi_pool":
        return replace(workload, op="roi_align", maps=maps, options={"sampling_ratio": 0})
    return replace(workload, maps=maps, options=options)


def touched_share(workload: Workload) -> float:
    """The share of the features that have a weight in some bin."""
    narrow = replace(one_channel(workload), gradients_by=("features",))
    problem = build(narrow, "roiops", Variant())
    weights = torch.autograd.grad(problem.forward().sum(), problem.by)
    return sum(int(w.count_nonzero()) for w in weights) / sum(w.numel() for w in weights)


def takes_maximum(workload: Workload) -> bool:
    return workload.op == "roi_pool" or workload.options.get("mode") == "max"


def output_bytes(workload: Workload, dtype: str, elements: int) -> int:
    """Of values or their gradients; forward returns, and backward takes, winners as int32."""
    return elements * (DTYPES[dtype].itemsize + 4 * takes_maximum(workload))


def least_bytes(workload: Workload, dtype: str, problem: Problem, share: float) -> dict[str, int]:
    """By pass. The output and the gradients are written once, the output's gradient and the touched
    features read once; the gradient by the features is written whole, zeros included."""
    item = DTYPES[dtype].itemsize
    features = sum(n * c * h * w for n, c, h, w in workload.maps) * item
    output = output_bytes(workload, dtype, problem.grad.numel())
    touched = int(features * share)
    forward = output + touched
    backward = output
    if "features" in workload.gradients_by:
        backward += features
    if workload.gradients_by != ("features",):  # these gradients depend on the features
        backward += touched
    return {"forward": forward, "backward": backward, "both": forward + backward}
