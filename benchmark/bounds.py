"""What bounds a row on the CPU: pages of the result, reads from memory, taps from the cache.

.venv-cuda/bin/python benchmark/bounds.py --threads 2

For each workload in channels_last, float32: the measured time; `result`, the time to write a result as
large where nothing is to be read; `memory`, the time to read once what must be, at the bandwidth of
a large copy; `taps`, the time to read the bytes of all taps from the second level of the cache.
Backward reads and writes each tap. `x bound` is the measured time over the sum of the three. A tap
that the first level still holds costs less, one that has left the second more.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from problems import Problem, Variant, boxes_of, build, forward_call, generator
from report import Progress, milliseconds, number, table
from run import set_threads
from timing import cpu_clock, take_turns
from traffic import bandwidth, one_channel, output_bytes, takes_maximum, touched_share
from workloads import PASSES, WORKLOADS, Workload

import roiops

SAMPLE = 200  # bins whose taps are counted
CACHED_BYTES = 2**19  # fits the second level, not the first
LARGEST_RESULT = 2**28
LINE = 64  # bytes of a line of the cache


def median(call: Callable[[], torch.Tensor], seconds: float) -> float:
    return statistics.median(take_turns([lambda: (call(),)], cpu_clock, seconds)[0])


def cache_bandwidth(threads: int) -> float:
    """Bytes per second that the threads read from caches of their own."""
    torch.set_num_threads(1)
    a, b = (torch.ones(CACHED_BYTES // 8) for _ in range(2))
    repeats = 100

    def read() -> torch.Tensor:
        return torch.stack([a.dot(b) for _ in range(repeats)])

    seconds = median(read, 0.5)
    set_threads(threads)
    return threads * repeats * CACHED_BYTES / seconds


def seconds_to_write(size: int) -> float:
    """Of a result of so many bytes on fresh pages, by boxes that read nothing."""
    channels, bins = 64, 7
    rois = max(size // (4 * channels * bins * bins), 1)
    features = torch.zeros(1, channels, 1, 1)
    nothing = torch.full((rois, 5), torch.nan)
    nothing[:, 0] = 0
    written = rois * channels * bins * bins * 4
    return median(lambda: roiops.roi_align(features, nothing, bins), 0.3) * size / written


def taps_per_bin(workload: Workload) -> float:
    """The mean of a sample: a tap is a pixel with a weight in a bin."""
    narrow = one_channel(workload)
    boxes = boxes_of(workload)
    source = generator()
    maps = [torch.zeros(1, *shape[1:]).requires_grad_() for shape in narrow.maps]
    offset = None
    if workload.op == "deform_roi_pool":
        offset = torch.randn(1, 2, *workload.bins, generator=source)
    count = 0
    for _ in range(SAMPLE):
        box = boxes[torch.randint(len(boxes), (1,), generator=source)]
        if workload.op != "crop_and_resize":
            box[:, 0] = 0
        bins = forward_call(roiops, narrow, maps, box, offset)().flatten()
        bin = bins[torch.randint(len(bins), (1,), generator=source)]
        weights = torch.autograd.grad(bin, maps, allow_unused=True)
        count += sum(int(w.count_nonzero()) for w in weights if w is not None)
    return count / SAMPLE


@dataclass(frozen=True)
class Bandwidths:
    """Bytes per second."""

    memory: float
    cache: float


def tap_bytes(workload: Workload, output: int) -> int:
    """For each tap of each element of the output one pixel of a channel; a line of the cache where
    the channels of a bin are not neighbours."""
    return int(taps_per_bin(workload) * output * (LINE if workload.op.startswith("ps_") else 4))


def winner_bytes(workload: Workload, output: int) -> int:
    """Of the taps of winners: a line each, because neighbouring channels have others."""
    return output * LINE * (1 if workload.op == "roi_pool" else 4)


def bounds(problem: Problem, workload: Workload, name: str, of: Bandwidths) -> list[float]:
    """[seconds to write the result, to read from memory, to read the taps]"""
    elements = problem.grad.numel()
    output = output_bytes(workload, "float32", elements)
    features = sum(t.numel() for t in problem.by) * 4
    if name == "forward":
        touched = features * touched_share(workload)
        return [
            seconds_to_write(output),
            touched / of.memory,
            tap_bytes(workload, elements) / of.cache,
        ]
    taps = (winner_bytes if takes_maximum(workload) else tap_bytes)(workload, elements)
    share = min(1.0, LARGEST_RESULT / features)
    pages = seconds_to_write(int(features * share)) / share
    return [pages, output / of.memory, 2 * taps / of.cache]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    names = [n for n, workload in WORKLOADS.items() if "forward" in workload.passes]
    add("--only", nargs="+", choices=names, default=names, metavar="WORKLOAD")
    add("--pass", nargs="+", choices=PASSES[:2], default=PASSES[:2], dest="passes")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--seconds", type=float, default=0.5)
    options = parser.parse_args()
    set_threads(options.threads)
    of = Bandwidths(bandwidth("cpu", cpu_clock), cache_bandwidth(options.threads))
    progress = Progress(len(options.only))
    rows = []
    for name in options.only:
        workload = replace(WORKLOADS[name], gradients_by=("features",))
        problem = build(workload, "roiops", Variant(layout="channels_last"))
        for pass_name in options.passes:
            call = problem.prepare(pass_name)
            seconds = statistics.median(take_turns([call], cpu_clock, options.seconds)[0])
            parts = bounds(problem, workload, pass_name, of)
            cells = [seconds, *parts, sum(parts)]
            rows.append([name, pass_name, *map(milliseconds, cells), number(seconds / sum(parts))])
        progress.step(name, " ".join(rows[-1]))
    header = ("workload", "pass", "roiops ms", "result ms", "memory ms", "taps ms", "bound ms",
              "x bound")  # fmt: skip
    print(table(header, rows))
    print(f"{options.threads} threads: {of.memory / 1e9:.0f} GB/s from memory, "
          f"{of.cache / 1e9:.0f} GB/s from the cache")  # fmt: skip


if __name__ == "__main__":
    main()
