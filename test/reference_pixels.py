"""The taps of one box of the operators that read whole pixels (docs/semantics.md, roi_pool)."""

from __future__ import annotations

from itertools import product
from math import ceil, floor, isfinite

import numpy as np
from reference import Taps, no_taps
from reference_max import Candidates


def round_half_away(value: float) -> int:
    limit = float(2**31)
    value = min(max(value, -limit), limit)
    whole = floor(abs(value))  # adding a half first would round
    return (whole + (abs(value) - whole >= 0.5)) * (1 if value >= 0 else -1)


def pixels_of(start: int, extent: int, n: int, bins: int, geometry) -> list[range]:
    """Of each bin on an axis. Edges are floating numbers, in the geometry's type."""
    size = geometry(max(extent, 1)) / geometry(bins)
    edges = [(floor(geometry(p) * size), ceil(geometry(p + 1) * size)) for p in range(bins)]
    return [range(max(start + a, 0), min(start + b, n)) for a, b in edges]


def whole_pixels(box, size, options, geometry, inclusive: bool) -> Taps:
    """The mean of each bin's pixels; `inclusive`: the high coordinates name the last pixel."""
    corners = [float(v * geometry(options.spatial_scale)) for v in box]
    if not all(isfinite(v) for v in corners):
        return no_taps(4)
    x1, y1, x2, y2 = (round_half_away(v) for v in corners)
    bins = options.output_size
    rows = pixels_of(y1, y2 - y1 + inclusive, size[0], bins[0], geometry)
    columns = pixels_of(x1, x2 - x1 + inclusive, size[1], bins[1], geometry)
    taps = [
        (p * len(columns) + q, y, x, 1 / (len(rows[p]) * len(columns[q])))
        for p, q in product(range(len(rows)), range(len(columns)))
        for y, x in product(rows[p], columns[q])
    ]
    if not taps:
        return no_taps(4)
    bin, y, x, weight = (np.asarray(column) for column in zip(*taps, strict=True))
    return Taps(bin, y, x, weight, np.zeros((len(taps), 4)))


def ps_roi_pool(box, extra, sizes, options, geometry) -> Taps:
    return whole_pixels(box, sizes[0], options, geometry, inclusive=False)


def roi_pool(box, extra, sizes, options, geometry) -> Taps:
    """Every pixel is a sample, whose value no rounding moves."""
    taps = whole_pixels(box, sizes[0], options, geometry, inclusive=True)
    taps.weight = np.ones(len(taps.bin))
    taps.sample = np.arange(len(taps.bin))
    taps.candidates = Candidates(taps.bin, np.stack([taps.y, taps.x], 1), blur=0.0)
    return taps
