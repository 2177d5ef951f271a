"""Builds the library for a sanitizer and runs every operator under it.

    python test/sanitizers/run.py address    # make asan: AddressSanitizer and UBSan
    python test/sanitizers/run.py thread     # make tsan: ThreadSanitizer, on several threads

Both run part of the suite, the second calls.py before it. More arguments go to pytest. The sanitizers
are those of g++, loaded before Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
TEST, ROOT = HERE.parent, HERE.parent.parent

# Hard boxes through every operator, type, layout and derivative, and wrong arguments. Left out,
# though some of it runs C++ that these do not (kernels for a patched torchvision, the C++ API, more
# than 2^31 elements): what compiles or exports programs, trains, or needs much memory or other
# packages. Processes that a test starts inherit the sanitizer.
SUITE = ("test_fuzz.py", "test_values.py", "test_layouts.py", "test_many_taps.py", "test_max.py", "test_isa.py",
         "test_gradients.py", "test_regressions.py", "test_errors.py", "test_private_errors.py",
         "test_nms.py", "test_nms_many.py", "test_soft_nms.py", "test_box_iou.py", "test_schema_calls.py",
         "test_tensor_kinds.py")  # fmt: skip
NOT_THESE = (
    "huge_boxes_take_no_time or largest_sampling or source_distribution or missing_options"
    " or instruction_set_is_shared or needs_no_newer_instructions"
)


@dataclass(frozen=True)
class Sanitizer:
    flags: str
    libraries: tuple[str, ...]  # to be loaded first
    symbol: str  # of an instrumented library
    environment: dict[str, str]
    prefix: tuple[str, ...] = ()  # of a command
    scripts: tuple[str, ...] = ()  # before the suite


# As with little memory: see schema_calls.py.
REFUSE_THE_ENORMOUS = "allocator_may_return_null=1:max_allocation_size_mb=8192"

SANITIZERS = {
    # libstdc++ too: otherwise the first C++ exception ends the process. Fresh memory is NaN, so
    # that reading what nobody has written shows in results. Leaks are not looked for: Python and
    # torch keep memory until the process ends; test_costs.py counts what calls leave behind.
    "address": Sanitizer(
        "address,undefined,float-cast-overflow",
        ("libasan.so", "libubsan.so", "libstdc++.so.6"),
        "__asan_init",
        {
            "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:"
            f"malloc_fill_byte=255:max_malloc_fill_size=268435456:{REFUSE_THE_ENORMOUS}",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        },
    ),
    # Its shadow memory needs addresses that are not randomised everywhere.
    "thread": Sanitizer(
        "thread",
        ("libtsan.so", "libstdc++.so.6"),
        "__tsan_init",
        {
            # The first report ends the process: nobody reads the exit status of pytest's workers.
            "TSAN_OPTIONS": f"suppressions={HERE / 'thread.supp'}:exitcode=66:halt_on_error=1:"
            f"{REFUSE_THE_ENORMOUS}",
            # PyTorch's own loops run on OpenMP's threads: see NOTE [Plain threads].
            "OMP_NUM_THREADS": "1",
        },
        prefix=("setarch", "--addr-no-randomize"),
        scripts=(str(HERE / "calls.py"),),
    ),
}


def output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def build(name: str, sanitizer: Sanitizer) -> Path:
    """The folder that holds the package."""
    folder = ROOT / "build" / name
    package = folder / "site" / "roiops"
    generator = [] if (folder / "CMakeCache.txt").exists() or not ninja() else [
        "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja()}"
    ]  # fmt: skip
    options = {
        "CMAKE_BUILD_TYPE": "RelWithDebInfo",
        "CMAKE_PREFIX_PATH": torch.utils.cmake_prefix_path,
        "ROIOPS_WITH_CUDA": "OFF",
        "ROIOPS_SANITIZE": sanitizer.flags,
        "CMAKE_DISABLE_PRECOMPILE_HEADERS": "ON",  # here a missing #include is noticed
    }
    cmake = ["cmake", "-S", ROOT, "-B", folder, *generator]
    subprocess.run([*cmake, *(f"-D{k}={v}" for k, v in options.items())], check=True)
    jobs = os.environ.get("MAX_JOBS") or str(os.cpu_count() or 1)
    subprocess.run(["cmake", "--build", folder, "--parallel", jobs], check=True)
    subprocess.run(["cmake", "--install", folder, "--prefix", package], check=True)
    for file in (ROOT / "roiops").glob("*.py"):
        shutil.copy(file, package)
    symbols = output_of("nm", "-D", str(package / "lib" / "libroiops.so"))
    assert sanitizer.symbol in symbols, f"the library has no {sanitizer.symbol}"
    return package.parent


def ninja() -> str | None:
    return shutil.which("ninja", path=Path(sys.executable).parent) or shutil.which("ninja")


def main(name: str, *arguments: str) -> int:
    sanitizer = SANITIZERS[name]
    site = build(name, sanitizer)
    libraries = [output_of("g++", f"-print-file-name={lib}") for lib in sanitizer.libraries]
    # pytest's workers have no stderr.
    for report in site.parent.glob("report.*"):
        report.unlink()
    options = {
        name: f"{value}:log_path={site.parent / 'report'}"
        for name, value in sanitizer.environment.items()
        if name.endswith("_OPTIONS")
    }
    environment = os.environ | sanitizer.environment | options | {
        "LD_PRELOAD": " ".join(libraries),
        "PYTHONPATH": str(site),
        "ROIOPS_SITE": str(site),
    }  # fmt: skip
    suite = ("-m", "pytest", "-q", "-n", "auto", *SUITE, "-k", f"not ({NOT_THESE})", *arguments)
    for command in (*((script,) for script in sanitizer.scripts), suite):
        whole = [*sanitizer.prefix, sys.executable, *command]
        failed = subprocess.run(whole, cwd=TEST, env=environment, check=False).returncode
        for report in site.parent.glob("report.*"):
            print(report.read_text())
            report.unlink()
        if failed:
            return failed
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
