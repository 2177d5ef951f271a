"""Two result files side by side, say before and after a change.

python benchmark/compare.py before.json after.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report import KEY, Row, geometric_mean, load, number, spread, table
from workloads import PASSES

CONDITIONS = ("device_name", "torch", "torchvision", "shrunk", "hostile")


def pairs_of(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[Row, Row]]:
    """The rows that both have, in the order of the first."""
    by_key = {tuple(row[k] for k in KEY): row for row in second["rows"]}
    keys = [(tuple(row[k] for k in KEY), row) for row in first["rows"]]
    return [(row, by_key[key]) for key, row in keys if key in by_key]


def gain(pair: tuple[Row, Row], library: str) -> float | None:
    """The first median over the second: above 1 the second is faster."""
    first, second = (row[library] for row in pair)
    return first[1] / second[1] if first and second else None


def pairs_table(pairs: Sequence[tuple[Row, Row]]) -> str:
    header = (*KEY, "first ms", "second ms", "gain", "torchvision's")
    return table(header, [
        (*(str(pair[0][k] or "-") for k in KEY), *(spread(row["roiops"]) for row in pair),
         number(gain(pair, "roiops")), number(gain(pair, "torchvision")))
        for pair in pairs
    ])  # fmt: skip


def summary(pairs: Sequence[tuple[Row, Row]]) -> str:
    lines = []
    for name in PASSES:
        of_pass = [pair for pair in pairs if pair[0]["pass"] == name]
        if not of_pass:
            continue
        ours = geometric_mean(g for p in of_pass if (g := gain(p, "roiops")))
        line = f"{name}: the second is {ours:.3f} times as fast (geometric mean of {len(of_pass)})"
        theirs = [g for p in of_pass if (g := gain(p, "torchvision"))]
        if theirs:
            line += f"; torchvision, which is the same code: {geometric_mean(theirs):.3f}"
        lines.append(line)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    options = parser.parse_args(arguments)
    first, second = load(options.first), load(options.second)
    pairs = pairs_of(first, second)
    if not pairs:
        parser.error("`second` must share rows with `first`, but got none in common.")
    print(pairs_table(pairs))
    comparable = True
    for name in CONDITIONS:
        values = [results.get(name, False) for results in (first, second)]  # older: no `hostile`
        if values[0] != values[1]:
            print(f"not the same {name}: {values[0]}, {values[1]}")
            comparable &= name not in ("shrunk", "hostile")  # other work
    if comparable:
        print(summary(pairs))


if __name__ == "__main__":
    main()
