"""Times torchvision's detection models before and after roiops.patch_torchvision().

python benchmark/models.py --only maskrcnn --pass eval --threads 2
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from problems import Call
from report import RESULTS, Progress, Row, describe_run, number, row_name, save, spread, table
from run import check_cuda, result_file
from timing import Clock, clock_for, quartiles, take_turns
from torch import Tensor, nn

import roiops

MODELS = {name: f"{name}_resnet50_fpn" for name in ("fasterrcnn", "maskrcnn", "keypointrcnn")}
PASSES = ("eval", "train")
SHRUNK = {
    "min_size": 64, "max_size": 96, "rpn_pre_nms_top_n_train": 50, "rpn_pre_nms_top_n_test": 50,
    "rpn_post_nms_top_n_train": 20, "rpn_post_nms_top_n_test": 20, "box_detections_per_img": 5,
    "box_batch_size_per_image": 16,
}  # fmt: skip


@dataclass(frozen=True)
class Switched:
    """A call on the kernels of one library."""

    call: Call
    patched: bool

    def __call__(self) -> Any:
        return self.call()


def switching(clock: Clock) -> Clock:
    """Patching is not timed."""

    def timed(call: Any) -> float:
        with roiops.torchvision_patched() if call.patched else nullcontext():
            return clock(call)

    return timed


class Problem:
    """A model with random weights, images of noise, and what its RoI poolers are given."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        small = SHRUNK if options.shrink else {}
        make = getattr(torchvision.models.detection, MODELS[name])
        self.model: nn.Module = make(weights=None, weights_backbone=None, **small)
        self.model.to(options.device)
        size = (48, 64) if options.shrink else (800, 1088)
        self.images = [torch.rand(3, *size, device=options.device) for _ in range(options.images)]
        self.targets = [self.target(*size) for _ in self.images]

    def target(self, height: int, width: int) -> dict[str, Tensor]:
        device = self.images[0].device
        boxes = torch.tensor([[0.1, 0.1, 0.6, 0.7], [0.2, 0.3, 0.9, 0.9]], device=device)
        boxes = boxes * torch.tensor([width, height, width, height], device=device)
        masks = torch.zeros(2, height, width, dtype=torch.uint8, device=device)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        middles = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        keypoints = torch.cat([middles, torch.ones(2, 1, 1, device=device)], 2).expand(2, 17, 3)
        labels = torch.ones(2, dtype=torch.int64, device=device)
        return {"boxes": boxes, "labels": labels, "masks": masks, "keypoints": keypoints}

    def evaluate(self) -> Any:
        with torch.no_grad():
            return self.model(self.images)

    def train(self) -> Any:
        """Losses and their gradients; the same samples of proposals every time."""
        torch.manual_seed(1)
        self.model.zero_grad()
        sum(self.model(self.images, self.targets).values()).backward()
        return ()

    def whole(self, pass_name: str) -> Call:
        self.model.train(pass_name == "train")
        return self.train if pass_name == "train" else self.evaluate

    def roi_part(self, pass_name: str) -> Call:
        """The poolers alone, on what a pass gives them."""
        calls: list[tuple[nn.Module, tuple[Any, ...]]] = []
        poolers = [
            m for m in self.model.modules() if isinstance(m, torchvision.ops.MultiScaleRoIAlign)
        ]
        hooks = [
            p.register_forward_pre_hook(lambda m, given: calls.append((m, given))) for p in poolers
        ]
        self.whole(pass_name)()
        for hook in hooks:
            hook.remove()
        return pool_all(calls, backward=pass_name == "train")


def pool_all(calls: Sequence[tuple[nn.Module, tuple[Any, ...]]], backward: bool) -> Call:
    ready = []
    for pooler, (maps, boxes, sizes) in calls:
        leaves = {key: x.detach().requires_grad_(backward) for key, x in maps.items()}
        ready.append((pooler, leaves, [b.detach() for b in boxes], sizes))
    with torch.no_grad():
        gradients = [torch.randn_like(pooler(*given)) for pooler, *given in ready]

    def run() -> Any:
        results = [pooler(*given) for pooler, *given in ready]
        used = [x for _, maps, *_ in ready for key, x in maps.items() if x.requires_grad]
        if not backward:
            return tuple(results)
        return torch.autograd.grad(results, used, gradients, allow_unused=True)

    return run


def verify(name: str, call: Call) -> None:
    """What differs is not timed."""
    theirs = call()
    with roiops.torchvision_patched():
        ours = call()
    for got, wanted in zip(ours, theirs, strict=True):
        if wanted is not None:
            torch.testing.assert_close(
                got, wanted, rtol=1e-4, atol=1e-4, msg=lambda m: f"{name}: {m}"
            )


def measure(call: Call, clock: Clock, seconds: float) -> Row:
    turns = [Switched(call, False), Switched(call, True)]
    times = take_turns(turns, switching(clock), seconds)
    theirs, ours = map(quartiles, times)
    return {"roiops": ours, "torchvision": theirs, "repeats": len(times[0]),
            "ratio": theirs[1] / ours[1]}  # fmt: skip


def rows(options: argparse.Namespace) -> Iterator[Row]:
    clock = clock_for(options.device)
    for name in options.only:
        problem = Problem(name, options)
        for pass_name in options.passes:
            parts: dict[str, Callable[[str], Call]] = {
                "model": problem.whole,
                "roi": problem.roi_part,
            }
            for part, make in parts.items():
                call = make(pass_name)
                if part == "roi":
                    verify(f"{name} {pass_name}", call)
                for threads in options.threads:
                    if threads is not None:
                        torch.set_num_threads(threads)
                    row = {"workload": f"{name}.{part}", "dtype": "float32", "layout": "nchw",
                           "pass": pass_name, "threads": threads}  # fmt: skip
                    yield row | measure(call, clock, options.seconds)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--only", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL")
    add("--pass", nargs="+", choices=PASSES, default=list(PASSES), dest="passes")
    add("--images", type=int, default=2, help="in a batch (default: 2)")
    add("--threads", nargs="+", type=int, help="numbers of threads (CPU only; default: 1 2)")
    add("--seconds", type=float, default=20.0, help="for the repeats of a row (default: 20)")
    add("--shrink", action="store_true", help="tiny images: tries the script, measures nothing")
    add("--name", help="of the result file (default: the device's name)")
    add("--results", type=Path, default=RESULTS, help="its folder (default: build/benchmark)")
    options = parser.parse_args(arguments)
    if options.device == "cuda":
        check_cuda(parser)
    options.threads = [None] if options.device == "cuda" else options.threads or [1, 2]
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    progress = Progress(len(options.only) * len(options.passes) * 2 * len(options.threads))
    found = []
    for row in rows(options):
        found.append(row)
        progress.step(row_name(row), f"{spread(row['roiops'])} ms, ratio {number(row['ratio'])}")
    file = result_file(options)
    file = file.with_name(f"{file.stem}-models.json")
    description = describe_run(options.device, options.shrink)
    save(file, description | {"images": options.images, "rows": found})
    header = ("part", "pass", "threads", "patched ms", "torchvision ms", "ratio")
    print(table(header, [
        (r["workload"], r["pass"], str(r["threads"] or "-"), spread(r["roiops"]),
         spread(r["torchvision"]), number(r["ratio"])) for r in found
    ]))  # fmt: skip
    print(f"written to {file}")


if __name__ == "__main__":
    main()
