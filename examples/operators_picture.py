"""Draws docs/images/operators.png: what each operator reads for the same box.

Usage: python examples/operators_picture.py [--output FILE]
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

import roiops
from roiops import visualize

SIZE = HEIGHT, WIDTH = (8, 10)
BINS = (2, 2)
BIN = (0, 1)  # the marked one
CROP, CROP_BIN = (4, 4), (1, 3)  # as many samples as 2 x 2 bins with 2 x 2
BOX = (1.7, 1.3, 8.3, 6.6)  # x1, y1, x2, y2
OFFSETS = [[[-0.9, 0.8], [0.5, -0.4]], [[0.6, -0.8], [0.7, 0.9]]]  # (y, x) of each bin
BLUE, RED, ORANGE, GREY, BLACK = "#1f4e9c", "#d1495b", "#f59e0b", "#555555", "#222222"


def bumps(height: int, width: int) -> Tensor:
    """[1, 1, height, width]: a smooth map with a clear maximum, which maxima are about."""
    y = torch.linspace(0, 1, height)[:, None]
    x = torch.linspace(0, 1, width)[None, :]
    high = torch.exp(-((y - 0.2) ** 2 + (x - 0.62) ** 2) / 0.05)
    low = 0.6 * torch.exp(-((y - 0.75) ** 2 + (x - 0.25) ** 2) / 0.08)
    return (high + low)[None, None]


class Panel(NamedTuple):
    title: str
    note: str
    op: Callable[..., Tensor]
    tensors: tuple[Any, ...]
    options: dict[str, Any]


def panels() -> list[Panel]:
    x1, y1, x2, y2 = BOX
    maps, boxes = bumps(*SIZE), torch.tensor([[0, *BOX]])
    own = maps.expand(1, 4, *SIZE)  # a channel for each bin
    pyramid = [bumps(16, 20), maps, bumps(4, 5)]
    middle = [(x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) * 0.9, (y2 - y1) * 0.8]
    turned = torch.tensor([[0, *middle, 0.45]])
    # Pixel centres of crop_and_resize lie at whole numbers, 1 is the last.
    last = torch.tensor([HEIGHT - 1, WIDTH - 1] * 2)
    corners = (torch.tensor([[y1, x1, y2, x2]]) - 0.5) / last

    ratio = {"sampling_ratio": 2}
    aligned = ratio | {"aligned": True}
    levels = {"spatial_scales": [2.0, 1.0, 0.5], "canonical_scale": 2, "canonical_level": 0}
    rows = [
        ("roi_pool", "box and bins rounded to whole pixels,\nthe largest pixel wins",
         roiops.roi_pool, (maps, boxes), {}),
        ("roi_align, aligned=False",
         "nothing is rounded, but the grid lies half\na pixel to the right of and below the box",
         roiops.roi_align, (maps, boxes), ratio),
        ("roi_align, aligned=True", "the mean of bilinear samples,\njust where the box is",
         roiops.roi_align, (maps, boxes), aligned),
        ('roi_align, mode="max"', "the largest of the samples wins,\ninstead of their mean",
         roiops.roi_align, (maps, boxes), aligned | {"mode": "max"}),
        ("prroi_pool", "no samples: the integral of the bilinear\nsurface; no half-pixel shift",
         roiops.prroi_pool, (maps, boxes), {}),
        ("roi_align_rotated", "the grid turned with the box\nabout its centre",
         roiops.roi_align_rotated, (maps, turned), ratio),
        ("deform_roi_pool", "each bin moved by a learned offset,\na part of the box's size",
         roiops.deform_roi_pool, (maps, boxes, torch.tensor([OFFSETS])), ratio | {"gamma": 0.2}),
        ("crop_and_resize", "one sample per bin (4 x 4), the outermost\non the corners of the box",
         roiops.crop_and_resize, (maps, corners, torch.tensor([0])), {}),
        ("ps_roi_pool", "each bin averages whole pixels\nof a channel of its own",
         roiops.ps_roi_pool, (own, boxes), {}),
        ("ps_roi_align", "each bin averages samples\nof a channel of its own",
         roiops.ps_roi_align, (own, boxes), ratio),
        ("multiscale_roi_align",
         "roi_align on the pyramid's map that\nfits the box's size: here a coarse one",
         roiops.multiscale_roi_align, (pyramid, boxes), aligned | levels),
    ]  # fmt: skip
    return [Panel(*row) for row in rows]


def draw_panel(ax: Axes, panel: Panel) -> None:
    op = panel.op
    size, bin = (CROP, CROP_BIN) if op is roiops.crop_and_resize else (BINS, BIN)
    visualize.draw(op, *panel.tensors, size, bin=bin, ax=ax, **panel.options)
    height, width = ax.images[0].get_array().shape
    ax.set_title(panel.title, loc="left", fontsize=13, fontweight="bold", family="monospace",
                 pad=40)  # fmt: skip
    ax.annotate(panel.note, (0, 1), (0, 7), "axes fraction", textcoords="offset points", fontsize=11,
                color=GREY, linespacing=1.15)  # fmt: skip
    ax.set(xticks=range(0, width, 3), yticks=range(0, height, 3))
    ax.set_xticks([x - 0.5 for x in range(width + 1)], minor=True)
    ax.set_yticks([y - 0.5 for y in range(height + 1)], minor=True)
    ax.set_axisbelow(True)
    ax.grid(which="minor", color="white", linewidth=0.8)
    ax.tick_params(which="both", length=0, labelsize=8, colors=GREY)
    ax.spines[:].set(color="#cccccc")
    ax.set(xlim=(-0.52, width - 0.48), ylim=(height - 0.48, -0.52))
    if op is not roiops.roi_align_rotated:
        draw_box(ax, width / WIDTH)
    if op in (roiops.ps_roi_pool, roiops.ps_roi_align):
        name_channels(ax, panel)


def draw_box(ax: Axes, scale: float) -> None:
    """As it lies on the image: pixel k reaches from k to k + 1, its centre is drawn at k."""
    x1, y1, x2, y2 = (v * scale - 0.5 for v in BOX)
    ax.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color=BLACK, lw=1.0, ls=(0, (4, 3)))
    )


def name_channels(ax: Axes, panel: Panel) -> None:
    """What the bins read of maps that hold their own number."""
    numbers = torch.arange(4.0)[None, :, None, None].expand(1, 4, *SIZE)
    read = panel.op(numbers, panel.tensors[1], BINS, **panel.options).flatten().tolist()
    corners = visualize.bins(panel.op, *panel.tensors, BINS, **panel.options)[0].flatten(0, 1)
    for bin, ((top, left), _, _, (bottom, _)) in enumerate(corners.tolist()):
        upper = bin < BINS[1]  # above the box or below it
        ax.text(left, top - 0.12 if upper else bottom + 0.12, f"channel {read[bin]:.0f}",
                va="bottom" if upper else "top", fontsize=9, color=BLUE)  # fmt: skip


def draw_legend(ax: Axes) -> None:
    ax.axis("off")
    dot = {"marker": "o", "linestyle": "none"}
    entries = [
        (Patch(facecolor="#e4e4e4"), "pixels of the feature map"),
        (Line2D([], [], color=BLACK, linestyle=(0, (4, 3)), linewidth=1.0), "the box"),
        (Patch(facecolor="none", edgecolor=BLUE, linewidth=1.2), "its bins"),
        (Line2D([], [], color=BLUE, markersize=3, **dot), "samples"),
        (Patch(facecolor="none", edgecolor=RED, linewidth=2.2), "one bin"),
        (Line2D([], [], color=RED, markersize=6, markeredgecolor="white", **dot), "its samples"),
        (Patch(facecolor=ORANGE), "weights of its pixels, in per cent"),
    ]
    handles, labels = zip(*entries, strict=True)
    ax.legend(handles, labels, loc="center left", frameon=False, fontsize=11, labelspacing=0.9,
              title=f"The same box, {BINS[0]} x {BINS[1]} bins", title_fontsize=12,
              alignment="left")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parent.parent / "docs" / "images" / "operators.png"
    parser.add_argument("--output", type=Path, default=default)
    output = parser.parse_args().output

    figure = Figure(figsize=(12, 15.6))  # no pyplot: no display needed
    edges = {"left": 0.025, "right": 0.99, "bottom": 0.02, "top": 0.952}
    *axes, last = figure.subplots(4, 3, gridspec_kw=edges | {"hspace": 0.32, "wspace": 0.09}).flat
    for ax, panel in zip(axes, panels(), strict=True):
        draw_panel(ax, panel)
    draw_legend(last)
    figure.savefig(output, dpi=90)


if __name__ == "__main__":
    main()
