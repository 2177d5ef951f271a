"""No kernel is timed before its results are those of another one."""

from __future__ import annotations

from dataclasses import dataclass

from problems import Problem, Variant, build
from torch import Tensor
from workloads import Workload

# Of the largest element. float32 positions near 272 are rounded to 2^-15 pixel, a few times, in
# either library; bfloat16 results are rounded by at most 2^-9.
TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-3}


class WrongResult(RuntimeError):
    """Two libraries do not agree."""


@dataclass(frozen=True)
class Agreement:
    """How far results may be apart."""

    name: str  # of what is compared, for the message
    tolerance: float
    flips: float  # share of the elements that may be further apart

    def check(self, what: str, actual: Tensor, expected: Tensor) -> None:
        actual, expected = actual.detach().float(), expected.detach().float().to(actual.device)
        if actual.shape != expected.shape:
            raise WrongResult(
                f"{self.name}: {what} must have shape {list(expected.shape)}, "
                f"but got {list(actual.shape)}."
            )
        error = (actual - expected).abs_()
        bound = self.tolerance * float(expected.abs().max())
        wrong = int((~(error <= bound)).sum())  # NaN is wrong
        if wrong > self.flips * error.numel():
            raise WrongResult(
                f"{self.name}: {what} must be within {bound:.3g}, but got {wrong} of "
                f"{error.numel()} elements further apart, up to {float(error.max()):.3g}."
            )


def reference(workload: Workload, variant: Variant) -> Problem | None:
    """torchvision, or roiops where its test suite looks closest: on the CPU, float32, contiguous.
    None if that is the variant itself."""
    if workload.has_peer:
        return build(workload, "torchvision", variant)
    if variant == Variant():
        return None
    return build(workload, "roiops", Variant(variant.dtype), exact=True)


def verify(name: str, workload: Workload, variant: Variant, ours: Problem, other: Problem) -> None:
    agreement = Agreement(name, TOLERANCES[variant.dtype], workload.flips)
    agreement.check("the output", ours.prepare("forward")()[0], other.prepare("forward")()[0])
    pairs = zip(ours.prepare("backward")(), other.prepare("backward")(), strict=True)
    for number, (actual, expected) in enumerate(pairs):
        agreement.check(f"gradient {number}", actual, expected)
