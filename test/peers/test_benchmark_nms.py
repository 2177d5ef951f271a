"""benchmark/nms.py on small workloads: every one runs, and nothing wrong is timed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("torchvision", reason="the benchmark times torchvision too")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmark"))

import nms


def small(name: str) -> nms.Workload:
    return nms.WORKLOADS[name]._replace(boxes=60)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", nms.WORKLOADS)
def test_every_workload(name) -> None:
    options = nms.parse(["--seconds", "0", "--threads", "1", "2"])
    rows = nms.measure(name, small(name), options)
    assert [row["threads"] for row in rows] == [1, 2] and rows[0]["kept"] > 0
    has_peer = small(name).op in ("nms", "batched_nms", "box_iou")
    assert all((row["ratio"] is not None) == has_peer for row in rows)
    assert name in nms.shown(rows)


def test_a_wrong_result_is_not_timed(monkeypatch) -> None:
    monkeypatch.setattr(nms.roiops, "nms", lambda boxes, scores, threshold: scores.argsort())
    with pytest.raises(AssertionError, match="do not agree"):
        nms.verify("sparse-1000", small("sparse-1000"), "cpu")


def test_the_file(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(nms.WORKLOADS, "sparse-1000", small("sparse-1000"))
    nms.main(["--seconds", "0", "--only", "sparse-1000", "--results", str(tmp_path)])
    saved = json.loads((tmp_path / "nms.json").read_text())
    assert [row["workload"] for row in saved["rows"]] == ["sparse-1000"] * 2
    assert "sparse-1000" in capsys.readouterr().out
