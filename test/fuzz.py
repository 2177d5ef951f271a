"""Property tests of every operator by drawn calls: `make fuzz`, and a short run in test_fuzz.py.

    python test/fuzz.py --seconds 300 --seed 17         # everything, again and again, until the time is up
    python test/fuzz.py --op roi_align --check values   # a part of it
    python test/fuzz.py --replay build/fuzz/failure.txt # one call

The calls follow from the seed alone. Each is written to a file before it is made, so that one that
ends or blocks the process is known too: the calls run in a child process, and the parent reports.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from box_properties import BOX_CHECKS, box_checks
from box_recipes import FUNCTIONS
from box_strategies import box_recipes
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy
from op_table import OPS
from properties import CHECKS, ENORMOUS
from recipes import BY_NAME, parse
from strategies import recipes

FOLDER = Path(__file__).resolve().parent.parent / "build" / "fuzz"
SECONDS_PER_CALL = 60  # the reference takes less than one
NAMES = (*(op.name for op in OPS), *FUNCTIONS)
Check = Callable[[Any], int | None]  # of a recipe: how many numbers tell, where that is counted


def checks_of(op: str) -> dict[str, Check]:
    return CHECKS if op in BY_NAME else box_checks(op)


def drawn(op: str, check: str) -> SearchStrategy[Any]:
    """Recipes of calls of `op` for a check."""
    return recipes(BY_NAME[op], ENORMOUS[check]) if op in BY_NAME else box_recipes(op, check)


def recorded(check: Check, log: Path) -> Check:
    """The check, of a recipe that is known whatever happens."""

    def run(recipe: Any) -> int | None:
        log.write_text(f"{recipe!r}\n")
        faulthandler.dump_traceback_later(SECONDS_PER_CALL, exit=True)
        try:
            with np.errstate(all="ignore"):  # the reference computes with inf and NaN
                return check(recipe)
        finally:
            faulthandler.cancel_dump_traceback_later()

    return run


SEARCH = (Phase.generate, Phase.shrink)


def run_check(
    op: str, check: str, number: int, examples: int, log: Path, phases: Sequence[Phase] = SEARCH
) -> int:
    """`examples` recipes, which follow from `number`, operator and check: how many numbers told.

    The smallest recipe that fails is the last one.
    """
    limits = settings(
        max_examples=examples, database=None, deadline=None, print_blob=False,
        suppress_health_check=list(HealthCheck), phases=phases, report_multiple_bugs=False,
    )  # fmt: skip
    run, compared = recorded(checks_of(op)[check], log), 0

    @seed(zlib.crc32(f"{number} {op} {check}".encode()))
    @limits
    @given(drawn(op, check))
    def call(recipe: Any) -> None:
        nonlocal compared
        compared += run(recipe) or 0

    call()
    return compared


def pairs_of(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """The chosen checks of the chosen operators, or of the one that is called again."""
    ops = [parse(arguments.replay.read_text()).op] if arguments.replay else arguments.op
    return [(op, check) for op in ops for check in checks_of(op) if check in arguments.check]


def child(arguments: argparse.Namespace) -> None:
    log = arguments.log
    if arguments.replay:
        recipe = parse(arguments.replay.read_text())
        for op, check in pairs_of(arguments):
            recorded(checks_of(op)[check], log)(recipe)
            print(f"{check}: passed")
        return
    end, calls = time.monotonic() + arguments.seconds, 0
    for number in count(arguments.seed):
        for op, check in pairs_of(arguments):  # one at least
            run_check(op, check, number, arguments.examples, log)
            calls += arguments.examples
            if time.monotonic() > end:
                print(f"fuzz: {calls} calls passed")
                return
        print(f"fuzz: seed {number} passed", flush=True)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    checks = list(CHECKS | BOX_CHECKS)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=None, help="default: a random one")
    parser.add_argument("--examples", type=int, default=100, help="per operator, check and seed")
    parser.add_argument("--op", nargs="+", choices=NAMES, default=NAMES, metavar="OP")
    parser.add_argument("--check", nargs="+", choices=checks, default=checks)
    parser.add_argument("--replay", type=Path, help="a file that holds a recipe")
    parser.add_argument("--log", type=Path, default=FOLDER / "call.txt")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if not pairs_of(arguments):
        of = "the call" if arguments.replay else ", ".join(arguments.op)
        parser.error(f"{of} has none of the checks {', '.join(arguments.check)}")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    if arguments.child:
        faulthandler.enable()
        child(arguments)
        return 0
    for folder in (FOLDER, arguments.log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    arguments.log.unlink(missing_ok=True)
    number = arguments.seed if arguments.seed is not None else random.randrange(2**31)
    if not arguments.replay:
        print(f"fuzz: --seed {number}, {arguments.seconds:g} seconds", flush=True)
    rest = sys.argv[1:] if argv is None else list(argv)
    command = [sys.executable, __file__, "--child", *rest]
    done = subprocess.run([*command, "--seed", str(number)], check=False)
    if done.returncode and not arguments.log.exists():
        print(f"fuzz: failed (exit status {done.returncode}) before any call")
    elif done.returncode:
        failure = FOLDER / "failure.txt"
        failure.write_text(arguments.log.read_text())
        print(f"fuzz: failed (exit status {done.returncode}) for\n{failure.read_text()}")
        print(f"Again: make fuzz FUZZ_ARGS='--replay {failure}'")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
