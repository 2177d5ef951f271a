"""The detector of examples/detector in ONNX Runtime, which knows nothing of roiops.

Rotated boxes have no NonMaxSuppression in ONNX: test_onnx_boxes.py has the refusal.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from few_pictures import Few

pytest.importorskip("onnxscript", reason="exports to ONNX")
pytest.importorskip("onnxruntime", reason="runs exported models")

import export
from data import Shapes, backgrounds
from model import Detector
from train import train


@pytest.mark.parametrize("mode", ["align", "psroi"])
def test_onnx_runtime_finds_the_same_objects(mode: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    photographs = backgrounds(None, held_out=False)
    model = Detector(mode)
    train(model, Few(rotated=False, count=4), 40, 4, 2e-3, shown=False)
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter
        export.save_onnx(model, tmp_path / "model.onnx")
    run = export.run_onnx(tmp_path / "model.onnx")
    count = 0
    for n, size in enumerate(((128, 128), (200, 144), (97, 131))):
        shapes = Shapes(photographs, 0, False, size)
        images = torch.stack([shapes[i].image for i in range(n + 1)])
        with torch.no_grad():
            expected = model(images)
        objects, boxes, scores, masks = export.differences(run(images), expected)
        assert boxes < 0.01 and scores < 1e-3 and masks < 1e-2
        count += objects
    assert count > 0
