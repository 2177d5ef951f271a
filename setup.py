"""Drives CMake, which builds libroiops.so and installs it with its headers into the package."""

import shutil
from pathlib import Path
from subprocess import check_call

import torch
from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
TORCH_MINOR = ".".join(torch.__version__.split(".")[:2])


def cmake_arguments() -> list[str]:
    arguments = ["-DCMAKE_BUILD_TYPE=Release"]
    if shutil.which("ninja"):
        arguments += ["-G", "Ninja"]
    if torch.version.cuda:  # see cmake/torch.cmake
        return [*arguments, f"-DROIOPS_TORCH_ROOT={Path(torch.__file__).parent}"]
    return [*arguments, f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"]


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        package = ROOT if self.editable_mode else Path(self.build_lib).resolve()
        # One directory per torch, kept between builds: only what changed is compiled again.
        build = ROOT / "build" / f"torch-{torch.__version__}"
        check_call(["cmake", "-S", ROOT, "-B", build, *cmake_arguments()])
        check_call(["cmake", "--build", build, "--parallel"])
        check_call(["cmake", "--install", build, "--prefix", package / "roiops"])


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
