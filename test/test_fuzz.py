"""A short run of the fuzzer (fuzz.py), the same calls every time, and what it has found before."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest
from cases import Options
from op_table import Op, each_op
from properties import CHECKS
from recipes import Recipe

each_check = pytest.mark.parametrize("check", CHECKS)
EXAMPLES = 12
FOUND = {
    "gradient_by_a_tiny_box": Recipe(
        "prroi_pool", Options((1, 1)), boxes=((1e-9, 2.3, 3e-9, 3.9),)
    ),
    "level_of_a_box_without_size": Recipe(
        "multiscale_roi_align",
        Options((1, 1), canonical_scale=1, canonical_level=2**62),
        boxes=((0.0, 0.0, 0.0, 0.0),),
    ),
}


@each_op
@each_check
def test_drawn_calls(op: Op, check: str, tmp_path: Path) -> None:
    """Again: python test/fuzz.py --seconds 0 --seed 0 --examples 12 --op OP --check CHECK"""
    fuzz.run_check(op.name, check, 0, EXAMPLES, tmp_path / "call.txt")


@pytest.mark.parametrize("name", FOUND)
@each_check
def test_what_was_found_before(name: str, check: str) -> None:
    CHECKS[check](FOUND[name])
