"""Trains the detector, shows how far it is, and tells how well it finds held-out shapes.

Usage: python examples/detector/train.py [--mode align|psroi|rotated] [--steps N] ...
       torchrun --nproc-per-node 2 examples/detector/train.py ...  (half of each batch per process)
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from data import Shapes, backgrounds
from draw import paste
from evaluate import Found, mean_average_precision
from loss import Loss, collate
from model import MODES, Detector, save
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

TRAINING, HELD_OUT = 0, 1  # seeds of the pictures


class Progress:
    """A bar where there is a terminal, else a line for every tenth."""

    def __init__(self, total: int, shown: bool = True) -> None:
        self.total, self.shown, self.start = total, shown, time.perf_counter()
        self.terminal = sys.stdout.isatty()

    def __call__(self, done: int, text: str) -> None:
        if not self.shown:
            return
        passed = time.perf_counter() - self.start
        left = passed / done * (self.total - done)
        bar = "#" * (30 * done // self.total)
        line = f"[{bar:<30}] {done}/{self.total}  {text}  {clock(passed)}, {clock(left)} left"
        if self.terminal:
            print(f"\r{line}  ", end="\n" if done == self.total else "", flush=True)
        elif done * 10 // self.total != (done - 1) * 10 // self.total:
            print(line, flush=True)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def one_cycle(
    optimizer: torch.optim.Optimizer, rate: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The rate rises for a tenth of the steps; a first phase of one step would divide by zero."""
    rising = min(max(steps // 10, 2) / steps, 0.9)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=rising)


def train(
    model: Detector, shapes: Shapes, steps: int, batch: int, rate: float, shown: bool = True
) -> list[Tensor]:
    """The losses [5] of every step. In a process group, every process has its part of each batch."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    own = batch // world
    loss = Loss(model.train())
    module = DistributedDataParallel(loss) if world > 1 else loss
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = one_cycle(optimizer, rate, steps)
    progress, losses = Progress(steps, shown and rank == 0), []
    for step in range(steps):
        first = step * batch + rank * own
        parts = module(*collate([shapes[i] for i in range(first, first + own)]))
        optimizer.zero_grad()
        parts.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        losses.append(parts.detach())
        recent = torch.stack(losses[-20:]).mean(0)
        each = ", ".join(f"{n} {v:.2f}" for n, v in zip(Loss.NAMES, recent.tolist(), strict=True))
        progress(step + 1, f"loss {recent.sum():.2f} ({each})")
    return losses


@torch.no_grad()
def evaluate(model: Detector, shapes: Shapes, count: int) -> dict[str, float]:
    """AP of boxes and of masks on the first pictures."""
    model.eval()
    by_box, by_mask = [], []
    for i in range(count):
        image, truth, truth_labels, truth_masks = shapes[i]
        boxes, scores, labels, masks = (part[0] for part in model(image[None]))
        meant = scores > 0
        boxes, scores, labels = boxes[meant], scores[meant], labels[meant]
        covered = paste(model.boxes, boxes, masks[meant], *image.shape[1:])
        by_box.append(Found(scores, labels, model.boxes.iou(boxes, truth), truth_labels))
        overlaps = mask_iou(covered, truth_masks > 0.5)
        by_mask.append(Found(scores, labels, overlaps, truth_labels))
    (box, box50), (mask, mask50) = map(mean_average_precision, (by_box, by_mask))
    return {"box AP": box, "box AP50": box50, "mask AP": mask, "mask AP50": mask50}


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """[K, L] of masks [K, H, W] and [L, H, W]."""
    a, b = a.flatten(1).float(), b.flatten(1).float()
    shared = a @ b.T
    return shared / (a.sum(1)[:, None] + b.sum(1) - shared).clamp(min=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", choices=MODES, default="align", help="of the model: model.py")
    parser.add_argument("--steps", type=int, default=1200, help="of the optimizer")
    parser.add_argument("--batch", type=int, default=8, help="pictures in a step, of all processes")
    parser.add_argument("--rate", type=float, default=2e-3, help="largest learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    parser.add_argument("--threads", type=int, default=2, help="of all processes")
    parser.add_argument("--pictures", type=int, default=200, help="held-out ones, for the AP")
    parser.add_argument("--backgrounds", type=Path, help="a folder of three or more photographs")
    folder = Path("build/detector")
    parser.add_argument("--output", type=Path, default=folder, help="folder for MODE.pt")
    options = parser.parse_args()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if options.batch % processes:
        parser.error("--batch must be a multiple of the number of processes")
    if options.pictures < 1:
        parser.error("--pictures must be positive")

    if "RANK" in os.environ:  # started by torchrun
        dist.init_process_group("gloo")
    torch.set_num_threads(max(1, options.threads // processes))
    torch.manual_seed(options.seed)
    model, rotated = Detector(options.mode), options.mode == "rotated"
    shapes = Shapes(backgrounds(options.backgrounds, held_out=False), TRAINING, rotated)
    start, used = time.perf_counter(), time.process_time()
    train(model, shapes, options.steps, options.batch, options.rate)
    if not dist.is_initialized() or dist.get_rank() == 0:
        passed, used = time.perf_counter() - start, time.process_time() - used
        print(f"trained in {clock(passed)}, {clock(used)} of processor time")
        options.output.mkdir(parents=True, exist_ok=True)
        save(model, options.output / f"{options.mode}.pt")
        held_out = Shapes(backgrounds(options.backgrounds, held_out=True), HELD_OUT, rotated)
        results = evaluate(model, held_out, options.pictures)
        print(", ".join(f"{name} {100 * value:.1f}" for name, value in results.items()))
        print(f"written to {options.output / options.mode}.pt")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
