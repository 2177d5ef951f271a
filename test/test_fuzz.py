"""A short run of the fuzzer (fuzz.py), the same calls every time, and what it has found before."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest
from box_recipes import BoxRecipe
from cases import Options
from recipes import Recipe, parse

EXAMPLES = 12
FOUND: dict[str, Recipe | BoxRecipe] = {
    "gradient_by_a_tiny_box": Recipe(
        "prroi_pool", Options((1, 1)), boxes=((1e-9, 2.3, 3e-9, 3.9),)
    ),
    "level_of_a_box_without_size": Recipe(
        "multiscale_roi_align",
        Options((1, 1), canonical_scale=1, canonical_level=2**62),
        boxes=((0.0, 0.0, 0.0, 0.0),),
    ),
    "rotated_area_beyond_the_range": BoxRecipe(
        "box_iou_rotated",
        boxes=((5.5e9, -1e36, 1.4e10, 7e36, 0.0),),
        second=((-3.7e11, 9.5e-10, 9.8e11, 6.6e-9, 0.0),),
        rotated=True,
    ),
}


def each_check(recipes: dict[str, str]) -> pytest.MarkDecorator:
    """Of operators by name."""
    pairs = [(name, check) for name, op in recipes.items() for check in fuzz.checks_of(op)]
    return pytest.mark.parametrize("name, check", pairs, ids=["-".join(p) for p in pairs])


@each_check({op: op for op in fuzz.NAMES})
def test_drawn_calls(name: str, check: str, tmp_path: Path) -> None:
    """Again: python test/fuzz.py --seconds 0 --seed 0 --examples 12 --op NAME --check CHECK"""
    fuzz.run_check(name, check, 0, EXAMPLES, tmp_path / "call.txt")


@each_check({name: recipe.op for name, recipe in FOUND.items()})
def test_what_was_found_before(name: str, check: str) -> None:
    assert parse(repr(FOUND[name])) == FOUND[name]  # as --replay reads it
    fuzz.checks_of(FOUND[name].op)[check](FOUND[name])
