"""A chart as that of README.md: how many times as fast as torchvision, for each workload.

python benchmark/plot.py build/benchmark/NAME.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from report import Row, load

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter

PANELS = {"nchw": "NCHW", "channels_last": "channels_last"}
COLORS = {"forward": "#3b7dd8", "backward": "#e0863b"}
WIDTH = 0.38  # of a bar; a workload is 1 wide


def chosen(results: dict[str, Any], dtype: str, threads: int | None) -> list[Row]:
    """The rows of the chart; None: the most threads there are."""
    rows = [row for row in results["rows"] if row["ratio"] and row["dtype"] == dtype]
    if threads is None:
        threads = max((row["threads"] or 0 for row in rows), default=0)
    return [row for row in rows if (row["threads"] or 0) == threads]


def draw_panel(axes: Any, rows: Sequence[Row], names: Sequence[str]) -> None:
    for number, (name, color) in enumerate(COLORS.items()):
        ratios = {row["workload"]: row["ratio"] for row in rows if row["pass"] == name}
        places = [i for i, workload in enumerate(names) if workload in ratios]
        heights = [ratios[names[i]] for i in places]
        bars = axes.bar([i + (number - 0.5) * WIDTH for i in places], [h - 1 for h in heights],
                        WIDTH, bottom=1, color=color, label=name)  # fmt: skip
        axes.bar_label(bars, [f"{h:.1f}" for h in heights], fontsize=7)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8)


def draw(results: dict[str, Any], rows: Sequence[Row], path: Path) -> None:
    names = list(dict.fromkeys(row["workload"] for row in rows))
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    for axes, (layout, title) in zip(panels, PANELS.items(), strict=True):
        draw_panel(axes, [row for row in rows if row["layout"] == layout], names)
        axes.set_title(title, fontsize=10)
    panels[0].set_ylabel("torchvision's time / roiops' time")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="upper right", ncols=2, frameon=False)
    threads = f", {rows[0]['threads']} threads" if rows[0]["threads"] else ""
    figure.suptitle(
        f"{results['device_name']}{threads}, {rows[0]['dtype']}, torch {results['torch']}, "
        f"torchvision {results['torchvision']}; above 1 roiops is faster",
        fontsize=9,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, help="default: the most in the file")
    parser.add_argument("--output", type=Path, help="default: beside the results")
    options = parser.parse_args(arguments)
    results = load(options.results)
    rows = chosen(results, options.dtype, options.threads)
    if not rows:
        threads = f" with {options.threads} threads" if options.threads else ""
        got = f"none of {options.dtype}{threads}"
        parser.error(f"`results` must have rows with a ratio, but got {got}.")
    output = options.output or options.results.with_suffix(".png")
    draw(results, rows, output)
    print(f"written to {output}")


if __name__ == "__main__":
    main()
