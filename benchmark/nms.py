"""Times NMS and IoU beside torchvision's, on boxes that overlap much and hardly.

python benchmark/nms.py --only sparse-20000 --threads 1
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from report import RESULTS, describe_run, number, save, spread, table
from timing import clock_for, quartiles, take_turns
from torch import Tensor

import roiops


class Workload(NamedTuple):
    """Boxes of a detector before suppression, and what is asked."""

    op: str
    boxes: int
    extent: float  # of the image; boxes have sides of 1 to 51
    threshold: float = 0.5
    classes: int = 0


# Of 5000 boxes about 0.99, 0.47 and 0.11 are kept; more of fewer boxes.
EXTENTS = {"sparse": 3000.0, "dense": 150.0, "heap": 20.0}
WORKLOADS = {
    f"{name}-{count}": Workload("nms", count, extent)
    for count in (1000, 5000, 20000)
    for name, extent in EXTENTS.items()
}
WORKLOADS |= {
    "classes-1000": Workload("batched_nms", 1000, 400.0, classes=80),
    "classes-20000": Workload("batched_nms", 20000, 400.0, classes=80),
    "iou-1000": Workload("box_iou", 1000, 400.0),
    "rotated-1000": Workload("nms_rotated", 1000, 400.0),
    "rotated-5000": Workload("nms_rotated", 5000, 400.0),
    "soft-1000": Workload("soft_nms", 1000, 400.0),
}


def inputs(workload: Workload, device: str) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(workload.boxes, 2, generator=generator) * workload.extent
    side = torch.rand(workload.boxes, 2, generator=generator) * 50 + 1
    if workload.op == "nms_rotated":
        angle = torch.rand(workload.boxes, 1, generator=generator) * 7
        boxes = torch.cat([corner, side, angle], 1)
    else:
        boxes = torch.cat([corner, corner + side], 1)
    scores = torch.rand(workload.boxes, generator=generator)
    idxs = torch.randint(max(workload.classes, 1), scores.shape, generator=generator)
    return tuple(t.to(device) for t in (boxes, scores, idxs))


def calls(workload: Workload, device: str) -> dict[str, Callable[[], Any]]:
    """By library; torchvision has no rotated and no soft NMS."""
    boxes, scores, idxs = inputs(workload, device)
    arguments: tuple[Any, ...] = {
        "nms": (boxes, scores, workload.threshold),
        "batched_nms": (boxes, scores, idxs, workload.threshold),
        "box_iou": (boxes, boxes),
        "nms_rotated": (boxes, scores, workload.threshold),
        "soft_nms": (boxes, scores),
    }[workload.op]
    libraries = {"roiops": roiops, "torchvision": torchvision.ops}
    return {
        name: partial(getattr(library, workload.op), *arguments)
        for name, library in libraries.items()
        if hasattr(library, workload.op)
    }


def verify(name: str, workload: Workload, device: str) -> int:
    """Nothing wrong is timed. How many boxes are kept; torchvision's shifted coordinates round."""
    results = [call() for call in calls(workload, device).values()]
    if len(results) == 2 and workload.op == "batched_nms":
        boxes, scores, idxs = inputs(workload, device)
        vanilla = torchvision.ops.boxes._batched_nms_vanilla
        results[1] = vanilla(boxes, scores, idxs, workload.threshold)
        results = [kept.sort()[0] for kept in results]  # its order of equal scores is any
    if len(results) == 2 and not torch.equal(*results):
        raise AssertionError(f"{name}: the libraries do not agree")
    first = results[0]
    return len(first[0] if isinstance(first, tuple) else first)


def measure(name: str, workload: Workload, options: argparse.Namespace) -> list[dict[str, Any]]:
    kept, rows = verify(name, workload, options.device), []
    for threads in options.threads:
        if threads is not None:
            torch.set_num_threads(threads)
        run = calls(workload, options.device)
        times = take_turns(list(run.values()), clock_for(options.device), options.seconds)
        medians = {library: quartiles(own) for library, own in zip(run, times, strict=True)}
        ours, theirs = medians["roiops"], medians.get("torchvision")
        row = {"workload": name, "op": workload.op, "boxes": workload.boxes, "kept": kept,
               "threads": threads, "roiops": ours, "torchvision": theirs,
               "ratio": theirs[1] / ours[1] if theirs else None}  # fmt: skip
        rows.append(row)
    return rows


def shown(rows: Sequence[dict[str, Any]]) -> str:
    header = ("workload", "kept", "threads", "roiops ms", "torchvision ms", "ratio")
    lines = [
        (
            row["workload"],
            str(row["kept"]),
            str(row["threads"] or "-"),
            spread(row["roiops"]),
            spread(row["torchvision"]),
            number(row["ratio"]),
        )
        for row in rows
    ]
    return table(header, lines)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="WORKLOAD")
    add("--threads", nargs="+", type=int, help="numbers of threads (CPU only; default: 1 2)")
    add("--seconds", type=float, default=1.0, help="for the repeats of a row (default: 1)")
    add("--name", default="nms", help="of the result file (default: nms)")
    add("--results", type=Path, default=RESULTS, help="its folder (default: build/benchmark)")
    options = parser.parse_args(arguments)
    options.threads = [None] if options.device == "cuda" else options.threads or [1, 2]
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    rows = [row for name in options.only for row in measure(name, WORKLOADS[name], options)]
    save(
        options.results / f"{options.name}.json",
        describe_run(options.device, False) | {"rows": rows},
    )
    print(shown(rows))


if __name__ == "__main__":
    main()
