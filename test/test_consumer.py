"""A C++ program without Python runs saved models, from the Python package and from an install."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from box_ops import BOX_OPS, CUT_FUNCTIONS
from build_tree import ROOT, build_directory

import roiops

sys.path.insert(0, str(ROOT / "examples"))

import deploy
from region_features import RegionFeatures


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved_models")
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(7))
    rois = torch.tensor(
        [[0, 8, 8, 40, 56], [0, 0, 0, 128, 96], [0, -9, 60, 30, 99.5], [0, 3, 3, 120, 9]]
    )
    model = RegionFeatures(crop_size=24).eval()
    deploy.save_reference(model, image, rois, folder)
    deploy.save_torchscript(model, folder)
    deploy.save_exported(model, image, rois[:3], folder)  # fewer boxes than the programs run on
    deploy.save_aotinductor(folder)
    return folder


@pytest.fixture(scope="module", params=["python_package", "cmake_install"])
def prefix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What find_package(roiops) is given."""
    if request.param == "python_package":
        return Path(roiops.cmake_prefix_path)
    prefix = tmp_path_factory.mktemp("cmake_install")
    deploy.run_command("cmake", "--install", build_directory(), "--prefix", prefix)
    return prefix


@pytest.fixture(scope="module")
def programs(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Release: without optimization every program calls libc10, and the linker cannot drop it.
    return deploy.build_consumer(tmp_path_factory.mktemp("programs"), "Release", str(prefix))


def names(comparisons: list[deploy.Comparison]) -> list[tuple[str, str]]:
    return [(c.path, c.quantity) for c in comparisons]


def test_reloaded_models_agree_with_eager(saved_models: Path) -> None:
    comparisons = deploy.run_in_python(saved_models)
    assert names(comparisons) == [
        ("TorchScript", "features"),
        ("TorchScript", "crops"),
        ("torch.export", "features"),
        ("torch.export", "crops"),
        ("AOTInductor", "features"),
        ("AOTInductor", "crops"),
    ]
    assert [c for c in comparisons if not c.agrees] == []


def test_cpp_program_agrees_with_eager(programs: Path, saved_models: Path) -> None:
    comparisons = deploy.run_consumer(programs, saved_models)
    assert names(comparisons) == [
        ("roiops::roi_align", "features"),
        ("roiops::roi_align", "crops"),
        ("roiops::roi_align", "d map"),
        ("roiops::roi_align", "d rois"),
        ("TorchScript", "features"),
        ("TorchScript", "crops"),
        ("AOTInductor", "features"),
        ("AOTInductor", "crops"),
    ]
    assert [c for c in comparisons if not c.agrees] == []


@pytest.mark.parametrize("error", [1e-4, float("nan")])
def test_cpp_program_notices_a_difference(
    programs: Path, saved_models: Path, tmp_path: Path, error: float
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(saved_models, folder)
    reference = torch.load(folder / deploy.REFERENCE)
    reference["crops"][0, 0, 0, 0] += error
    torch.save(reference, folder / deploy.REFERENCE)
    comparisons = deploy.run_consumer(programs, folder)
    assert {c.quantity for c in comparisons if not c.agrees} == {"crops"}


def test_cpp_program_names_a_missing_file(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"there is no file .*reference\.pt"):
        deploy.run_consumer(programs, tmp_path)


def test_the_lines_without_cmake(saved_models: Path, tmp_path: Path) -> None:
    """As they stand on the page, where its paths hold; `make demo` writes to build/demo."""
    page = (ROOT / "docs" / "cpp.md").read_text()
    (lines,) = re.findall(r"## Without CMake\n\n```sh\n(.*?)```", page, re.DOTALL)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "demo").symlink_to(saved_models)
    script = f'python() {{ "{sys.executable}" "$@"; }}\ncd "{tmp_path}"\n{lines}'
    comparisons = deploy.comparisons_of(deploy.run_command("bash", "-ec", script))
    assert len(comparisons) == 8
    assert [c for c in comparisons if not c.agrees] == []


def pooled(image: torch.Tensor, weight: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
    return roiops.roi_align(torch.conv2d(image, weight).tanh(), rois, 3, 0.5, 2, aligned=True)


def losses_of_training(steps: int) -> list[float]:
    """The loop of examples/cpp/train.cpp."""
    double = {"dtype": torch.float64}
    axis = torch.arange(12, **double) / 4
    x, y = axis[None], axis[:, None]
    image = torch.stack([(x + y).sin(), (x - 2 * y).cos()])[None]
    given = torch.tensor([1, -0.5], **double).view(1, 2, 1, 1)
    goal = pooled(image, given, torch.tensor([[0, 4, 5, 16, 19]], **double))
    weight = torch.tensor([0.2, 0.3], **double).view(1, 2, 1, 1).requires_grad_()
    box = torch.tensor([[0, 6, 4, 17, 16]], **double).requires_grad_()
    optimizer = torch.optim.SGD([{"params": weight, "lr": 1}, {"params": box, "lr": 20}])
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (pooled(image, weight, box) - goal).square().mean()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    return losses


def test_training_in_cpp_is_training_in_python(programs: Path) -> None:
    losses = [float(line) for line in deploy.run_command(programs / "train").splitlines()]
    assert len(losses) == 20 and all(b < a for a, b in pairwise(losses))
    assert losses[-1] < losses[0] / 50
    assert losses == pytest.approx(losses_of_training(20), rel=1e-9)


@pytest.fixture(scope="module")
def cpp_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cpp_tests")
    return deploy.build_consumer(folder, "Debug", source=ROOT / "test" / "cpp")


def test_every_function_of_the_header_is_its_operator(cpp_tests: Path) -> None:
    lines = deploy.run_command(cpp_tests / "functions").splitlines()
    assert {line.removeprefix("same ") for line in lines} == public_operators() | set(CUT_FUNCTIONS)


def public_operators() -> set[str]:
    operators = [s.name for s in torch._C._jit_get_all_schemas() if s.name.startswith("roiops::")]
    return {name.removeprefix("roiops::") for name in operators if "::_" not in name}


def test_cpp_patches_torchvision(cpp_tests: Path) -> None:
    pytest.importorskip("torchvision", reason="patches it")
    assert ctypes.CDLL(cpp_tests / "libpatched.so").roiops_test_patched() == 0b1111


@pytest.mark.parametrize("frozen", [False, True], ids=("as_saved", "frozen"))
def test_cpp_program_runs_the_checked_in_torchscript(
    cpp_tests: Path, tmp_path: Path, frozen: bool
) -> None:
    file = ROOT / "test" / "fixtures" / "torchscript.pt"
    if frozen:
        kept = ["run_traced", "x", "boxes", "expected"]
        model = torch.jit.freeze(torch.jit.load(file).eval(), kept)
        file = tmp_path / "frozen.pt"
        model.save(file)
    lines = deploy.run_command(cpp_tests / "saved_model", file).splitlines()
    results = [line.split() for line in lines]
    pooling = public_operators() - set(BOX_OPS)  # the file is never written again
    both = {(model, op) for model in ("scripted", "traced") for op in pooling}
    assert {(model, op) for model, op, _ in results} == both
    assert [r for r in results if not float(r[2]) <= 1e-5] == []


def test_cpp_of_the_pages_compiles(tmp_path: Path) -> None:
    code = "#include <ATen/ATen.h>\nextern at::Tensor features, boxes;\n"
    for page in ("README.md", "docs/cpp.md", "docs/torchvision.md"):
        blocks = re.findall(r"```cpp\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
        assert blocks, page
        code += "\n".join(blocks)
    (tmp_path / "pages.cpp").write_text(code)
    torch_include = Path(torch.__path__[0]) / "include"
    folders = [Path(roiops.cmake_prefix_path) / "include", torch_include,
               torch_include / "torch" / "csrc" / "api" / "include"]  # fmt: skip
    options = ["-std=c++20", "-fsyntax-only", *(f"-I{folder}" for folder in folders)]
    deploy.run_command(os.environ.get("CXX", "g++"), *options, tmp_path / "pages.cpp")


def test_linking_alone_registers_the_operators(programs: Path) -> None:
    assert deploy.run_command(programs / "link_only") == "roiops::roi_align is registered\n"


@pytest.mark.parametrize("program", ["consumer", "link_only"])
def test_program_loads_roiops_from_the_prefix_and_no_python(
    programs: Path, prefix: Path, program: str
) -> None:
    libraries = deploy.run_command("ldd", programs / program)
    assert str(prefix / "lib" / "libroiops.so") in libraries
    assert "not found" not in libraries
    assert "python" not in "".join(line.split("=>")[0] for line in libraries.splitlines())


def test_library_has_no_python_symbol(prefix: Path) -> None:
    undefined = deploy.run_command(
        "nm", "-D", "--undefined-only", "--format=just-symbols", prefix / "lib" / "libroiops.so"
    ).split()
    assert len(undefined) > 10
    assert [symbol for symbol in undefined if symbol.lstrip("_").startswith("Py")] == []


def test_config_refuses_another_torch(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "TorchConfig.cmake").write_text(
        'set(Torch_FOUND TRUE)\nset(Torch_VERSION "1.13.0")'
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\n"
        "project(refused LANGUAGES NONE)\n"
        "find_package(roiops REQUIRED)\n"
    )
    command = ["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DTorch_DIR={tmp_path}"]
    done = subprocess.run(
        [*command, f"-DCMAKE_PREFIX_PATH={prefix}"],
        env=deploy.tool_environment(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    message = " ".join(done.stderr.split())  # CMake breaks lines
    assert f"roiops was built against torch {torch.__version__.split('+')[0]}" in message
    assert "but found 1.13.0" in message
