"""Devices, seeds and thread counts.

ROIOPS_REQUIRE_CUDA=1 makes a run fail that cannot test the CUDA kernels; otherwise the header
says whether it does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
import torch

import roiops


def missing_for_cuda() -> str | None:
    """Why CUDA is not tested, or None if it is."""
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if roiops.cuda_version is None:
        return "roiops was built without CUDA kernels"
    return None


def pytest_report_header(config: pytest.Config) -> str:
    reason = missing_for_cuda()
    cuda = f"CUDA IS NOT TESTED ({reason})" if reason else f"cuda {torch.cuda.get_device_name()}"
    return f"roiops {roiops.__version__}, torch {torch.__version__}, devices: cpu; {cuda}"


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are shared; tests of threads set their own
        torch.set_num_threads(1)
    site = os.environ.get("ROIOPS_SITE")  # set by sanitizers/run.py
    if site and not roiops.library_path.startswith(site):
        raise pytest.UsageError(f"ROIOPS_SITE={site}, but the library is {roiops.library_path}")
    reason = missing_for_cuda()
    if reason and os.environ.get("ROIOPS_REQUIRE_CUDA") == "1":
        raise pytest.UsageError(f"ROIOPS_REQUIRE_CUDA=1, but {reason}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", ["cpu"] if missing_for_cuda() else ["cpu", "cuda"])


@pytest.fixture(scope="session", autouse=True)
def inductor_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The user's may hold graphs that call the operators of another build."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path_factory.mktemp("inductor"))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20240229)


@pytest.fixture
def at_each_thread_count() -> Iterator[Callable[[Callable[[], object]], list[object]]]:
    """Runs a function with 1, 2, 3 and 8 threads and returns the four results."""
    before = torch.get_num_threads()

    def run(function: Callable[[], object]) -> list[object]:
        results = []
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            results.append(function())
        return results

    yield run
    torch.set_num_threads(before)
