"""Times the operators of roiops beside torchvision's: see docs/benchmarks.md.

python benchmark/run.py --only fpn_p2 tiny --dtype float32 --threads 1
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from memory import cuda_extra_bytes, in_child
from problems import DTYPES, LAYOUTS, Call, Problem, Variant, build
from report import (
    RESULTS,
    Progress,
    Row,
    describe_run,
    device_name,
    number,
    row_name,
    rows_table,
    save,
    spread,
    summary,
)
from timing import Clock, clock_for, quartiles, take_turns
from traffic import bandwidth, least_bytes, touched_share
from verify import reference, verify
from workloads import PASSES, WORKLOADS, Workload, named

import roiops


@dataclass
class Session:
    """What the rows of a run share."""

    options: argparse.Namespace
    clock: Clock
    bandwidths: dict[int | None, float] = field(default_factory=dict)  # by number of threads

    def rows(self) -> Iterator[Row]:
        for name in self.options.only:
            workload = named(name, self.options.shrink, self.options.hostile)
            share = touched_share(workload)
            for dtype in self.options.dtype:
                for layout in self.options.layout:
                    variant = Variant(dtype, layout, self.options.device)
                    yield from self.rows_of(name, workload, variant, share)

    def rows_of(
        self, name: str, workload: Workload, variant: Variant, share: float
    ) -> Iterator[Row]:
        problems = {"roiops": build(workload, "roiops", variant)}
        other = reference(workload, variant)
        if other is not None:
            verify(name, workload, variant, problems["roiops"], other)
        if other is not None and workload.has_peer:
            problems["torchvision"] = other
        del other
        if variant.dtype != "float32":  # a narrower type should not take longer
            problems["float32"] = build(workload, "roiops", replace(variant, dtype="float32"))
        counts = least_bytes(workload, variant.dtype, problems["roiops"], share)
        for threads in self.options.threads:
            set_threads(threads)
            for pass_name in self.passes(workload):
                row = {"workload": name, "op": workload.op, "dtype": variant.dtype,
                       "layout": variant.layout, "pass": pass_name, "threads": threads,
                       "bytes": counts[pass_name]}  # fmt: skip
                yield self.measure(row, problems)

    def measure(self, row: Row, problems: dict[str, Problem]) -> Row:
        calls = [problem.prepare(row["pass"]) for problem in problems.values()]
        times = take_turns(calls, self.clock, self.options.seconds)
        medians = {name: quartiles(own) for name, own in zip(problems, times, strict=True)}
        ours, theirs, wide = (medians.get(name) for name in ("roiops", "torchvision", "float32"))
        floor = row["bytes"] / self.bandwidths[row["threads"]]
        return row | {
            "roiops": ours,
            "torchvision": theirs,
            "repeats": len(times[0]),
            "ratio": theirs[1] / ours[1] if theirs else None,
            "over_float32": ours[1] / wide[1] if wide else None,
            "floor": floor,
            "over_floor": ours[1] / floor,
            "extra_bytes": self.extra_bytes(row, dict(zip(problems, calls, strict=True))),
        }

    def extra_bytes(self, row: Row, calls: dict[str, Call]) -> dict[str, int]:
        if self.options.device == "cuda":
            return {library: cuda_extra_bytes(call) for library, call in calls.items()}
        if not self.options.memory:
            return {}
        task = row | {"shrink": self.options.shrink, "hostile": self.options.hostile}
        libraries = [library for library in calls if library != "float32"]
        return {library: in_child(task | {"library": library}) for library in libraries}

    def passes(self, workload: Workload) -> list[str]:
        return [name for name in workload.passes if name in self.options.passes]

    def count(self) -> int:
        variants = len(self.options.dtype) * len(self.options.layout) * len(self.options.threads)
        return variants * sum(len(self.passes(WORKLOADS[name])) for name in self.options.only)


def set_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


def run(options: argparse.Namespace) -> dict[str, Any]:
    session = Session(options, clock_for(options.device))
    for threads in options.threads:
        set_threads(threads)
        session.bandwidths[threads] = bandwidth(options.device, session.clock)
    progress = Progress(session.count())
    rows = []
    for row in session.rows():
        rows.append(row)
        progress.step(row_name(row), f"{spread(row['roiops'])} ms, ratio {number(row['ratio'])}")
    bandwidths = {str(threads): value for threads, value in session.bandwidths.items()}
    description = describe_run(options.device, options.shrink)
    boxes = {"hostile": options.hostile, "bandwidth": bandwidths}
    return description | boxes | {"rows": rows}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="WORKLOAD")
    add("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    add("--layout", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    add("--pass", nargs="+", choices=PASSES, default=list(PASSES), dest="passes")
    add("--threads", nargs="+", type=int, help="numbers of threads (CPU only; default: 1 2)")
    add("--seconds", type=float, default=1.0, help="for the repeats of a row (default: 1)")
    add("--hostile", action="store_true", help="every workload with the boxes of hostile_boxes")
    add("--memory", action="store_true", help="measure peak memory on the CPU too (slow)")
    add("--shrink", action="store_true", help="tiny maps: tries the harness, measures nothing")
    add("--name", help="of the result file (default: the device's name)")
    add("--results", type=Path, default=RESULTS, help="its folder (default: build/benchmark)")
    options = parser.parse_args(arguments)
    if options.device == "cuda":
        if options.threads:
            parser.error("`--threads` must be left out with `--device cuda`.")
        check_cuda(parser)
    options.threads = [None] if options.device == "cuda" else options.threads or [1, 2]
    if options.seconds < 0:
        parser.error(f"`--seconds` must not be negative, but got {options.seconds}.")
    if not any(name in options.passes for w in options.only for name in WORKLOADS[w].passes):
        parser.error(f"`--pass` must be one that `--only` has, but got {options.passes}.")
    if any(n is not None and n < 1 for n in options.threads):
        parser.error(f"`--threads` must be positive, but got {options.threads}.")
    return options


def check_cuda(parser: argparse.ArgumentParser) -> None:
    if not torch.cuda.is_available():
        parser.error("`--device` must be available, but torch sees no CUDA device.")
    if roiops.cuda_version is None:
        parser.error("`--device` must have kernels, but roiops was built without CUDA.")


def result_file(options: argparse.Namespace) -> Path:
    name = options.name or re.sub(r"\W+", "-", device_name(options.device).lower()).strip("-")
    return options.results / f"{name}.json"


def main() -> None:
    options = parse()
    results = run(options)
    save(result_file(options), results)
    print(rows_table(results["rows"]))
    for threads, value in results["bandwidth"].items():
        at = "" if threads == "None" else f" with {threads} threads"
        print(f"bandwidth of a copy{at}: {value / 1e9:.1f} GB/s; floors do not count page faults")
    print(summary(results["rows"]))
    print(f"written to {result_file(options)}")


if __name__ == "__main__":
    main()
