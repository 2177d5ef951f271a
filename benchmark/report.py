"""Result files, tables and the progress bar. compare.py and plot.py read files alone: torch is
imported where a run is described."""

from __future__ import annotations

import json
import math
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "build" / "benchmark"  # published: benchmark/results
SUMMARIES = (
    ("ratio", "times as fast as torchvision"),
    ("over_float32", "of the time of float32"),
)
KEY = ("workload", "dtype", "layout", "pass", "threads")  # names a row of a result file

Row = dict[str, Any]


def processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else processor()


def git_commit() -> str:
    """`unknown` in a copy of the sources without their history; ends in + after local changes."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def describe_run(device: str, shrunk: bool) -> dict[str, Any]:
    import torch
    import torchvision

    import roiops

    return {
        "shrunk": shrunk,
        "device": device,
        "device_name": device_name(device),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "roiops": roiops.__version__,
        "commit": git_commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def save(path: Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def load(path: Path) -> dict[str, Any]:
    """What run.py wrote; ends the program if the file holds something else."""
    try:
        results: dict[str, Any] = json.loads(path.read_text())
        if all(set(KEY) <= set(row) for row in results["rows"]):
            return results
        problem = "other rows"
    except OSError as error:
        problem = str(error.strerror)
    except (ValueError, KeyError, TypeError):
        problem = "something else"
    sys.exit(f"`{path}` must be a result file of run.py, but got {problem}.")


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first one left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        first, *others = (cell.ljust(widths[0]) if i == 0 else cell.rjust(widths[i])
                          for i, cell in enumerate(row))  # fmt: skip
        lines.append("  ".join([first, *others]))
    return "\n".join(lines)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def spread(quartiles: Sequence[float] | None) -> str:
    if quartiles is None:
        return "-"
    low, median, high = (milliseconds(q) for q in quartiles)
    return f"{median} ({low}-{high})"


def mebibytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 2**20:.1f}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def row_name(row: Row) -> str:
    threads = f" {row['threads']} thr" if row["threads"] else ""
    return f"{row['workload']} {row['dtype']} {row['layout']} {row['pass']}{threads}"


def rows_table(rows: Sequence[Row]) -> str:
    """ms are medians with quartiles; ratio is torchvision's time over ours, `x float32` our time over
    our own of float32, floor a time in ms, `x floor` our time over it, MiB the peak memory beyond the
    results."""
    header = ("workload", "dtype", "layout", "pass", "threads", "roiops ms", "torchvision ms",
              "ratio", "x float32", "floor", "x floor", "MiB", "their MiB")  # fmt: skip
    return table(header, [
        (row["workload"], row["dtype"], row["layout"], row["pass"], str(row["threads"] or "-"),
         spread(row["roiops"]), spread(row["torchvision"]), number(row["ratio"]),
         number(row["over_float32"]), milliseconds(row["floor"]), number(row["over_floor"]),
         mebibytes(row["extra_bytes"].get("roiops")),
         mebibytes(row["extra_bytes"].get("torchvision")))
        for row in rows
    ])  # fmt: skip


def summary(rows: Sequence[Row]) -> str:
    """The ratios of the workloads that torchvision has too; narrow types beside our own float32."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        count = row["threads"]  # none on a GPU
        threads = f", {count} thread{'s' * (count > 1)}" if count else ""
        groups.setdefault((row["pass"], row["dtype"], threads), []).append(row)
    lines = []
    for (pass_name, dtype, threads), group in groups.items():
        for field, words in SUMMARIES:
            found = [row for row in group if row[field]]
            if not found:
                continue
            worst = (min if field == "ratio" else max)(found, key=lambda row: row[field])
            mean = geometric_mean(row[field] for row in found)
            lines.append(
                f"{pass_name}, {dtype}{threads}: {mean:.2f} {words} (geometric mean of "
                f"{len(found)}); worst {worst[field]:.2f}: {worst['workload']} {worst['layout']}"
            )
    return "\n".join(lines) or "no row that torchvision can run"


class Progress:
    """A bar with the time left on a terminal, else a line per row; on stderr."""

    WIDTH = 30

    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0
        self.start = time.monotonic()
        self.is_terminal = sys.stderr.isatty()

    def step(self, name: str, result: str) -> None:
        self.count += 1
        if not self.is_terminal:
            print(f"[{self.count}/{self.total}] {name}: {result}", file=sys.stderr, flush=True)
            return
        left = (time.monotonic() - self.start) * (self.total - self.count) / self.count
        filled = self.WIDTH * self.count // self.total
        bar = "#" * filled + "." * (self.WIDTH - filled)
        line = f"[{bar}] {self.count}/{self.total}, {left / 60:.0f} min left, {name}"
        end = "\n" if self.count == self.total else ""
        print(f"\r{line[:110]:<110}", end=end, file=sys.stderr, flush=True)
