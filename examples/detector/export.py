"""Writes a trained detector in every form that runs without this code, and compares each with it.

Usage: python examples/detector/export.py build/detector/align.pt

Beside the model: align.torchscript.pt, align.exported.pt2 (torch.export), align.package.pt2
(AOTInductor; needs a C++ compiler) and, where onnx, onnxscript and onnxruntime are installed,
align.onnx. Rotated boxes have no ONNX file.
cpp/detect.cpp runs the first and the third.
"""

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from data import Shapes, backgrounds
from model import Detector, load
from torch import Tensor

import roiops.onnx

Result = tuple[Tensor, Tensor, Tensor, Tensor]

ANY = torch.export.Dim.DYNAMIC
SIZES = {"images": {0: ANY, 2: ANY, 3: ANY}}
LEAST_SCORE = 0.3


def example() -> Tensor:
    return torch.rand(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))


def save_torchscript(model: Detector, path: Path) -> None:
    torch.jit.script(model).save(path)


def save_exported(model: Detector, path: Path) -> None:
    program = torch.export.export(model, (example(),), dynamic_shapes=SIZES)
    torch.export.save(program, path)


def save_package(exported: Path, path: Path, **configs: Any) -> None:
    """`configs` are Inductor's. Compiling takes some minutes."""
    program = torch.export.load(exported)
    torch._inductor.aoti_compile_and_package(
        program, package_path=str(path), inductor_configs=configs
    )


def save_onnx(model: Detector, path: Path) -> None:
    """For any runtime of ONNX: roiops' operators become standard ones."""
    program = torch.onnx.export(
        model, (example(),), dynamo=True, opset_version=18, dynamic_shapes=SIZES,
        custom_translation_table=roiops.onnx.translation_table(), verbose=False,
    )  # fmt: skip
    program.save(path)


def run_onnx(path: Path) -> Callable[[Tensor], Result]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: tuple(
        torch.from_numpy(array) for array in session.run(None, {"images": images.numpy()})
    )


def differences(got: Result, expected: Result) -> tuple[int, float, float, float]:
    """Of the objects with a score of LEAST_SCORE: how many there are, and the largest difference
    of boxes (pixels), of scores and of masks. Raises if others are found."""
    meant = expected[1] > LEAST_SCORE
    if not torch.equal(got[1] > LEAST_SCORE, meant):
        raise ValueError(f"other scores: {got[1].tolist()} instead of {expected[1].tolist()}")
    if not torch.equal(got[2][meant], expected[2][meant]):
        raise ValueError(f"other labels: {got[2][meant]} instead of {expected[2][meant]}")
    count = int(meant.sum())
    parts = [(got[i][meant] - expected[i][meant]).abs() for i in (0, 1, 3)]
    boxes, scores, masks = (p.max().item() if count else 0.0 for p in parts)
    return count, boxes, scores, masks


@torch.no_grad()
def compare(name: str, run: Callable[[Tensor], Result], model: Detector) -> None:
    """On held-out pictures of sizes that were not those of the example."""
    for size in ((128, 128), (200, 144)):
        shapes = Shapes(backgrounds(None, held_out=True), 3, model.mode == "rotated", size)
        images = torch.stack([shapes[i].image for i in range(3)])
        found, boxes, scores, masks = differences(run(images), model(images))
        print(f"{name:<20}{size[1]} x {size[0]}: {found} objects, largest difference of boxes "
              f"{boxes:.1e} pixels, scores {scores:.1e}, masks {masks:.1e}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="what train.py has written")
    path: Path = parser.parse_args().model
    model = load(path)

    torchscript = path.with_suffix(".torchscript.pt")
    save_torchscript(model, torchscript)
    compare("TorchScript", torch.jit.load(torchscript), model)

    exported = path.with_suffix(".exported.pt2")
    save_exported(model, exported)
    compare("torch.export", torch.export.load(exported).module(), model)

    package = path.with_suffix(".package.pt2")
    save_package(exported, package)
    compare("AOTInductor", torch._inductor.aoti_load_package(str(package)), model)

    if model.mode == "rotated":
        print("no ONNX file: NonMaxSuppression, which ONNX has, knows upright boxes only")
    elif all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        onnx = path.with_suffix(".onnx")
        save_onnx(model, onnx)
        compare("ONNX Runtime", run_onnx(onnx), model)
    else:
        print("no ONNX file: `pip install onnx onnxscript onnxruntime`")


if __name__ == "__main__":
    main()
