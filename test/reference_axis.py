"""Where samples lie on one axis, slowly and exactly: the part that the sampling operators share.

Two things are not float64:

* Boxes are decoded, and the adaptive grid is chosen, in `geometry` (float32 unless the features are
  float64), in the order that the operator promises: ceil() makes another grid of a last-bit change.
* From there on positions are exact rationals. Samples that miss the map are skipped by solving for
  their indices exactly, which is what keeps a box of 1e30 pixels affordable here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np

HALF = Fraction(1, 2)
NEARLY_NOTHING = 1e-9  # a weight below may round to zero


@dataclass
class Axis:
    """The accepted samples of one RoI along one axis of `n` pixels."""

    position: np.ndarray  # [S] in pixels
    bin: np.ndarray  # [S] the bin that each sample belongs to
    fraction: np.ndarray  # [S] 0 at the RoI's first edge, 1 at its second
    grid: float  # samples per bin, rejected ones included
    clamped: bool  # the minimum size of one pixel is active
    delta: float  # how far rounding may move a position
    eps: float  # of the geometry's type
    doubt: np.ndarray  # [bins] share of a bin's samples whose acceptance hangs on rounding

    def slopes(self, scale: float) -> np.ndarray:
        """[S, 2]: d position / d (low, high coordinate)."""
        if self.clamped:
            return scale * np.stack([np.ones_like(self.fraction), 0 * self.fraction], 1)
        return scale * np.stack([1 - self.fraction, self.fraction], 1)

    def near_pixels(self) -> np.ndarray:
        """[S]: so near a whole number that rounding may carry the position across."""
        beside = np.abs(self.position - np.round(self.position)) <= self.delta + NEARLY_NOTHING
        return beside & (self.delta > 0)

    def unsure(self) -> np.ndarray:
        """[bins]: rounding may change which pixels a bin reads."""
        found = self.doubt > 0
        found[self.bin[self.near_pixels()]] = True
        return found

    def kink_doubt(self) -> float:
        """Largest share of a bin's samples so near a pixel that rounding picks the side."""
        near = np.abs(self.position - np.round(self.position)) <= self.delta
        if self.delta == 0 or self.grid == 0:
            return 0.0
        shares = np.bincount(self.bin[near], minlength=len(self.doubt)) / self.grid
        return float(np.minimum(shares + self.doubt, 1).max())


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


def axis_samples(start, size, n: int, bins: int, ratio: int, clamp: bool, shift=0) -> Axis:
    """`shift` moves every bin, in units of the size; `clamp` enlarges the size to one pixel."""
    geometry = type(start)
    clamped = clamp and bool(size < 1)
    size = geometry(1) if clamped else size
    with np.errstate(all="ignore"):
        moved = start + shift * size
    if not np.isfinite(moved):
        n, moved = 0, geometry(0)
    grid = ratio if ratio > 0 else max(int(np.ceil(size / geometry(bins))), 0)
    begin, bin_size = Fraction(float(moved)), Fraction(float(size)) / bins
    exact = shift == 0 and is_dyadic(begin) and is_dyadic(bin_size) and grid in (1, 2, 4, 8, 16)
    eps = float(np.finfo(geometry).eps)
    delta = 0 if exact else 4 * Fraction(eps) * (abs(begin) + abs(bin_size) * bins)
    position, index, fraction, doubt = [], [], [], np.zeros(bins)
    for p in range(bins if n > 0 and grid > 0 else 0):
        step = bin_size / grid
        first = begin + p * bin_size + step * HALF
        for i in index_range(first, step, Fraction(-1), Fraction(n), grid):
            position.append(float(first + i * step))
            fraction.append(float((p + (i + HALF) / grid) / bins) + float(shift))
            index.append(p)
        if delta:
            widest = len_of(index_range(first, step, -1 - delta, n + delta, grid))
            doubt[p] = (
                widest - len_of(index_range(first, step, -1 + delta, n - delta, grid))
            ) / grid
    arrays = (np.asarray(position, float), np.asarray(index, int), np.asarray(fraction, float))
    return Axis(*arrays, float(grid), clamped, float(delta), eps, doubt)


def len_of(indices: range) -> int:
    """len() refuses what does not fit a machine word; a box of 1e30 pixels does not."""
    return max(indices.stop - indices.start, 0)
