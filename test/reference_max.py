"""Which sample of a bin is its maximum (docs/semantics.md, roi_align, mode="max")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Candidates:
    """The accepted samples of one box, in scan order within each bin."""

    bin: np.ndarray  # [S]
    at: np.ndarray  # [S, 2] position (y, x), clamped to the map
    blur: float  # how far rounding may move a sample's value, for features of up to 1


def choose(
    candidates: Candidates, sample: np.ndarray, terms: np.ndarray, bins: int, largest: float
):
    """The winning sample of each channel and bin [C, bins], -1 if there is none; and where
    another that lies elsewhere may win by rounding. `terms` [C, T] add up to the samples."""
    winner = np.full((len(terms), bins), -1)
    contested = np.zeros((len(terms), bins), bool)
    count, at = len(candidates.bin), candidates.at
    values = np.array([np.bincount(sample, row, count) for row in terms]).reshape(len(terms), count)
    for bin in np.unique(candidates.bin):
        here = np.flatnonzero(candidates.bin == bin)
        # numpy's argmax is the first of equals, and the first NaN if there is one
        winner[:, bin] = here[values[:, here].argmax(1)]
        lead = values[:, here].max(1, keepdims=True) - values[:, here]
        elsewhere = (at[here] != at[winner[:, bin]][:, None]).any(2)
        contested[:, bin] = ((lead < 2 * candidates.blur * largest) & elsewhere).any(1)
    return winner, contested
