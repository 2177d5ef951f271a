"""The taps of one box of roi_align_rotated (docs/semantics.md, section 7)."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass
class Box:
    """A rotated box on the map; pairs are (y, x)."""

    scale: float
    center: list[float]
    extent: list[float]
    clamped: list[bool]  # to one pixel
    turn: tuple[float, float]  # cosine and sine
    sign: float  # of the angle
    grid: list[float]  # samples of a bin
    delta: float  # by which a sample's position may be off

    @property
    def count(self) -> float:
        return max(self.grid[0] * self.grid[1], 1.0)

    @property
    def reach(self) -> np.ndarray:
        return np.array([self.scale] * 4 + [abs(self.extent[0]) + abs(self.extent[1]) + 1])


def on_the_map(box, options, geometry) -> Box | None:
    """None if it is not finite."""
    bins = options.output_size
    scale, offset = geometry(options.spatial_scale), geometry(0.5 if options.aligned else 0)
    with np.errstate(all="ignore"):
        center = (box[1] * scale - offset, box[0] * scale - offset)
        extent = (box[3] * scale, box[2] * scale)
        angle = -box[4] if options.clockwise else box[4]
        if not all(isfinite(float(v)) for v in (*center, *extent, angle)):
            return None
    clamped = [not options.aligned and bool(v < 1) for v in extent]
    extent = [geometry(1) if c else v for c, v in zip(clamped, extent, strict=True)]
    adaptive = [max(float(np.ceil(v / geometry(b))), 0) for v, b in zip(extent, bins, strict=True)]
    grid = [options.sampling_ratio] * 2 if options.sampling_ratio > 0 else adaptive
    turn = (float(np.cos(angle)), float(np.sin(angle)))
    center, extent = [[float(v) for v in pair] for pair in (center, extent)]
    exact = float(angle) == 0 and all(is_dyadic_number(v) for v in center) and all(
        is_dyadic_number(v / b / 2) and g in (1, 2, 4, 8)
        for v, b, g in zip(extent, bins, grid, strict=True)
    )  # fmt: skip
    eps = float(np.finfo(geometry).eps)
    delta = 0.0 if exact else 8 * eps * (sum(map(abs, center)) + sum(map(abs, extent)))
    sign = -1.0 if options.clockwise else 1.0
    return Box(float(scale), center, extent, clamped, turn, sign, grid, delta)


@dataclass
class Places:
    """Samples of a box: their bins, positions, and places in the box from 0 to 1."""

    bin: np.ndarray
    y: np.ndarray
    x: np.ndarray
    t: np.ndarray
    u: np.ndarray

    def within(self, size, delta: float) -> np.ndarray:
        """Those that lie in the accepted region widened by delta."""
        y, x = self.y, self.x
        return (
            (y >= -1 - delta) & (y <= size[0] + delta) & (x >= -1 - delta) & (x <= size[1] + delta)
        )


def places(box: Box, size, bins) -> Places | None:
    """Of the samples that may be accepted, and a few more."""
    seen = corners_from_the_box(size, box.center, box.turn)
    (p, i), (q, j) = (
        np.array([(b, n) for b in range(bins[a])
                  for n in indices(seen[a], box.extent[a], b, bins[a], int(box.grid[a]))]
                 ).reshape(-1, 2).T
        for a in (0, 1)
    )  # fmt: skip
    if not len(p) or not len(q):
        return None
    t, u = (p + (i + 0.5) / box.grid[0]) / bins[0], (q + (j + 0.5) / box.grid[1]) / bins[1]
    t, u = (v.flatten() for v in np.meshgrid(t, u, indexing="ij"))
    bin = (p[:, None] * bins[1] + q[None, :]).flatten().astype(int)
    yy, xx = (t - 0.5) * box.extent[0], (u - 0.5) * box.extent[1]
    y = yy * box.turn[0] - xx * box.turn[1] + box.center[0]
    x = yy * box.turn[1] + xx * box.turn[0] + box.center[1]
    return Places(bin, y, x, t, u)


def doubts(at: Places, box: Box, size, total: int) -> dict:
    """What samples near a border or a kink may change."""
    delta, count = box.delta, box.count
    if not delta:
        return {"doubt": np.zeros(total), "unsure": False, "slope_doubt": 0.0}
    widened, inner = at.within(size, delta), at.within(size, -delta)
    on_kink = (np.abs(at.y - np.round(at.y)) <= delta) | (np.abs(at.x - np.round(at.x)) <= delta)
    kink = widened & on_kink
    return {
        "doubt": np.bincount(at.bin, (widened & ~inner) / count, total) + 2 * min(delta, 1),
        "unsure": np.bincount(at.bin, kink | (widened & ~inner), total) > 0,
        "slope_doubt": np.bincount(at.bin, kink / count, total).max() + min(delta, 1),
    }


def roi_align_rotated(row, extra, sizes, options, geometry) -> Taps:
    size, bins = sizes[0], options.output_size
    box = on_the_map(row, options, geometry)
    if box is None:
        return no_taps(5)
    if max(box.grid) > ENDLESS:
        on_map = [min(g, 4 * (sum(size) + 4) + 3000) for g in box.grid]
        share = min(1.0, on_map[0] * on_map[1] / box.count)
        return no_taps(5, doubt=2 * share, unsure=True, slope_doubt=share, reach=box.reach)
    at = places(box, size, bins) if all(box.grid) and all(size) else None
    if at is None:
        return no_taps(5)
    rest = doubts(at, box, size, bins[0] * bins[1]) | {"reach": box.reach}
    accepted = at.within(size, 0.0)
    bin, y, x, t, u = (v[accepted] for v in (at.bin, at.y, at.x, at.t, at.u))
    zero, one = np.zeros(len(y)), np.full(len(y), box.scale)
    down, across = (
        zero if clamped else box.scale * (v - 0.5)
        for clamped, v in zip(box.clamped, (t, u), strict=True)
    )
    (cosine, sine), center = box.turn, box.center
    dx = [one, zero, across * cosine, down * sine, box.sign * (y - center[0])]
    dy = [zero, one, -across * sine, down * cosine, -box.sign * (x - center[1])]
    slopes = np.stack(dy, 1), np.stack(dx, 1)
    return bilinear(Samples(bin, y, x, box.count, *slopes, rest=rest), size)


def is_dyadic_number(value: float) -> bool:
    return abs(value) < 4096 and (value * 256).is_integer()
