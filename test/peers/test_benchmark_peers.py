"""benchmark/peers.py on tiny maps: every library that is installed agrees, and is timed."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("torchvision", reason="the benchmark times torchvision too")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmark"))

import peers


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("peer", ["onnxruntime", "openvino"])
def test_peers_agree_and_have_a_column(peer, capsys, tmp_path) -> None:
    library = pytest.importorskip(peer, reason="compares with it")
    assert peer in peers.installed()
    peers.main(["--shrink", "--seconds", "0", "--threads", "1", "--results", str(tmp_path)])
    written = json.loads((tmp_path / "peers.json").read_text())
    assert written[peer] == library.__version__
    for row in written["rows"]:
        low, median, high = row[peer]
        assert 0 < low <= median <= high
    header, _, *lines = capsys.readouterr().out.splitlines()
    assert f"{peer} ms" in header
    assert [line.split()[0] for line in lines] == peers.NAMES
    assert all(math.isfinite(float(line.split()[-1])) for line in lines)
