"""roi_align from its definition (Mask R-CNN, arXiv:1703.06870, sec. 3), slowly, in float64.

Every sample of every bin is evaluated by the bilinear formula; nothing is merged, transposed or
shared between the directions. Two things are not float64:

* Boxes are decoded, and the adaptive grid is chosen, in `geometry` (float32 unless the features are
  float64), in the order that the operator promises: ceil() makes another grid of a last-bit change.
* From there on positions are exact rationals. Samples that miss the map are skipped by solving for
  their indices exactly, which is what keeps a box of 1e30 pixels affordable here.

An implementation rounds its positions, so each result comes with `slack`: how far it may move when
every position moves by a few units in the last place. It is nonzero where a sample lies so close
to a jump (the rejection limits; for box gradients also any pixel) that rounding decides the side.
Where all arithmetic is exact there is no doubt, and the slack is zero: such cases pin the rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, isfinite

import numpy as np
import torch
from torch import Tensor

HALF = Fraction(1, 2)


def geometry_of(dtype: torch.dtype) -> type:
    """The type in which boxes beside features of `dtype` are decoded."""
    return np.float64 if dtype == torch.float64 else np.float32


@dataclass
class Axis:
    """The accepted samples of one RoI along one axis of `n` pixels."""

    position: np.ndarray  # [S] in pixels
    bin: np.ndarray  # [S] the bin that each sample belongs to
    fraction: np.ndarray  # [S] 0 at the RoI's first edge, 1 at its second
    grid: float  # samples per bin, rejected ones included
    clamped: bool  # the minimum size of one pixel is active
    delta: float  # how far rounding may move a position
    doubt: np.ndarray  # [bins] share of a bin's samples whose acceptance hangs on rounding


def decode(low: float, high: float, scale: float, aligned: bool, geometry: type):
    """Start and size in pixels, before the minimum size."""
    with np.errstate(all="ignore"):
        offset = geometry(0.5 if aligned else 0)
        start = geometry(low) * geometry(scale) - offset
        return start, geometry(high) * geometry(scale) - offset - start


def is_dyadic(value: Fraction) -> bool:
    """Small multiple of 1/256: sums and products of a few such numbers are exact in float32."""
    return abs(value) < 4096 and (value * 256).denominator == 1


def index_range(first: Fraction, step: Fraction, low: Fraction, high: Fraction, grid: int):
    """The indices i in [0, grid) with low <= first + i * step <= high."""
    if low > high:
        return range(0)
    if step == 0:
        return range(grid if low <= first <= high else 0)
    ends = sorted([(low - first) / step, (high - first) / step])
    return range(max(ceil(ends[0]), 0), max(min(floor(ends[1]) + 1, grid), 0))


def axis_samples(start, size, n: int, bins: int, ratio: int, aligned: bool) -> Axis:
    geometry = type(start)
    clamped = not aligned and size < 1
    size = geometry(1) if clamped else size
    grid = ratio if ratio > 0 else max(int(np.ceil(size / geometry(bins))), 0)
    begin, bin_size = Fraction(float(start)), Fraction(float(size)) / bins
    exact = is_dyadic(begin) and is_dyadic(bin_size) and grid in (1, 2, 4, 8, 16)
    delta = (
        0
        if exact
        else 4 * Fraction(float(np.finfo(geometry).eps)) * (abs(begin) + abs(bin_size) * bins)
    )
    position, index, fraction, doubt = [], [], [], np.zeros(bins)
    for p in range(bins if n > 0 and grid > 0 else 0):
        step = bin_size / grid
        first = begin + p * bin_size + step * HALF
        for i in index_range(first, step, Fraction(-1), Fraction(n), grid):
            position.append(float(first + i * step))
            fraction.append(float((p + (i + HALF) / grid) / bins))
            index.append(p)
        if delta:
            widest = len_of(index_range(first, step, -1 - delta, n + delta, grid))
            doubt[p] = (
                widest - len_of(index_range(first, step, -1 + delta, n - delta, grid))
            ) / grid
    as_array = np.asarray
    return Axis(
        as_array(position, float), as_array(index, int), as_array(fraction, float),
        float(grid), clamped, float(delta), doubt,
    )  # fmt: skip


def len_of(indices: range) -> int:
    """len() refuses what does not fit a machine word; a box of 1e30 pixels does not."""
    return max(indices.stop - indices.start, 0)


def neighbours(position: np.ndarray, n: int):
    """Both pixels around each position, and how far it lies from the first."""
    position = np.maximum(position, 0)
    low = np.trunc(position).astype(int)
    at_end = low >= n - 1
    low = np.where(at_end, n - 1, low)
    return low, np.where(at_end, low, low + 1), np.where(at_end, 0.0, position - low)


def corners(plane: np.ndarray, ys: Axis, xs: Axis):
    """F at the four pixels around each sample, [C, samples y, samples x], and both distances."""
    y0, y1, ly = neighbours(ys.position, plane.shape[1])
    x0, x1, lx = neighbours(xs.position, plane.shape[2])
    f = [plane[:, a][:, :, b] for a in (y0, y1) for b in (x0, x1)]
    return f, ly[:, None], lx[None, :]


def surface(plane: np.ndarray, ys: Axis, xs: Axis) -> np.ndarray:
    """S at every sample, [C, samples y, samples x]."""
    (f00, f01, f10, f11), ly, lx = corners(plane, ys, xs)
    with np.errstate(invalid="ignore"):
        return (
            (1 - ly) * (1 - lx) * f00 + (1 - ly) * lx * f01
            + ly * (1 - lx) * f10 + ly * lx * f11
        )  # fmt: skip


def slopes(plane: np.ndarray, ys: Axis, xs: Axis):
    """S_y and S_x at every sample: 0 where the position is clamped to the border pixel."""
    (f00, f01, f10, f11), ly, lx = corners(plane, ys, xs)
    moves_y = (ys.position >= 0) & (np.trunc(ys.position) < plane.shape[1] - 1)
    moves_x = (xs.position >= 0) & (np.trunc(xs.position) < plane.shape[2] - 1)
    s_y = ((1 - lx) * (f10 - f00) + lx * (f11 - f01)) * moves_y[:, None]
    s_x = ((1 - ly) * (f01 - f00) + ly * (f11 - f10)) * moves_x[None, :]
    return s_y, s_x


def rois_axes(input_shape, rois, scale, pooled_height, pooled_width, ratio, aligned, geometry):
    """(image, y axis, x axis) of every RoI; None for one that does not decode to finite numbers."""
    height, width = input_shape[2:]
    for row in rois.detach().cpu().double().numpy():
        image = int(row[0])
        y, h = decode(row[2], row[4], scale, aligned, geometry)
        x, w = decode(row[1], row[3], scale, aligned, geometry)
        if not all(isfinite(float(v)) for v in (y, h, x, w)):
            yield None
            continue
        ys = axis_samples(y, h, height, pooled_height, ratio, aligned)
        yield image, ys, axis_samples(x, w, width, pooled_width, ratio, aligned)


def per_bin(samples: np.ndarray, ys: Axis, xs: Axis, bins: tuple[int, int]) -> np.ndarray:
    """Sums samples [C, samples y, samples x] into [C, PH, PW]; no product, so inf stays inf."""
    with np.errstate(invalid="ignore"):
        rows = [samples[:, ys.bin == p].sum(1) for p in range(bins[0])]
        rows = np.stack(rows, 1) if rows else np.zeros((samples.shape[0], 0, samples.shape[2]))
        return np.stack([rows[:, :, xs.bin == q].sum(2) for q in range(bins[1])], 2)


def count_of(ys: Axis, xs: Axis) -> float:
    return max(ys.grid * xs.grid, 1.0)


def roi_align(
    input: Tensor, rois: Tensor, scale: float, pooled_height: int, pooled_width: int,
    ratio: int = -1, aligned: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The values [K, C, PH, PW] in float64, and their slack [K, 1, PH, PW]."""
    maps = input.detach().cpu().double().numpy()
    bins = (pooled_height, pooled_width)
    out = np.zeros((len(rois), maps.shape[1], *bins))
    slack = np.zeros((len(rois), 1, *bins))
    largest = np.abs(maps[np.isfinite(maps)]).max(initial=0)
    geometry = geometry_of(input.dtype)
    axes = rois_axes(maps.shape, rois, scale, *bins, ratio, aligned, geometry)
    for k, axis in enumerate(axes):
        if axis is None:
            continue
        image, ys, xs = axis
        out[k] = per_bin(surface(maps[image], ys, xs), ys, xs, bins) / count_of(ys, xs)
        doubt = np.minimum(ys.doubt[:, None] + xs.doubt[None, :], 1)
        slack[k, 0] = largest * (doubt + 2 * min(ys.delta + xs.delta, 1))
    return torch.from_numpy(out), torch.from_numpy(slack)


def roi_align_input_gradient(
    grad: Tensor, rois: Tensor, input_shape: tuple[int, ...], scale: float, pooled_height: int,
    pooled_width: int, ratio: int = -1, aligned: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Each accepted sample adds g / count * weight to its four pixels.

    Returns [N, C, H, W] in float64, and its slack [N, 1, 1, 1].
    """
    grads = grad.detach().cpu().double().numpy()
    out, slack = np.zeros(input_shape), np.zeros((input_shape[0], 1, 1, 1))
    bins = (pooled_height, pooled_width)
    geometry = geometry_of(grad.dtype)
    axes = rois_axes(input_shape, rois, scale, *bins, ratio, aligned, geometry)
    for k, axis in enumerate(axes):
        if axis is None:
            continue
        image, ys, xs = axis
        g = grads[k][:, ys.bin][:, :, xs.bin] / count_of(ys, xs)
        y0, y1, ly = neighbours(ys.position, input_shape[2])
        x0, x1, lx = neighbours(xs.position, input_shape[3])
        for y, wy in ((y0, 1 - ly), (y1, ly)):
            for x, wx in ((x0, 1 - lx), (x1, lx)):
                weight = wy[:, None] * wx[None, :]
                np.add.at(out[image], (slice(None), y[:, None], x[None, :]), g * weight)
        doubt = ys.doubt.max() + xs.doubt.max() + 2 * (ys.delta + xs.delta)
        slack[image] += np.abs(grads[k]).sum() * min(doubt, 1)
    return torch.from_numpy(out), torch.from_numpy(slack)


def axis_gradient(slope: np.ndarray, ys: Axis, axis: Axis, scale: float, dim: int):
    """Gradient by both edges of `axis`, whose samples run along `dim` of slope = g / count * S'."""
    if axis.clamped:
        return scale * slope.sum(), 0.0
    share = np.expand_dims(axis.fraction, 2 - dim)
    return scale * (slope * (1 - share)).sum(), scale * (slope * share).sum()


def kink_doubt(axis: Axis) -> float:
    """Largest share of a bin's samples so near a pixel that rounding picks the side."""
    near = np.abs(axis.position - np.round(axis.position)) <= axis.delta
    if axis.delta == 0 or axis.grid == 0:
        return 0.0
    shares = np.bincount(axis.bin[near], minlength=len(axis.doubt)) / axis.grid
    return float(np.minimum(shares + axis.doubt, 1).max())


def roi_align_box_gradient(
    grad: Tensor, input: Tensor, rois: Tensor, scale: float, pooled_height: int,
    pooled_width: int, ratio: int = -1, aligned: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradient [K, 5] by the rois in float64, and its slack [K, 1]."""
    maps = input.detach().cpu().double().numpy()
    grads = grad.detach().cpu().double().numpy()
    out, slack = np.zeros((len(rois), 5)), np.zeros((len(rois), 1))
    largest = np.abs(maps).max(initial=0)
    bins = (pooled_height, pooled_width)
    geometry = geometry_of(input.dtype)
    axes = rois_axes(maps.shape, rois, scale, *bins, ratio, aligned, geometry)
    for k, axis in enumerate(axes):
        if axis is None:
            continue
        image, ys, xs = axis
        g = grads[k][:, ys.bin][:, :, xs.bin] / count_of(ys, xs)
        s_y, s_x = slopes(maps[image], ys, xs)
        out[k, 2], out[k, 4] = axis_gradient(g * s_y, ys, ys, scale, 1)
        out[k, 1], out[k, 3] = axis_gradient(g * s_x, ys, xs, scale, 2)
        doubt = kink_doubt(ys) + kink_doubt(xs) + min(ys.delta + xs.delta, 1)
        slack[k, 0] = 4 * largest * scale * np.abs(grads[k]).sum() * min(doubt, 1)
    return torch.from_numpy(out), torch.from_numpy(slack)
