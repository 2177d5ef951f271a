"""How far a result may be from what it should be. Every comparison of the suite ends here."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

HALF_TYPES = (torch.float16, torch.bfloat16)
BITS = {8: torch.int64, 4: torch.int32, 2: torch.int16}


def assert_same_bits(actual: Tensor, expected: Tensor, what: str = "results") -> None:
    """For layouts, reruns and thread counts: nothing may differ, not even the sign of a zero."""
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    bits = BITS[actual.element_size()]
    same = actual.contiguous().view(bits) == expected.contiguous().view(bits)
    assert same.all(), f"{what} differ in {int((~same).sum())} of {same.numel()} elements"


def allowed_error(
    expected: Tensor, dtype: torch.dtype, magnitude: float | Tensor, slack: float | Tensor = 0.0
) -> Tensor:
    """The bound, element by element, for a result of `dtype` whose exact value is `expected`.

    magnitude: the sum of the absolute values of the terms behind an element. Sums are taken in
        float32 (float64 for float64), and 32 units in the last place of that are granted.
    slack: what rounded sample positions may change (see reference.py).
    Half types get, on top, twice the error of rounding the exact result to `dtype`: sums in
    float32 with one rounding at the end pass, sums in the half type do not.
    """
    working = torch.float64 if dtype == torch.float64 else torch.float32
    bound = 32 * torch.finfo(working).eps * torch.as_tensor(magnitude) + slack
    if dtype in HALF_TYPES:
        bound = bound + 2 * (expected.to(dtype).double() - expected).abs()
    return bound.expand_as(expected)


def assert_close(
    actual: Tensor, expected: Tensor, magnitude: float | Tensor, slack: float | Tensor = 0.0,
    names: Sequence[str] | None = None,
) -> None:  # fmt: skip
    """`actual` of any dtype against the exact float64 `expected`; `names` are those of the rows."""
    assert actual.shape == expected.shape, f"{list(actual.shape)} != {list(expected.shape)}"
    result = actual.detach().cpu().double()
    error = (result - expected).abs()
    bound = allowed_error(expected, actual.dtype, magnitude, slack)
    bad = ~(error <= bound)  # NaN is bad
    if not bad.any():
        return
    rows = bad.flatten(1).any(1).nonzero().flatten().tolist()
    lines = []
    for row in rows[:8]:
        at = (error[row] - bound[row]).nan_to_num(nan=torch.inf).argmax()
        lines.append(
            f"  {names[row] if names else f'row {row}'}: got {result[row].flatten()[at]:.9g}, "
            f"expected {expected[row].flatten()[at]:.9g} +- {bound[row].flatten()[at]:.3g}"
        )
    raise AssertionError("\n".join([f"{len(rows)} of {len(expected)} rows are wrong:", *lines]))
