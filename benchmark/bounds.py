"""What bounds a row on the CPU: pages of the result, and reads of taps from the cache.

.venv-cuda/bin/python benchmark/bounds.py --threads 2

For each workload in channels_last, float32: the measured time, the time to write a result as large
where nothing is to be read, and the time to read the bytes of all taps from the second level of
the cache. Backward reads and writes each tap. `x bound` is the measured time over the sum of both.
A tap that the first level still holds costs less, one that has left the second more.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace

import torch
from problems import Problem, Variant, boxes_of, build, forward_call, generator
from report import Progress, milliseconds, number, table
from run import set_threads
from timing import cpu_clock, take_turns
from traffic import one_channel
from workloads import PASSES, WORKLOADS, Workload

import roiops

SAMPLE = 200  # bins whose taps are counted
CACHED_BYTES = 2**19  # fits the second level, not the first
LARGEST_RESULT = 2**28


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


def tap_bytes(workload: Workload, output: int) -> int:
    """For each tap of each element of the output one pixel of a channel; a line of the cache where
    the channels of a bin are not neighbours."""
    return int(taps_per_bin(workload) * output * (64 if workload.op.startswith("ps_") else 4))


def bounds(problem: Problem, workload: Workload, name: str, bandwidth: float) -> list[float]:
    """[seconds to write the result, seconds to read the taps]"""
    output = problem.grad.numel()
    by_taps = tap_bytes(workload, output) / bandwidth
    if name == "forward":
        return [seconds_to_write(output * 4), by_taps]
    winner_taps = {"roi_pool": 1, "max": 4}.get(workload.options.get("mode", workload.op))
    if winner_taps is not None:
        by_taps = winner_taps * output * 4 / bandwidth
    size = sum(t.numel() for t in problem.by) * 4
    share = min(1.0, LARGEST_RESULT / size)
    return [seconds_to_write(int(size * share)) / share, 2 * by_taps]


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
    bandwidth = cache_bandwidth(options.threads)
    progress = Progress(len(options.only))
    rows = []
    for name in options.only:
        workload = replace(WORKLOADS[name], gradients_by=("features",))
        problem = build(workload, "roiops", Variant(layout="channels_last"))
        for pass_name in options.passes:
            call = problem.prepare(pass_name)
            seconds = statistics.median(take_turns([call], cpu_clock, options.seconds)[0])
            parts = bounds(problem, workload, pass_name, bandwidth)
            cells = [seconds, *parts, sum(parts)]
            rows.append([name, pass_name, *map(milliseconds, cells), number(seconds / sum(parts))])
        progress.step(name, " ".join(rows[-1]))
    header = ("workload", "pass", "roiops ms", "result ms", "taps ms", "bound ms", "x bound")
    print(table(header, rows))
    print(f"the cache's bandwidth with {options.threads} threads: {bandwidth / 1e9:.0f} GB/s")


if __name__ == "__main__":
    main()
