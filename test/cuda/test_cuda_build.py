"""What can be said of a CUDA build without a GPU; `make cuda-build` builds what is read here."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from boxes import as_rois, hard_boxes
from build_tree import build_directory, cached
from keep_ptxas_log import SUFFIX
from ptxas import kernels

import roiops

# Pattern of a kernel's name -> bytes that it may spill. A row says why.
ALLOWED_SPILLS = {
    r"<double": 1000,  # for tests of gradients: nothing is trained in it
    r"PixelGeometry": 400,  # its axes divide 64-bit numbers, in calls that save registers
    r"IntegralGeometry": 16,
}


@pytest.fixture(scope="module")
def programs() -> Path:
    if cached("ROIOPS_BUILD_TESTS") != "ON":
        pytest.skip("the test programs are not built; `make cuda-build` builds them")
    return build_directory() / "test" / "cuda"


def schemas() -> list[str]:
    every = torch._C._jit_get_all_schemas()
    return sorted(s.name for s in every if s.name.startswith("roiops::"))


def test_every_operator_says_whether_it_has_a_cuda_kernel() -> None:
    """Without kernels an operator has one that raises, and the package must know."""
    assert schemas()
    for name in schemas():
        (cuda,) = re.findall(
            r"^CUDA: registered at (\S+):\d+", torch._C._dispatch_dump(name), re.MULTILINE
        )
        assert ("no_cuda.cpp" in cuda) == (roiops.cuda_version is None), (name, cuda)


@pytest.mark.skipif(roiops.cuda_version is not None, reason="built with CUDA kernels")
@pytest.mark.parametrize("name", ["roi_align", "roi_pool"])
def test_a_cuda_tensor_is_an_error_without_cuda_kernels(name: str) -> None:
    """There may be no CUDA tensor here: the kernel of the CUDA key is called with others."""
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    arguments = (torch.rand(1, 2, 9, 8), torch.zeros(1, 5), 1.0, 7, 7)
    message = (
        f"{name}: tensors must be on the CPU, because roiops was built without CUDA kernels "
        r"\(.+\), but got one on a CUDA device\."
    )
    with pytest.raises(NotImplementedError, match=message):
        getattr(torch.ops.roiops, name).default.redispatch(key, *arguments)


def ptxas_logs() -> list[str]:
    commands = json.loads((build_directory() / "compile_commands.json").read_text())
    objects = [Path(c["directory"], c["output"]) for c in commands if c["file"].endswith(".cu")]
    return [o.with_name(o.name + SUFFIX).read_text() for o in objects]


def test_no_kernel_spills_registers(programs: Path) -> None:
    if not cached("CMAKE_CUDA_COMPILER"):
        pytest.skip("nothing was compiled by nvcc")
    compiled = [kernel for log in ptxas_logs() for kernel in kernels(log)]
    assert any("fingerprint_kernel" in kernel.name for kernel in compiled)
    assert (roiops.cuda_version is not None) == any("roiops::cuda" in k.name for k in compiled)
    spilling = [
        kernel
        for kernel in compiled
        if kernel.spilled
        > max((b for name, b in ALLOWED_SPILLS.items() if re.search(name, kernel.name)), default=0)
    ]
    assert spilling == []


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """image, x1, y1, x2, y2, angle: named hard boxes, and random ones of every size."""
    generator = torch.Generator().manual_seed(20240229)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    size = torch.logspace(-1, 3, 3000, dtype=torch.float64)[:, None]
    rois = torch.cat([as_rois(hard_boxes(11, 13)), random(3000, 5) * size])
    file = tmp_path_factory.mktemp("core_bits") / "boxes.bin"
    file.write_bytes(torch.cat([rois, 3 * random(len(rois), 1)], 1).numpy().tobytes())
    return file


def fingerprints(*command: str | Path) -> list[str]:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_nvcc_computes_the_same_geometry_as_the_cxx_compiler(programs: Path, boxes: Path) -> None:
    expected = fingerprints(programs / "core_bits_cxx", boxes)
    assert len(set(expected)) > 100_000
    if not cached("CMAKE_CUDA_COMPILER"):
        pytest.skip("nothing was compiled by nvcc")
    assert fingerprints(programs / "core_bits_cuda", "host", boxes) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_the_device_computes_the_same_geometry_as_the_host(programs: Path, boxes: Path) -> None:
    """Except for what comes from sine, cosine and logarithm, which differ in the last bit."""
    device = fingerprints(programs / "core_bits_cuda", "device", boxes)
    host = fingerprints(programs / "core_bits_cuda", "host", boxes)
    assert len(device) == len(host)
    differing = [d for d, h in zip(device, host, strict=True) if d != h]
    assert [line for line in differing if not re.search(" (rotated|level) ", line)] == []
