"""A short run of the fuzzer (fuzz.py), the same calls every time, and what it has found before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fuzz
import pytest
import torch
from box_recipes import FUNCTIONS, OVERLAPS, SOFT, BoxCase, BoxRecipe
from cases import Case, Options
from hypothesis import Phase
from op_table import OPS, Op
from recipes import BY_NAME, Recipe, parse
from torch import Tensor

EXAMPLES = 32
FOUND: dict[str, Recipe | BoxRecipe] = {
    "gradient_by_a_tiny_box": Recipe(
        "prroi_pool", Options((1, 1)), boxes=((1e-9, 2.3, 3e-9, 3.9),)
    ),
    "level_of_a_box_without_size": Recipe(
        "multiscale_roi_align",
        Options((1, 1), canonical_scale=1, canonical_level=2**62),
        boxes=((0.0, 0.0, 0.0, 0.0),),
    ),
    "edge_just_below_a_half": Recipe(
        "roi_pool",
        Options((1, 1), 2.993879985439878),
        dtype="float64",
        boxes_dtype="float64",
        boxes=(
            (0.16700736249670914, -0.16700736249670914, 0.5010220874901274, 0.16700736249670914),
        ),
    ),
    "more_samples_than_an_integer_counts": Recipe(  # seen by `make asan`
        "roi_align_rotated", Options((1, 1)), boxes=((4.0, 4.0, 1e30, 1.0, 0.0),)
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
    """Again: python test/fuzz.py --seconds 0 --seed 0 --examples 32 --op NAME --check CHECK"""
    compared = fuzz.run_check(name, check, 0, EXAMPLES, tmp_path / "call.txt")
    assert name not in BY_NAME or compared >= EXAMPLES // 3, "nothing to compare"


@each_check({name: recipe.op for name, recipe in FOUND.items()})
def test_what_was_found_before(name: str, check: str) -> None:
    assert parse(repr(FOUND[name])) == FOUND[name]  # as --replay reads it
    fuzz.checks_of(FOUND[name].op)[check](FOUND[name])


Change = Callable[[Tensor], Tensor]  # of a result, as an error of a kernel would


def last_channel(out: Tensor) -> Tensor:
    return torch.cat([out[:, :-1], out[:, -1:] * 1.1], 1)


def spread(out: Tensor) -> Tensor:
    """NaN and inf to every bin."""
    return out if out.isfinite().all() else out * torch.nan


# By check, and the method of Case that is wrong.
WRONG: dict[str, tuple[str, str, Change]] = {
    "values_times_1.1": ("values", "__call__", lambda out: out * 1.1),
    "values_of_zero": ("values", "__call__", torch.zeros_like),
    "one_channel": ("values", "__call__", last_channel),
    "specials_of_zero": ("special_pixels", "__call__", torch.zeros_like),
    "nan_lost": ("special_pixels", "__call__", lambda out: out.where(~out.isnan(), 0)),
    "inf_lost": ("special_pixels", "__call__", lambda out: out.where(~out.isinf(), 0)),
    "nan_everywhere": ("special_pixels", "__call__", spread),
    "gradients_times_1.1": ("gradients", "input_gradients", lambda grad: grad * 1.1),
    "one_channel_of_gradients": ("gradients", "input_gradients", last_channel),
    "no_gradients": ("gradients", "input_gradients", torch.zeros_like),
    "box_gradients_times_1.1": ("gradients", "box_gradients", lambda grad: grad * 1.1),
    "no_box_gradients": ("gradients", "box_gradients", torch.zeros_like),
    "no_transpose": ("transposes", "input_gradients", lambda grad: grad * 1.001),
    "no_transpose_of_boxes": ("transposes", "box_gradients", lambda grad: grad * 1.001),
    "company": ("bits", "__call__", lambda out: torch.cat([out[:1], out[1:] * 1.01])),
    "threads": ("bits", "__call__", lambda out: out * (1 + 0.01 * torch.get_num_threads())),
}


def is_noticed(name: str, check: str, tmp_path: Path) -> bool:
    try:
        fuzz.run_check(name, check, 0, EXAMPLES, tmp_path / "call.txt", [Phase.generate])
    except AssertionError:
        return True
    return False


def changed(results: Any, change: Change) -> Any:
    several = isinstance(results, (list, tuple))
    return [change(t) for t in results] if several else change(results)


ERRORS = [
    pytest.param(op, *WRONG[wrong], id=f"{op}-{wrong}")
    for op in OPS
    for wrong in WRONG
    if not (op.constant_in_boxes and WRONG[wrong][1] == "box_gradients")
]


@pytest.mark.parametrize("op, check, method, change", ERRORS)
def test_an_error_of_every_operator_is_noticed(
    op: Op, check, method, change, tmp_path, monkeypatch
) -> None:
    right = getattr(Case, method)
    monkeypatch.setattr(Case, method, lambda case, *rest: changed(right(case, *rest), change))
    assert is_noticed(op.name, check, tmp_path)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_error_on_boxes_alone_is_noticed(name, tmp_path, monkeypatch) -> None:
    """Overlaps and lowered scores are 1 % less; of others the order is wrong."""
    right = BoxCase.__call__

    def spoiled(case: BoxCase) -> tuple[Tensor, ...]:
        first, *rest = right(case)
        if name in OVERLAPS:
            return (first * 0.99,)
        if name in SOFT:
            return (first, rest[0] * 0.99, *rest[1:])
        return (first.roll(1, -1), *rest)

    monkeypatch.setattr(BoxCase, "__call__", spoiled)
    assert is_noticed(name, "values", tmp_path)


def test_every_operator_and_check_has_calls_of_its_own(tmp_path, monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setitem(fuzz.CHECKS, "values", lambda recipe: seen.append(repr(recipe.seed)))
    drawn = set()
    for op in OPS:
        seen.clear()
        fuzz.run_check(op.name, "values", 0, 5, tmp_path / "call.txt")
        drawn.add(tuple(seen))
    assert len(drawn) == len(OPS)


REPLAY = repr(BoxRecipe("nms", boxes=((0.0, 0.0, 1.0, 1.0),)))


@pytest.mark.parametrize("replay", [False, True])
def test_a_check_that_the_operator_has_not_is_an_error(replay, tmp_path, capsys) -> None:
    (tmp_path / "call.txt").write_text(REPLAY)
    what = ["--replay", str(tmp_path / "call.txt")] if replay else ["--op", "nms"]
    with pytest.raises(SystemExit) as error:
        fuzz.main([*what, "--check", "gradients"])
    assert error.value.code == 2
    of = "the call" if replay else "nms"
    assert f"{of} has none of the checks gradients" in capsys.readouterr().err


def test_a_failure_before_any_call_names_none(tmp_path, monkeypatch, capsys) -> None:
    log = tmp_path / "folder" / "call.txt"
    log.parent.mkdir()
    log.write_text(REPLAY)  # of a run before
    monkeypatch.setattr(fuzz, "FOLDER", tmp_path)
    monkeypatch.setattr(fuzz.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=3))
    assert fuzz.main(["--seed", "1", "--log", str(log)]) == 3
    out = capsys.readouterr().out
    assert "failed (exit status 3) before any call" in out and "BoxRecipe" not in out
    assert not (tmp_path / "failure.txt").exists()
