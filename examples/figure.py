"""The demo's figure: boxes on the picture, samples of one box, features and crops of all."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from region_features import CHANNELS, HUES, STRIDE, RegionFeatures
from torch import Tensor

COLORS = ("#ffd60a", "#00e5ff", "#7cff6b", "#ff5fd2")
HUE = "red"
CHANNEL = CHANNELS - len(HUES) + HUES.index(HUE)
ZOOMED = "patch"
ZOOMED_BIN = (1, 1)  # its samples and the pixels they read are marked


def draw(model: RegionFeatures, image: Tensor, rois: Tensor, names: list[str], path: Path) -> None:
    with torch.no_grad():
        features, crops = model(image, rois)
        hue_map = model.backbone(image)[0, CHANNEL].numpy()
    boxes = rois[:, 1:].numpy()
    figure = Figure(figsize=(17, 7), layout="constrained")  # no pyplot: no display needed
    left, middle, right = figure.subfigures(1, 3, width_ratios=(1, 1, 0.66))

    draw_boxes(left.subplots(), image[0].permute(1, 2, 0).numpy(), boxes, names)
    draw_samples(middle.subplots(), hue_map, boxes[names.index(ZOOMED)], model)
    draw_outputs(right, crops.permute(0, 2, 3, 1).numpy(), features[:, CHANNEL].numpy(), names)
    figure.savefig(path, dpi=110)


def title(axes: Axes, text: str, note: str) -> None:
    axes.set_title(text, fontsize=13, fontweight="bold", loc="left", pad=24)
    axes.annotate(note, (0, 1), (0, 8), "axes fraction", textcoords="offset points",
                  fontsize=10, color="#444444")  # fmt: skip


def draw_boxes(axes: Axes, picture: np.ndarray, boxes: np.ndarray, names: list[str]) -> None:
    height, width, _ = picture.shape
    # Edges at whole numbers, pixel centers at + 0.5: the coordinates that boxes use.
    axes.imshow(picture, extent=(0, width, height, 0))
    for (x1, y1, x2, y2), name, color in zip(boxes, names, COLORS, strict=True):
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=color, lw=2.5))
        above = y1 > 30  # inside, where there is no room above
        label = axes.text(x1 + 2, y1 - 6 if above else y1 + 5, name, fontweight="bold")
        label.set(va="bottom" if above else "top")
        label.set_bbox({"facecolor": color, "edgecolor": "none", "pad": 2})
    axes.set(xlim=(-2, width + 2), ylim=(height + 2, -2))
    axes.set(xlabel="x (pixels)\n", ylabel="y (pixels)")
    title(axes, "RoIs on the picture", f"{width} x {height} pixels; NASA, public domain")


def axis_samples(start: float, end: float, bins: int, ratio: int) -> np.ndarray:
    """[bins, ratio] positions: start + (p + (i + 0.5) / ratio) * (end - start) / bins."""
    p, i = np.arange(bins)[:, None], np.arange(ratio)[None, :]
    return start + (p + (i + 0.5) / ratio) * (end - start) / bins


def draw_samples(axes: Axes, hue_map: np.ndarray, box: np.ndarray, model: RegionFeatures) -> None:
    bins, ratio = model.pool.output_size, model.pool.sampling_ratio
    # aligned=True: pixel 0 of the map has its center at coordinate 0.
    x1, y1, x2, y2 = box / STRIDE - 0.5
    xs, ys = axis_samples(x1, x2, bins, ratio), axis_samples(y1, y2, bins, ratio)

    axes.imshow(hue_map, cmap="magma", vmin=0)
    for k in range(bins + 1):
        x, y = x1 + k * (x2 - x1) / bins, y1 + k * (y2 - y1) / bins
        axes.plot([x, x], [y1, y2], color=COLORS[2], lw=1.6)
        axes.plot([x1, x2], [y, y], color=COLORS[2], lw=1.6)
    axes.scatter(*np.meshgrid(xs.ravel(), ys.ravel()), s=13, color="white", ec="black", lw=0.6,
                 zorder=3, label="samples")  # fmt: skip

    p, q = ZOOMED_BIN
    axes.scatter(*np.meshgrid(xs[q], ys[p]), s=55, color="white", ec="black", zorder=5,
                 label="samples of one bin")  # fmt: skip
    mark_taps(axes, xs[q], ys[p])
    axes.set(xlim=(x1 - 3, x2 + 3), ylim=(y2 + 3, y1 - 3))
    # The empty second line makes room for the legend, and keeps both panels at one height.
    axes.set(xlabel="x (feature-map pixels)\n", ylabel="y (feature-map pixels)")
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.085), ncols=3, frameon=False)
    legend.set_in_layout(False)
    note = f'box "{ZOOMED}": {bins} x {bins} bins, {ratio} x {ratio} samples in each; {HUE} channel'
    title(axes, "Samples on the feature map", note)


def mark_taps(axes: Axes, xs: np.ndarray, ys: np.ndarray) -> None:
    """Outlines the pixels that bilinear interpolation reads for the samples xs x ys."""
    columns = {int(x) + k for x in xs for k in (0, 1)}
    rows = {int(y) + k for y in ys for k in (0, 1)}
    label = "pixels that they read"
    for x in columns:
        for y in rows:
            pixel = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, ec="#00e5ff", lw=1.8, zorder=4)
            pixel.set_label(label)
            label = None
            axes.add_patch(pixel)


def draw_outputs(part: SubFigure | Figure, crops: np.ndarray, maps: np.ndarray,
                 names: list[str]) -> None:  # fmt: skip
    grid = part.subplots(len(names), 2)
    size, bins = crops.shape[1], maps.shape[1]
    for row, crop, values, name, color in zip(grid, crops, maps, names, COLORS, strict=True):
        row[0].imshow(crop)
        heat = row[1].imshow(values, cmap="magma", vmin=0, vmax=maps.max())
        row[0].set_ylabel(name, fontsize=11, fontweight="bold")
        for axes in row:
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(color=color, linewidth=2.5)
    title(grid[0, 0], "Crops", f"{size} x {size}")
    title(grid[0, 1], "Features", f"{bins} x {bins}; {HUE} channel")
    part.colorbar(heat, ax=grid[:, 1], location="right", shrink=0.75, aspect=32)
