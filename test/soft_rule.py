"""Soft suppression of an image, followed step by step in the type of its arithmetic."""

from __future__ import annotations

import math

import numpy as np
import torch
from box_recipes import BoxCase
from torch import Tensor


class Scores:
    """Lowered so far, and by how much rounding may have changed each: exp is not the same
    everywhere, products and differences are."""

    def __init__(self, case: BoxCase) -> None:
        self.type = np.float64 if case.arithmetic == torch.float64 else np.float32
        self.values = case.second.double().numpy().astype(self.type)
        self.off = np.zeros(case.count)
        self.left = np.ones(case.count, dtype=bool)
        idxs = case.idxs
        self.classes = np.zeros(case.count) if idxs is None else idxs.numpy()
        self.recipe = case.recipe

    def lower(self, number: int, ious: np.ndarray) -> None:
        rule, limits = self.recipe, np.finfo(self.type)
        lowers = ious > 0
        if rule.method == "linear":
            lowers &= ious >= self.type(rule.threshold)
            factor, relative = 1 - ious, np.zeros(len(ious))
        else:
            power = -(ious * ious) / self.type(rule.sigma)
            factor = np.exp(power.astype(np.float64)).astype(self.type)
            relative = 4 * limits.eps * (1 + np.abs(power.clip(-800, 0)))
        chosen = self.left & (self.classes == self.classes[number]) & lowers
        product = np.where((factor > 0) | np.isnan(self.values), self.values * factor, 0)
        error = np.where(np.isfinite(product), np.abs(product) * relative, 0)
        if rule.method == "gaussian":
            error += 4 * limits.smallest_subnormal * np.maximum(np.abs(self.values), 1)
            error[np.isinf(self.values) & (factor < limits.tiny)] = math.inf  # or 0
        self.off[chosen] = self.off[chosen] * np.minimum(factor[chosen], 1) + error[chosen]
        self.values[chosen] = product[chosen]

    def may_be_next(self, number: int) -> bool:
        """The first NaN, else the first of the largest, but for rounding."""
        values, rivals = self.values.astype(np.float64), self.left.copy()
        rivals[number] = False
        own, off = values[number], self.off[number]
        if math.isnan(own):
            return not (rivals & np.isnan(values))[:number].any()
        exact = (self.off == 0) & (off == 0)
        before = np.arange(len(values)) < number
        better = (values - self.off > own + off) | (exact & (values == own) & before)
        return not (rivals & (better | np.isnan(values))).any()


def assert_soft(case: BoxCase, ious: np.ndarray, numbers: list[int], lowered: Tensor) -> None:
    with np.errstate(all="ignore"):
        scores = Scores(case)
        least = scores.type(case.recipe.min_score)
        for step, number in enumerate(numbers):
            assert scores.left[number] and scores.may_be_next(number), f"step {step}: {number}"
            value, off = scores.values[number], scores.off[number]
            assert not value + off < least
            own = torch.tensor(float(value), dtype=torch.float64).to(lowered.dtype).double()
            got = lowered[step].double()
            if off == 0 or not math.isfinite(value):
                assert torch.equal(got, own) or (got.isnan() and own.isnan()) or off == math.inf
            else:
                assert abs(got - value) <= off + 2 * abs(own - value), f"step {step}: {number}"
            scores.left[number] = False
            scores.lower(number, ious[number])
        if len(numbers) < case.most:
            rest = scores.values - scores.off
            assert not (scores.left & ~(rest < least)).any()
