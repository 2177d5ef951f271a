"""Reads what `nvcc -Xptxas -v` prints: the registers and the spills of each kernel."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

COMPILING = re.compile(r"ptxas info +: Compiling entry function '(\S+)' for '(\S+)'")
PROPERTIES = re.compile(r"ptxas info +: Function properties for (\S+)")
SPILLS = re.compile(r" +\d+ bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"ptxas info +: Used (\d+) registers")


class Kernel(NamedTuple):
    name: str
    architecture: str  # "sm_90"
    registers: int
    spilled: int  # bytes stored and loaded


def demangled(name: str) -> str:
    command = ["c++filt", name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def kernels(log: str) -> Iterator[Kernel]:
    """The kernels of a log, in its order; functions that a kernel calls are not listed."""
    entry = architecture = function = ""
    spilled = 0
    for line in log.splitlines():
        if found := COMPILING.match(line):
            entry, architecture = found.groups()
        elif found := PROPERTIES.match(line):
            function = found[1]
        elif (found := SPILLS.match(line)) and function == entry:
            spilled = int(found[1]) + int(found[2])
        elif found := USED.match(line):
            yield Kernel(demangled(entry), architecture, int(found[1]), spilled)
