"""The ways out of Python: TorchScript, torch.export, AOTInductor, and a C++ program.

Every way is compared to eager. A difference is the largest one in units of the largest eager
value; two summation orders of the same float32 products stay below BOUND.
"""

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import roiops

BOUND = 16 * torch.finfo(torch.float32).eps

# The names that examples/cpp/main.cpp reads.
TORCHSCRIPT = "torchscript.pt"
EXPORTED = "exported.pt2"
AOTINDUCTOR = "aotinductor.pt2"
REFERENCE = "reference.pt"

CONSUMER_SOURCE = Path(__file__).parent / "cpp"


class Comparison(NamedTuple):
    runner: str  # "Python" or "C++"
    path: str
    quantity: str  # "features", "crops", "d map", "d rois"
    difference: float

    @property
    def agrees(self) -> bool:
        return self.difference <= BOUND


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's warnings about TorchScript's future and about its own internals."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated")
        yield


# Saving


def save_reference(model: nn.Module, image: Tensor, rois: Tensor, folder: Path) -> None:
    """Inputs, eager results and gradients, as one dictionary that C++ reads as well."""
    features, crops = model(image, rois)
    feature_map = model.backbone(image).requires_grad_()
    boxes = rois.clone().requires_grad_()
    d_map, d_rois = torch.autograd.grad(
        model.pool(feature_map, boxes).square().sum(), (feature_map, boxes)
    )
    reference = {
        "image": image,
        "rois": rois,
        "map": feature_map.detach(),
        "features": features,
        "crops": crops,
        "d map": d_map,
        "d rois": d_rois,
        "bound": torch.tensor(BOUND, dtype=torch.float64),
    }
    torch.save(reference, folder / REFERENCE)


def save_torchscript(model: nn.Module, folder: Path) -> None:
    with quiet():
        torch.jit.script(model).save(folder / TORCHSCRIPT)


def save_exported(model: nn.Module, image: Tensor, rois: Tensor, folder: Path) -> None:
    """Export for any number of boxes; `rois` is only an example."""
    any_number = {"image": None, "rois": {0: torch.export.Dim.DYNAMIC}}
    program = torch.export.export(model, (image, rois), dynamic_shapes=any_number)
    torch.export.save(program, folder / EXPORTED)


def save_aotinductor(folder: Path) -> None:
    """Compile the exported program; needs a C++ compiler, takes half a minute."""
    program = torch.export.load(folder / EXPORTED)
    with quiet():
        torch._inductor.aoti_compile_and_package(program, package_path=str(folder / AOTINDUCTOR))


# Running


def difference(got: Tensor, expected: Tensor) -> float:
    if got.shape != expected.shape:
        raise ValueError(f"expected shape {list(expected.shape)}, got {list(got.shape)}")
    return ((got - expected).abs().max() / expected.abs().max()).item()


def load_torchscript(folder: Path) -> Callable[..., tuple[Tensor, Tensor]]:
    with quiet():
        return torch.jit.load(folder / TORCHSCRIPT)


def run_in_python(folder: Path) -> list[Comparison]:
    """Reload what was saved, run it on the reference inputs."""
    reference = torch.load(folder / REFERENCE)
    models = {
        "TorchScript": load_torchscript(folder),
        "torch.export": torch.export.load(folder / EXPORTED).module(),
        "AOTInductor": torch._inductor.aoti_load_package(str(folder / AOTINDUCTOR)),
    }
    comparisons = []
    for path, model in models.items():
        with torch.no_grad():
            outputs = model(reference["image"], reference["rois"])
        for quantity, got in zip(("features", "crops"), outputs, strict=True):
            d = difference(got, reference[quantity])
            comparisons.append(Comparison("Python", path, quantity, d))
    return comparisons


# The C++ program


def tool_environment() -> dict[str, str]:
    """The environment, with the tools of this Python's environment (cmake, ninja) first."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run_command(*command: str | Path) -> str:
    """Standard output of a command; what it printed is part of the error if it fails."""
    words = [str(c) for c in command]
    done = subprocess.run(
        words, env=tool_environment(), check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        what = f"{' '.join(words)}\nexit status {done.returncode}"
        raise RuntimeError(f"{what}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_consumer(
    build: Path, build_type: str = "Release", roiops_prefix: str = roiops.cmake_prefix_path,
    source: Path = CONSUMER_SOURCE,
) -> Path:  # fmt: skip
    """Configure and build examples/cpp as any CMake project; returns the folder of programs."""
    ninja = shutil.which("ninja", path=tool_environment()["PATH"])
    run_command(
        *("cmake", "-S", source, "-B", build),
        *(["-G", "Ninja"] if ninja else []),
        f"-DCMAKE_BUILD_TYPE={build_type}",
        f"-DCMAKE_PREFIX_PATH={roiops_prefix};{torch.utils.cmake_prefix_path}",
    )
    run_command("cmake", "--build", build)
    return build


def comparisons_of(printed: str) -> list[Comparison]:
    lines = [line.split("\t") for line in printed.splitlines()]
    return [Comparison("C++", p, quantity, float(d)) for p, quantity, d in lines]


def run_consumer(programs: Path, folder: Path) -> list[Comparison]:
    """Run the C++ program on the saved files; what it compared, also where it found differences."""
    command = [programs / "consumer", folder]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr)
    comparisons = comparisons_of(done.stdout)
    if (done.returncode == 0) != all(c.agrees for c in comparisons):
        raise RuntimeError(f"exit status {done.returncode} does not match\n{done.stdout}")
    return comparisons
