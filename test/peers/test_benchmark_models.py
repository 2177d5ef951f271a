"""benchmark/models.py on tiny images: every row runs, and wrong kernels are not timed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("torchvision", reason="the benchmark times its models")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmark"))

import models
import report


def test_models_are_timed_patched_and_unpatched(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    options = ["--shrink", "--seconds", "0", "--threads", "1", "--images", "1"]
    models.main([*options, "--only", "fasterrcnn", "--results", str(tmp_path), "--name", "tiny"])
    rows = report.load(tmp_path / "tiny-models.json")["rows"]
    names = [(row["workload"], row["pass"]) for row in rows]
    assert names == [(f"fasterrcnn.{p}", n) for n in models.PASSES for p in ("model", "roi")]
    for row in rows:
        assert row["ratio"] == row["torchvision"][1] / row["roiops"][1] > 0


def test_the_calls_of_a_row_are_patched_in_turn() -> None:
    def is_patched() -> bool:
        return "csrc/torch/torchvision.cpp" in torch._C._dispatch_dump("torchvision::roi_align")

    seen: list[bool] = []
    models.measure(lambda: seen.append(is_patched()), lambda call: (call(), 1.0)[1], 0.0)
    assert seen == [False, False, True, True] * 3
    assert not is_patched()


def test_a_model_with_wrong_kernels_is_not_timed() -> None:
    calls = iter((torch.zeros(3), torch.full((3,), 0.1)))
    with pytest.raises(AssertionError, match="fasterrcnn eval: Tensor-likes are not close"):
        models.verify("fasterrcnn eval", lambda: (next(calls),))
