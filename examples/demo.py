"""RoIs on a photograph: features and crops, a figure, and the same model run by C++.

Usage: python examples/demo.py [--output FOLDER]
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import deploy
import numpy as np
import torch
from figure import draw
from PIL import Image
from region_features import RegionFeatures
from torch import Tensor

PICTURE = Path(__file__).parent / "images" / "astronaut.jpg"
BOXES = {  # x1, y1, x2, y2 in picture pixels
    "face": (150, 12, 304, 192),
    "shuttle": (352, 0, 460, 290),
    "patch": (130, 344, 210, 426),
    "flag": (0, 0, 96, 300),
}
COLUMNS = ("features", "crops", "d map", "d rois")


def load_picture() -> Tensor:
    pixels = np.asarray(Image.open(PICTURE).convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def load_rois() -> Tensor:
    """[K, 5]: all boxes lie in image 0."""
    return torch.tensor([(0, *box) for box in BOXES.values()], dtype=torch.float32)


@contextmanager
def step(what: str) -> Iterator[None]:
    print(f"  {what:<48}", end="", flush=True)
    start = time.perf_counter()
    yield
    print(f"{time.perf_counter() - start:6.1f} s", flush=True)


def deploy_and_compare(
    model: RegionFeatures, image: Tensor, rois: Tensor, folder: Path
) -> list[deploy.Comparison]:
    with step("eager results and gradients"):
        deploy.save_reference(model, image, rois, folder)
    with step("TorchScript"):
        deploy.save_torchscript(model, folder)
    with step("torch.export, any number of boxes"):
        deploy.save_exported(model, image, rois[:3], folder)
    with step("AOTInductor (compiles C++)"):
        deploy.save_aotinductor(folder)
    with step("reload and run in Python"):
        comparisons = deploy.run_in_python(folder)
    with step("build the C++ program with CMake"):
        programs = deploy.build_consumer(folder / "consumer")
    with step("run it"):
        comparisons += deploy.run_consumer(programs, folder)
        deploy.run_command(programs / "link_only")
    return comparisons


def table(comparisons: list[deploy.Comparison]) -> str:
    """One line per way of running the model, one column per quantity."""
    rows: dict[tuple[str, str], dict[str, deploy.Comparison]] = {}
    for c in comparisons:
        rows.setdefault((c.runner, c.path), {})[c.quantity] = c
    lines = [f"{'run by':<8}{'path':<20}" + "".join(f"{c:>10}" for c in COLUMNS) + "   ok"]
    lines.append(f"{'Python':<8}{'eager':<20}" + f"{'reference':>10}" * len(COLUMNS))
    for (runner, path), cells in rows.items():
        values = (f"{cells[c].difference:.2g}" if c in cells else "-" for c in COLUMNS)
        ok = "yes" if all(c.agrees for c in cells.values()) else "NO"
        lines.append(f"{runner:<8}{path:<20}" + "".join(f"{v:>10}" for v in values) + f"   {ok}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("build/demo"))
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)

    image, rois, model = load_picture(), load_rois(), RegionFeatures().eval()
    with step(f"figure: {folder / 'demo.png'}"):
        draw(model, image, rois, list(BOXES), folder / "demo.png")
    comparisons = deploy_and_compare(model, image, rois, folder)

    print(f"\n{table(comparisons)}")
    print("\nd map, d rois: gradients by the feature map and by the boxes.")
    print(
        "Numbers: largest difference from eager / largest eager value; "
        f"at most {deploy.BOUND:.1e} (16 float32 roundings)."
    )
    return 0 if all(c.agrees for c in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
