"""Clocks, and repeats that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from problems import Call

Clock = Callable[[Call], float]  # seconds of one call
LEAST_REPEATS = 3
FLUSH_BYTES = 256 * 2**20  # more than the L2 cache of any GPU
AHEAD_CYCLES = 1_000_000  # about half a millisecond


def cpu_clock(call: Call) -> float:
    """Freeing the results is not timed."""
    start = time.perf_counter()
    results = call()
    elapsed = time.perf_counter() - start
    del results
    return elapsed


def cuda_clock() -> Clock:
    """Time on the device alone, with a cold L2 cache: while the device sleeps the launches are
    queued, and writing a large buffer evicts what the last call has left."""
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def clock(call: Call) -> float:
        torch.cuda._sleep(AHEAD_CYCLES)
        flush.zero_()
        start.record()
        results = call()
        end.record()
        end.synchronize()
        del results
        return start.elapsed_time(end) / 1e3

    return clock


def clock_for(device: str) -> Clock:
    return cuda_clock() if device == "cuda" else cpu_clock


def take_turns(calls: Sequence[Call], clock: Clock, seconds: float) -> list[list[float]]:
    """The times of each call, A B A B, so that a disturbance meets all of them; stops after
    `seconds` in all. Each timed call follows an untimed one, whose memory it gets. The first round
    warms up; it counts if rounds are too slow for more than the least number of them."""
    times: list[list[float]] = [[] for _ in calls]
    stop = time.perf_counter() + seconds
    while len(times[0]) < LEAST_REPEATS or time.perf_counter() < stop:
        for call, own in zip(calls, times, strict=True):
            clock(call)
            own.append(clock(call))
    return [own[1:] if len(own) > LEAST_REPEATS else own for own in times]


def quartiles(times: Sequence[float]) -> list[float]:
    """[lower quartile, median, upper quartile]"""
    return statistics.quantiles(times, n=4, method="inclusive")
