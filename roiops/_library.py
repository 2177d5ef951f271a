"""Finds and loads the library that holds the operators."""

from pathlib import Path

import torch

_PACKAGE = Path(__file__).resolve().parent
_INSTALL_AGAIN = (
    "Install roiops again with `pip install --no-build-isolation --force-reinstall --no-deps .`"
)

#: For ``find_package(roiops)``: ``cmake -DCMAKE_PREFIX_PATH=<this>``.
cmake_prefix_path = str(_PACKAGE)
#: The shared library, for programs that load it themselves.
library_path = str(_PACKAGE / "lib" / "libroiops.so")


#: The CUDA toolkit that compiled the kernels, or None in a library without CUDA kernels.
cuda_version: str | None


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _check_cuda(built_with: str) -> None:
    """The loader's words for a library that is not there would help nobody."""
    has = torch.version.cuda
    if not built_with or (has and has.split(".")[0] == built_with.split(".")[0]):
        return
    raise ImportError(
        f"roiops was built with kernels for CUDA {built_with}, but torch {torch.__version__} "
        f"{f'is a build for CUDA {has}' if has else 'is a build without CUDA'}. Install the torch "
        f"that roiops was built with. Or: {_INSTALL_AGAIN}"
    )


def _load() -> str | None:
    folder = Path(library_path).parent
    built_for = folder / "torch_version.txt"
    if not built_for.exists() and (_PACKAGE.parent / "setup.py").exists():
        raise ImportError(
            f"roiops: Python found the source folder {_PACKAGE}, which holds no library, and not "
            "an installed package. Run Python in another folder, or install with "
            "`pip install --no-build-isolation --editable .`"
        )
    if not built_for.exists():
        raise ImportError(f"roiops: {library_path} is missing. {_INSTALL_AGAIN}")
    version = built_for.read_text().strip()
    # Asked first: the loader may well find every symbol in another torch, whose classes differ.
    if _minor(version) != _minor(torch.__version__):
        raise ImportError(
            f"roiops was built for torch {version}, but torch {torch.__version__} is installed, "
            f"and their C++ interfaces differ. {_INSTALL_AGAIN}"
        )
    built_with = (folder / "cuda_version.txt").read_text().strip()
    _check_cuda(built_with)
    try:
        torch.ops.load_library(library_path)
    except OSError as error:
        raise ImportError(
            f"roiops: torch {torch.__version__} cannot load {library_path} ({error}). "
            f"{_INSTALL_AGAIN}"
        ) from error
    return built_with or None


cuda_version = _load()
#: The operators' namespace; to import it is to have loaded the library.
ops = torch.ops.roiops
