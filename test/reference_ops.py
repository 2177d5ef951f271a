"""The taps of one box for each operator, formula by formula from docs/semantics.md.

Every function takes the box without its image (in `geometry`), the row of its extra tensor or None,
the sizes of the maps, the options, and the geometry's type.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import ceil, floor, inf, isfinite, log2, sqrt

import numpy as np
from reference import Samples, Taps, bilinear, join, no_taps
from reference_axis import NEARLY_NOTHING, Axis, axis_samples, decode, is_dyadic
from reference_max import Candidates


def outer(ys: Axis, xs: Axis, scales, options, size, maximum: bool = False) -> Taps:
    """The samples of two axes; box columns are x1, y1, x2, y2."""
    i, j = np.divmod(np.arange(len(ys.position) * len(xs.position)), max(len(xs.position), 1))
    bins = options.output_size
    dy, dx = np.zeros((len(i), 4)), np.zeros((len(i), 4))
    dy[:, 1::2] = ys.slopes(scales[0])[i]
    dx[:, 0::2] = xs.slopes(scales[1])[j]
    doubt = np.minimum(ys.doubt[:, None] + xs.doubt[None, :], 1)
    kinks = ys.kink_doubt() + xs.kink_doubt()
    moved = min(ys.delta + xs.delta, 1)
    count = max(ys.grid * xs.grid, 1.0)
    if maximum:  # one sample may decide all
        doubt, kinks, count = 2 * np.sign(doubt), np.sign(kinks), 1.0
    rest = {
        "doubt": (doubt + 2 * moved).flatten(),
        "unsure": (ys.unsure()[:, None] | xs.unsure()[None, :]).flatten(),
        "slope_doubt": kinks + moved,
        "reach": max(scales) * np.ones(4),
    }
    y, x, bin = ys.position[i], xs.position[j], ys.bin[i] * bins[1] + xs.bin[j]
    taps = bilinear(Samples(bin, y, x, count, dy, dx, rest=rest), size)
    if maximum:
        at = np.stack([np.clip(v, 0, n - 1) for v, n in zip((y, x), size, strict=True)], 1)
        taps.candidates = Candidates(bin, at, 2 * moved + 4 * ys.eps)
    return taps


def sampled(box, size, options, geometry, scale: float, aligned: bool, maximum=False) -> Taps:
    """Section 2."""
    x, w = decode(box[0], box[2], scale, aligned, geometry)
    y, h = decode(box[1], box[3], scale, aligned, geometry)
    if not all(isfinite(float(v)) for v in (x, w, y, h)):
        return no_taps(4)
    ratio, clamp = options.sampling_ratio, not aligned
    ys = axis_samples(y, h, size[0], options.output_size[0], ratio, clamp)
    xs = axis_samples(x, w, size[1], options.output_size[1], ratio, clamp)
    return outer(ys, xs, (scale, scale), options, size, maximum)


def roi_align(box, extra, sizes, options, geometry, maximum=False) -> Taps:
    scale, aligned = options.spatial_scale, options.aligned
    return sampled(box, sizes[0], options, geometry, scale, aligned, maximum)


def roi_align_max(*args) -> Taps:
    return roi_align(*args, maximum=True)


def ps_roi_align(box, extra, sizes, options, geometry) -> Taps:
    """Section 4."""
    return sampled(box, sizes[0], options, geometry, options.spatial_scale, True)


def multiscale_roi_align(box, extra, sizes, options, geometry) -> Taps:
    """Section 10."""
    scales = options.spatial_scales
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    if not area >= 0:
        return no_taps(4)
    octaves = log2(sqrt(area) / options.canonical_scale) if area > 0 else -inf
    exact = options.canonical_level + octaves
    first = round(-log2(scales[0]))
    level = int(min(max(exact + 1e-6, -9999), 9999) // 1) - first
    level = min(max(level, 0), len(scales) - 1)
    taps = sampled(box, sizes[level], options, geometry, scales[level], options.aligned)
    taps.level = level
    return taps


def crop_positions(low, high, n: int, bins: int, geometry):
    """[bins] positions in the geometry's type and TensorFlow's order, and shares of `high`."""
    last = geometry(n - 1)
    with np.errstate(all="ignore"):
        if bins == 1:
            return np.array([geometry(0.5) * (low + high) * last]), np.array([0.5])
        step = (high - low) * last / geometry(bins - 1)
        positions = np.array([low * last + geometry(i) * step for i in range(bins)])
    return positions, np.arange(bins) / (bins - 1)


def crop_axis(box, axis: int, size, options, geometry):
    """Per bin: inside, share of the second pixel, both pixels, share of `high`; the last pixel."""
    n, bins = size[axis], options.output_size[axis]
    positions, high = crop_positions(box[axis], box[axis + 2], n, bins, geometry)
    inside = (positions >= 0) & (positions <= n - 1) & (n > 0)
    positions = np.where(inside, positions, 0).astype(float)
    nearest = options.method == "nearest"
    below = np.floor(positions + 0.5) if nearest else np.floor(positions)
    above = below if nearest else np.ceil(positions)
    return inside, positions - below, below, above, high, max(n - 1, 0)


def crop_and_resize(box, extra, sizes, options, geometry) -> Taps:
    """Section 6; columns are y1, x1, y2, x2. Positions are exact: the order is TensorFlow's."""
    axes = [crop_axis(box, axis, sizes[0], options, geometry) for axis in (0, 1)]
    (in_y, ly, top, bottom, high_y, last_y), (in_x, lx, left, right, high_x, last_x) = axes
    valid = in_y[:, None] & in_x[None, :]
    i, j = (index.flatten() for index in np.nonzero(valid))
    bin = i * valid.shape[1] + j
    parts = []
    for y, wy, sy in ((top, 1 - ly, -1.0), (bottom, ly, 1.0)):
        for x, wx, sx in ((left, 1 - lx, -1.0), (right, lx, 1.0)):
            if options.method == "nearest" and sy + sx > -2:
                continue  # one pixel
            # Both taps of a whole position are the same pixel: their slopes cancel.
            by_y, by_x = sy * wx[j] * last_y, sx * wy[i] * last_x
            columns = [by_y * (1 - high_y[i]), by_x * (1 - high_x[j])]
            slope = np.stack([*columns, by_y * high_y[i], by_x * high_x[j]], 1)
            weight = wy[i] * wx[j]
            if options.method == "nearest":
                slope, weight = 0 * slope, np.ones(len(i))
            pixels = y[i].astype(int), x[j].astype(int)
            parts.append(Taps(bin, *pixels, weight, slope, np.zeros((len(i), 2))))
    distances = np.concatenate([ly[i], lx[j]])
    # No doubt: weights are computed from positions that are a few units in the last place apart.
    reach = np.array([last_y, last_x, last_y, last_x], float)
    taps = join(parts, extrapolated=~valid.flatten(), reach=reach, doubt=0.0)
    taps.margin = float(np.minimum(distances, 1 - distances).min(initial=np.inf))
    return taps


def tent(u):
    return max(0, 1 - abs(u))


def tent_primitive(u):
    """G of section 8."""
    if u <= 0:
        return max(u + 1, 0) ** 2 / 2
    return 1 - max(1 - u, 0) ** 2 / 2


def prroi_axis(low, high, n: int, bins: int, scale: float, geometry):
    """Per bin: pixels, mean tents, slopes by low and high; then size of a bin, delta, unsure."""
    with np.errstate(all="ignore"):
        start = low * geometry(scale)
        size = high * geometry(scale) - start
    if not (np.isfinite(start) and np.isfinite(size) and size > 0):
        return None
    # Exactly: a difference of primitives, divided by the size of a tiny bin, is rounding alone.
    start, size = Fraction(float(start)), Fraction(float(size))
    delta = 4 * float(np.finfo(geometry).eps) * float(abs(start) + size)
    exact = is_dyadic(start) and is_dyadic(size / bins)
    rows, unsure = [], np.full(bins, size / bins <= delta)
    for p in range(bins):
        a, b = start + p * size / bins, start + (p + 1) * size / bins
        near = any(abs(v - round(v)) <= delta + NEARLY_NOTHING for v in (a, b))
        unsure[p] |= near and not exact
        pixels = range(max(floor(a), 0), min(ceil(b), n - 1) + 1)
        means = [(tent_primitive(b - i) - tent_primitive(a - i)) / (b - a) for i in pixels]
        slopes = [
            ((m - tent(a - i)) / (b - a), (tent(b - i) - m) / (b - a))
            for i, m in zip(pixels, means, strict=True)
        ]
        pixel, mean = np.array(pixels, int), np.array(means, float)
        by_a, by_b = np.array(slopes, float).reshape(-1, 2).T
        low_slope = scale * (by_a * (1 - p / bins) + by_b * (1 - (p + 1) / bins))
        high_slope = scale * (by_a * p / bins + by_b * (p + 1) / bins)
        rows.append((pixel, mean, low_slope, high_slope))
    return rows, float(size / bins), delta, unsure


def prroi_pool(box, extra, sizes, options, geometry) -> Taps:
    """Section 8."""
    scale = options.spatial_scale
    (height, width), (ph, pw) = sizes[0], options.output_size
    rows = prroi_axis(box[1], box[3], height, ph, scale, geometry)
    columns = prroi_axis(box[0], box[2], width, pw, scale, geometry)
    if rows is None or columns is None:
        return no_taps(4)
    parts = []
    for (p, ys), (q, xs) in product(enumerate(rows[0]), enumerate(columns[0])):
        i, j = np.divmod(np.arange(len(ys[0]) * len(xs[0])), max(len(xs[0]), 1))
        slope = np.stack(
            [
                ys[1][i] * xs[2][j],
                ys[2][i] * xs[1][j],
                ys[1][i] * xs[3][j],
                ys[3][i] * xs[1][j],
            ],
            1,
        )
        bin, weight = np.full(len(i), p * pw + q), ys[1][i] * xs[1][j]
        parts.append(Taps(bin, ys[0][i], xs[0][j], weight, slope, np.zeros((len(i), 2))))
    delta = rows[2] + columns[2]
    shrunk = delta / min(rows[1], columns[1], 1.0)
    unsure = (rows[3][:, None] | columns[3][None, :]).flatten()
    rest = {"unsure": unsure, "slope_doubt": shrunk, "reach": scale * np.ones(4)}
    return join(parts, doubt=2 * min(delta, 1), **rest)


def deform_roi_pool(box, extra, sizes, options, geometry) -> Taps:
    """Section 9: roi_align whose bins start elsewhere, one by one."""
    scale, size = options.spatial_scale, sizes[0]
    x, w = decode(box[0], box[2], scale, True, geometry)
    y, h = decode(box[1], box[3], scale, True, geometry)
    if not all(isfinite(float(v)) for v in (x, w, y, h)):
        return no_taps(4)
    bins, ratio, gamma = options.output_size, options.sampling_ratio, geometry(options.gamma)
    offset = np.zeros((2, *bins)) if extra is None else extra
    parts, doubts, kinks = [], np.zeros(bins[0] * bins[1]), 0.0
    unsure = np.zeros(bins[0] * bins[1], bool)
    for p, q in product(range(bins[0]), range(bins[1])):
        shift_y, shift_x = (gamma * geometry(offset[a, p, q]) for a in (1, 0))
        ys = axis_samples(y, h, size[0], bins[0], ratio, False, shift_y)
        xs = axis_samples(x, w, size[1], bins[1], ratio, False, shift_x)
        part = only_bin(outer(ys, xs, (scale, scale), options, size), p * bins[1] + q)
        # d position / d box is `fraction` times the scale; by an offset it is gamma * size.
        extra_slope = position_slopes(ys, xs, options, size, p * bins[1] + q)
        part.extra_slope = extra_slope * np.array([float(gamma * w), float(gamma * h)])
        parts.append(part)
        doubts[p * bins[1] + q] = part.doubt[p * bins[1] + q]
        unsure[p * bins[1] + q] = part.unsure[p * bins[1] + q]
        kinks = max(kinks, part.slope_doubt)
    largest_shift = 1 + abs(float(options.gamma)) * np.abs(offset).max(initial=0)
    return join(
        parts,
        doubt=doubts,
        unsure=unsure,
        slope_doubt=kinks,
        reach=scale * largest_shift * np.ones(4),
        extra_reach=np.abs([float(gamma * w), float(gamma * h)]),
    )


def only_bin(taps: Taps, bin: int) -> Taps:
    chosen = taps.bin == bin
    taps.bin, taps.y, taps.x = taps.bin[chosen], taps.y[chosen], taps.x[chosen]
    taps.weight, taps.slope = taps.weight[chosen], taps.slope[chosen]
    return taps


def position_slopes(ys: Axis, xs: Axis, options, size, bin: int) -> np.ndarray:
    """[T, 2]: d weight / d (x, y position) of the taps of `bin`."""
    i, j = np.divmod(np.arange(len(ys.position) * len(xs.position)), max(len(xs.position), 1))
    ones = np.ones((len(i), 2))
    count = max(ys.grid * xs.grid, 1.0)
    at = (ys.bin[i] * options.output_size[1] + xs.bin[j], ys.position[i], xs.position[j])
    taps = bilinear(Samples(*at, count, ones * [0, 1], ones * [1, 0]), size)
    return taps.slope[taps.bin == bin]
