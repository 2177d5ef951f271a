"""The operators from their definitions (docs/semantics.md), slowly, in float64.

reference_ops.py lists the taps of every box: pixel, weight, and the weight's slopes by the box, as
the formulas say and without merging any. All results follow from that list here; those of a
maximum from the taps of its winning samples, which reference_max.py chooses.

An implementation rounds its positions, so each result comes with `slack`: how far it may move when
every position moves by a few units in the last place. It is nonzero where a sample lies so close
to a jump (the rejection limits; for box gradients also any pixel) that rounding decides the side.
Where all arithmetic is exact there is no doubt, and the slack is zero: such cases pin the rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from reference_max import Candidates, choose
from torch import Tensor

if TYPE_CHECKING:
    from cases import Case


@dataclass
class Taps:
    """Of one box, in any order; a pixel may appear many times."""

    bin: np.ndarray  # [T] p * PW + q
    y: np.ndarray  # [T] pixel row
    x: np.ndarray  # [T] pixel column
    weight: np.ndarray  # [T]
    slope: np.ndarray  # [T, P] d weight / d (column of the boxes, without the image)
    extra_slope: np.ndarray | None = None  # [T, 2] d weight / d (x, y offset of the tap's bin)
    sample: np.ndarray | None = None  # [T] the number of the tap's sample, in scan order
    candidates: Candidates | None = None  # the samples, if the operator takes their maximum
    image: int = 0
    level: int = 0
    extrapolated: np.ndarray | bool = False  # [bins] takes the extrapolation value
    doubt: np.ndarray | float = 0.0  # [bins] share of the mean that rounding may change
    unsure: np.ndarray | bool = False  # [bins] rounding may change which pixels are read
    slope_doubt: float = 0.0  # largest share of a bin's slope that rounding may change
    reach: np.ndarray | float = 1.0  # [P] largest slope of a position by a column
    extra_reach: np.ndarray | float = 1.0  # [2] and by an offset
    margin: float = np.inf  # distance of the nearest sample from a kink


def no_taps(columns: int, **rest) -> Taps:
    empty = np.zeros(0, int)
    return Taps(empty, empty, empty, np.zeros(0), np.zeros((0, columns)), np.zeros((0, 2)), **rest)


@dataclass
class Samples:
    """The accepted bilinear samples of one box."""

    bin: np.ndarray  # [S]
    y: np.ndarray  # [S] position
    x: np.ndarray  # [S]
    count: float  # the divisor
    dy: np.ndarray  # [S, P] d y / d column
    dx: np.ndarray  # [S, P]
    extra_dy: float = 0.0  # d y / d (y offset)
    extra_dx: float = 0.0
    rest: dict = field(default_factory=dict)  # doubts and reaches of the taps


def neighbours(position: np.ndarray, n: int):
    """Both pixels around each position, how far it lies from the first, and whether it moves."""
    inside = np.maximum(position, 0)
    low = np.trunc(inside).astype(int)
    at_end = low >= n - 1
    low = np.where(at_end, n - 1, low)
    distance = np.where(at_end, 0.0, inside - low)
    return low, np.where(at_end, low, low + 1), distance, (position >= 0) & ~at_end


def bilinear(samples: Samples, size: tuple[int, int]) -> Taps:
    """Four taps per sample (semantics.md, section 1); slopes are 0 where a position is clamped."""
    y0, y1, ly, moves_y = neighbours(samples.y, size[0])
    x0, x1, lx, moves_x = neighbours(samples.x, size[1])
    parts, sample = [], np.arange(len(samples.bin))
    for y, wy, sy in ((y0, 1 - ly, -1.0), (y1, ly, 1.0)):
        for x, wx, sx in ((x0, 1 - lx, -1.0), (x1, lx, 1.0)):
            by_y, by_x = sy * moves_y * wx / samples.count, sx * moves_x * wy / samples.count
            slope = by_y[:, None] * samples.dy + by_x[:, None] * samples.dx
            extra = np.stack([by_x * samples.extra_dx, by_y * samples.extra_dy], 1)
            columns = (samples.bin, y, x, wy * wx / samples.count, slope, extra, sample)
            # A position clamped to the last pixel reads that one alone.
            read = ((sy < 0) | (y1 > y0)) & ((sx < 0) | (x1 > x0))
            parts.append([column[read] for column in columns])
    positions = np.concatenate([samples.y, samples.x])
    margin = np.abs(positions - np.round(positions)).min(initial=np.inf)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Taps(*columns, margin=float(margin), **samples.rest)


def join(parts: list[Taps], **rest) -> Taps:
    """The taps of one box whose bins were listed apart; the doubts are those of `rest`."""
    names = ("bin", "y", "x", "weight", "slope", "extra_slope")
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    return Taps(*columns, margin=min(part.margin for part in parts), **rest)


def all_taps(case: Case) -> Iterator[Taps]:
    """Of every box. Geometry widens or narrows the boxes before anything else."""
    geometry = np.float64 if case.dtype == torch.float64 else np.float32
    rows = case.boxes.detach().cpu().double().numpy()
    extra = None if case.extra is None else case.extra.detach().cpu().double().numpy()
    sizes = [tuple(m.shape[2:]) for m in case.maps]
    for k, row in enumerate(rows):
        with np.errstate(all="ignore"):
            box = geometry(row[-case.op.columns :])
            other = None if extra is None else extra[k]
            taps = case.op.reference(box, other, sizes, case.options, geometry)
        image = int(row[0] if case.op.has_image_column else extra[k])
        yield replace(taps, image=image)


def maps_of(case: Case) -> list[np.ndarray]:
    return [m.detach().cpu().double().numpy() for m in case.maps]


def largest_of(case: Case) -> float:
    return max(np.abs(m[np.isfinite(m)]).max(initial=0.0) for m in maps_of(case))


@dataclass
class Reads:
    """What the taps of one box read, for every output channel."""

    channel: np.ndarray  # [C, T or 1] of the map
    pixel: np.ndarray  # [C, T] value
    counts: np.ndarray | bool  # [C, T] a mean counts every tap, a maximum those of its winners
    winner: np.ndarray | None  # [C, bins] sample
    contested: np.ndarray | float  # [C, bins] rounding may choose another

    @staticmethod
    def of(case: Case, taps: Taps, maps: list[np.ndarray], largest: float) -> Reads:
        channel, bins = (
            np.arange(case.output_channels)[:, None],
            int(np.prod(case.output_shape[2:])),
        )
        if case.op.position_sensitive:
            channel = channel * bins + taps.bin[None, :]
        pixel = maps[taps.level][taps.image][channel, taps.y, taps.x]
        if taps.candidates is None:
            return Reads(channel, pixel, True, None, 0.0)
        terms = taps.weight * pixel
        winner, contested = choose(taps.candidates, taps.sample, terms, bins, largest)
        return Reads(channel, pixel, winner[:, taps.bin] == taps.sample, winner, contested)


def values(case: Case) -> tuple[Tensor, Tensor]:
    """[K, C, PH, PW] in float64, and their slack [K, 1, PH, PW]."""
    maps = maps_of(case)
    ph, pw = case.options.output_size
    k, channels = len(case.boxes), case.output_channels
    out, slack = np.zeros((k, channels, ph * pw)), np.zeros((k, 1, ph * pw))
    largest = largest_of(case)
    for i, taps in enumerate(all_taps(case)):
        with np.errstate(invalid="ignore"):
            reads = Reads.of(case, taps, maps, largest)
            terms = np.where(reads.counts, taps.weight * reads.pixel, 0)
            for channel in range(channels):
                out[i, channel] = np.bincount(taps.bin, terms[channel], ph * pw)
        out[i][:, np.broadcast_to(taps.extrapolated, ph * pw)] = case.options.extrapolation_value
        slack[i, 0] = largest * np.minimum(taps.doubt, 2)
    shape = (ph, pw)
    return torch.from_numpy(out).unflatten(2, shape), torch.from_numpy(slack).unflatten(2, shape)


def certain(case: Case) -> Tensor:
    """[K, 1, PH, PW]: no rounding changes which pixels are read, and which of them with weight 0."""
    ph, pw = case.options.output_size
    out = np.ones((len(case.boxes), 1, ph * pw), bool)
    for i, taps in enumerate(all_taps(case)):
        out[i, 0] = ~np.broadcast_to(taps.unsure, ph * pw)
    return torch.from_numpy(out).unflatten(2, (ph, pw))


def input_gradients(case: Case, grad: Tensor) -> list[tuple[Tensor, Tensor]]:
    """[N, C, H, W] of every map in float64, and its slack [N, 1, 1, 1]. Thousands of terms, one
    after the other, need a wider sum."""
    grads = grad.detach().cpu().double().flatten(2).numpy()
    maps, largest = maps_of(case), largest_of(case)
    out = [np.zeros(m.shape, np.longdouble) for m in case.maps]
    slack = [np.zeros((len(m), 1, 1, 1)) for m in case.maps]
    for i, taps in enumerate(all_taps(case)):
        reads = Reads.of(case, taps, maps, largest)
        terms = grads[i][:, taps.bin] * taps.weight * reads.counts
        np.add.at(out[taps.level][taps.image], (reads.channel, taps.y, taps.x), terms)
        doubt = min(float(np.max(taps.doubt)), 2.0)
        slack[taps.level][taps.image] += (np.abs(grads[i]) * (doubt + 2 * reads.contested)).sum()
    pairs = zip(out, slack, strict=True)
    return [(torch.from_numpy(a.astype(float)), torch.from_numpy(b)) for a, b in pairs]


def winning_positions(case: Case) -> Tensor:
    """[K, C, PH, PW, 2]: (y, x) of the sample that is a bin's maximum; NaN if it has none."""
    maps, shape, largest = maps_of(case), case.output_shape, largest_of(case)
    out = np.full((*shape[:2], shape[2] * shape[3], 2), np.nan)
    for i, taps in enumerate(all_taps(case)):
        if taps.candidates is not None:  # else the box is not finite
            winner = Reads.of(case, taps, maps, largest).winner
            out[i][winner >= 0] = taps.candidates.at[winner[winner >= 0]]
    return torch.from_numpy(out).unflatten(2, shape[2:])


@dataclass
class BoxGradient:
    """All float64; by_extra has the shape of the offsets, or is None."""

    by_boxes: Tensor  # of the shape of the boxes
    slack: Tensor
    magnitude: Tensor
    by_extra: Tensor | None
    extra_slack: Tensor | None
    extra_magnitude: Tensor | None


def box_gradient(case: Case, grad: Tensor) -> BoxGradient:
    maps, largest = maps_of(case), largest_of(case)
    grads = grad.detach().cpu().double().flatten(2).numpy()
    bins, first = grads.shape[2], int(case.op.has_image_column)
    boxes = np.zeros((3, len(case.boxes), first + case.op.columns))
    extras = np.zeros((3, len(case.boxes), 2, bins))
    for i, taps in enumerate(all_taps(case)):
        reads = Reads.of(case, taps, maps, largest)
        terms = grads[i][:, taps.bin] * reads.pixel * reads.counts
        doubt = 4 * largest * min(taps.slope_doubt, 1)
        everything = np.abs(grads[i]).sum()
        contested = (np.abs(grads[i]) * reads.contested).sum()
        boxes[0, i, first:] = terms.sum(0) @ taps.slope
        boxes[1, i, first:] = (doubt * everything + 4 * largest * contested) * taps.reach
        boxes[2, i, first:] = np.abs(terms).sum(0) @ np.abs(taps.slope)
        boxes[2, i, first:] += largest * everything * taps.reach
        if taps.extra_slope is None:
            continue
        for axis in (0, 1):
            slope = taps.extra_slope[:, axis]
            reach = np.broadcast_to(taps.extra_reach, 2)[axis] * np.abs(grads[i]).sum(0)
            extras[0, i, axis] = np.bincount(taps.bin, terms.sum(0) * slope, bins)
            extras[1, i, axis] = doubt * reach
            extras[2, i, axis] = np.bincount(taps.bin, np.abs(terms).sum(0) * np.abs(slope), bins)
            extras[2, i, axis] += largest * reach
    results = [torch.from_numpy(a) for a in boxes]
    if not case.op.has_offset or case.extra is None:
        return BoxGradient(*results, None, None, None)
    shape = case.options.output_size
    return BoxGradient(*results, *(torch.from_numpy(a).unflatten(2, shape) for a in extras))
