"""Drives CMake, which builds libroiops.so and installs it with its headers into the package.

Environment: CMAKE_ARGS adds arguments to CMake, such as -DROIOPS_WITH_CUDA=ON, which makes an error
of whatever keeps the CUDA kernels from being built. TORCH_CUDA_ARCH_LIST names the GPUs to build
for, as for torch's own extensions; without it they are those of this machine, or all. MAX_JOBS limits
the compilers that run at once.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path
from subprocess import CalledProcessError, check_call

import torch
from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError as error:
    raise SystemExit(
        "roiops: building needs setuptools 77 or newer: pip install 'setuptools>=77,<82'"
    ) from error

ROOT = Path(__file__).resolve().parent
TORCH_MINOR = ".".join(torch.__version__.split(".")[:2])


def find_tool(name: str) -> str | None:
    """What pip installed beside this Python, else what is on PATH."""
    return shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)


def cmake_arguments(build: Path) -> list[str]:
    """What a build directory must not remember from an earlier configuration is said every time."""
    arguments = [
        "-DCMAKE_BUILD_TYPE=Release",
        "-DROIOPS_WERROR=OFF",
        "-DROIOPS_BUILD_TESTS=OFF",
        "-DROIOPS_WITH_CUDA=AUTO",
        f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}",
        *shlex.split(os.environ.get("CMAKE_ARGS", "")),
    ]
    cache = build / "CMakeCache.txt"
    ninja = find_tool("ninja")
    if not cache.exists() and ninja:
        arguments += ["-G", "Ninja"]
    if ninja and (not cache.exists() or "CMAKE_GENERATOR:INTERNAL=Ninja" in cache.read_text()):
        arguments += [f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    return arguments


def call_cmake(*arguments: str | Path) -> None:
    cmake = find_tool("cmake")
    if cmake is None:
        raise SystemExit("roiops: building needs CMake 3.18 or newer: pip install 'cmake>=3.28'")
    try:
        check_call([cmake, *arguments])
    except CalledProcessError as error:
        # Not an exception: setuptools goes on after one in an editable install, with the old library.
        raise SystemExit(f"roiops: {cmake} failed, see above") from error


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        package = ROOT if self.editable_mode else Path(self.build_lib).resolve()
        # One directory per torch, kept between builds: only what changed is compiled again.
        build = ROOT / "build" / f"torch-{torch.__version__}"
        jobs = os.environ.get("MAX_JOBS") or str(os.cpu_count() or 1)
        call_cmake("-S", ROOT, "-B", build, *cmake_arguments(build))
        call_cmake("--build", build, "--parallel", jobs)
        call_cmake("--install", build, "--prefix", package / "roiops")


class Wheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        # No Python symbol in the library: any Python of this platform can load it.
        return "py3", "none", super().get_tag()[2]


class BinaryDistribution(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(
    version=(ROOT / "version.txt").read_text().strip(),
    packages=["roiops"],
    package_data={"roiops": ["py.typed"]},
    # The C++ ABI of torch changes between minor versions.
    install_requires=[f"torch=={TORCH_MINOR}.*"],
    cmdclass={"build_py": BuildPy, "bdist_wheel": Wheel},
    distclass=BinaryDistribution,
)
