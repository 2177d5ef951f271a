"""The taps of one box of roi_align_rotated (docs/semantics.md, section 7)."""

from __future__ import annotations

from math import isfinite

import numpy as np
from reference import Samples, Taps, bilinear, no_taps

ENDLESS = 1e6  # samples per bin; their share on the map is then lost in rounding


def corners_from_the_box(size, center, turn):
    """The corners of the accepted region in the box's own axes: yy [4], xx [4]."""
    y, x = (np.array([-1.0, size[0]])[[0, 0, 1, 1]], np.array([-1.0, size[1]])[[0, 1, 0, 1]])
    y, x = y - center[0], x - center[1]
    cosine, sine = turn
    return y * cosine + x * sine, x * cosine - y * sine


def indices(seen: np.ndarray, size: float, p: int, bins: int, grid: int) -> np.ndarray:
    """Samples of bin p whose coordinate may lie among `seen`, and a few more."""
    step = size / bins / grid
    if step == 0:
        return np.arange(grid)
    ends = np.sort((np.array([seen.min(), seen.max()]) + size / 2) / step - p * grid - 0.5)
    first, last = max(np.floor(ends[0]) - 2, 0), min(np.ceil(ends[1]) + 2, grid - 1)
    return np.arange(first, last + 1) if last >= first else np.zeros(0)


def roi_align_rotated(box, extra, sizes, options, geometry) -> Taps:
    size, bins = sizes[0], options.output_size
    scale, offset = geometry(options.spatial_scale), geometry(0.5 if options.aligned else 0)
    with np.errstate(all="ignore"):
        center = (box[1] * scale - offset, box[0] * scale - offset)
        extent = (box[3] * scale, box[2] * scale)
        angle = -box[4] if options.clockwise else box[4]
        if not all(isfinite(float(v)) for v in (*center, *extent, angle)):
            return no_taps(5)
    clamped = [not options.aligned and bool(v < 1) for v in extent]
    extent = [geometry(1) if c else v for c, v in zip(clamped, extent, strict=True)]
    adaptive = [max(float(np.ceil(v / geometry(b))), 0) for v, b in zip(extent, bins, strict=True)]
    grid = [options.sampling_ratio] * 2 if options.sampling_ratio > 0 else adaptive
    turn = (float(np.cos(angle)), float(np.sin(angle)))
    center, extent = [[float(v) for v in pair] for pair in (center, extent)]
    scale, count = float(scale), max(grid[0] * grid[1], 1.0)
    arm = abs(extent[0]) + abs(extent[1]) + 1
    reach = np.array([scale] * 4 + [arm])
    if max(grid) > ENDLESS:
        on_map = [min(g, 4 * (sum(size) + 4) + 3000) for g in grid]
        share = min(1.0, on_map[0] * on_map[1] / count)
        return no_taps(5, doubt=2 * share, unsure=True, slope_doubt=share, reach=reach)
    if not all(grid) or not all(size):
        return no_taps(5)
    grid = [int(g) for g in grid]
    exact = float(angle) == 0 and all(is_dyadic_number(v) for v in center) and all(
        is_dyadic_number(v / b / 2) and g in (1, 2, 4, 8)
        for v, b, g in zip(extent, bins, grid, strict=True)
    )  # fmt: skip
    eps = float(np.finfo(geometry).eps)
    delta = 0.0 if exact else 8 * eps * (sum(map(abs, center)) + sum(map(abs, extent)))

    seen = corners_from_the_box(size, center, turn)
    rows = [
        (p, i) for p in range(bins[0]) for i in indices(seen[0], extent[0], p, bins[0], grid[0])
    ]
    columns = [
        (q, j) for q in range(bins[1]) for j in indices(seen[1], extent[1], q, bins[1], grid[1])
    ]
    if not rows or not columns:
        return no_taps(5)
    (p, i), (q, j) = (np.array(pairs).T for pairs in (rows, columns))
    t, u = (
        (a + (b + 0.5) / g) / n
        for a, b, g, n in ((p, i, grid[0], bins[0]), (q, j, grid[1], bins[1]))
    )
    t, u = (v.flatten() for v in np.meshgrid(t, u, indexing="ij"))
    bin = (p[:, None] * bins[1] + q[None, :]).flatten().astype(int)
    yy, xx = (t - 0.5) * extent[0], (u - 0.5) * extent[1]
    y = yy * turn[0] - xx * turn[1] + center[0]
    x = yy * turn[1] + xx * turn[0] + center[1]

    accepted = (y >= -1) & (y <= size[0]) & (x >= -1) & (x <= size[1])
    widened = (
        (y >= -1 - delta) & (y <= size[0] + delta) & (x >= -1 - delta) & (x <= size[1] + delta)
    )
    inner = (y >= -1 + delta) & (y <= size[0] - delta) & (x >= -1 + delta) & (x <= size[1] - delta)
    kink = widened & ((np.abs(y - np.round(y)) <= delta) | (np.abs(x - np.round(x)) <= delta))
    total = bins[0] * bins[1]
    doubt = np.bincount(bin, (widened & ~inner) / count, total) if delta else np.zeros(total)
    kinks = np.bincount(bin, kink / count, total).max() if delta else 0.0
    unsure = np.bincount(bin, kink | (widened & ~inner), total) > 0 if delta else False

    bin, y, x, t, u = (v[accepted] for v in (bin, y, x, t, u))
    zero, one = np.zeros(len(y)), np.full(len(y), scale)
    across = zero if clamped[1] else scale * (u - 0.5)
    down = zero if clamped[0] else scale * (t - 0.5)
    sign = -1.0 if options.clockwise else 1.0
    dx = [one, zero, across * turn[0], down * turn[1], sign * (y - center[0])]
    dy = [zero, one, -across * turn[1], down * turn[0], -sign * (x - center[1])]
    rest = {
        "doubt": doubt + 2 * min(delta, 1),
        "unsure": unsure,
        "slope_doubt": kinks + min(delta, 1),
        "reach": reach,
    }
    return bilinear(Samples(bin, y, x, count, np.stack(dy, 1), np.stack(dx, 1), rest=rest), size)


def is_dyadic_number(value: float) -> bool:
    return abs(value) < 4096 and (value * 256).is_integer()
