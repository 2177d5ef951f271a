"""Calls of every operator and function with wrong arguments: run by test_schema_calls.py in a
process of its own, which prints every call before it is made.

A call must return a result of the right shape, or raise a sentence of ours (``op: `argument` must
..., but got ...``) or one of PyTorch's own about schemas, backends and memory.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import re
import resource
import sys
import warnings
from collections.abc import Iterator
from math import inf, nan
from pathlib import Path
from typing import Any

import torch
from schema_targets import Target, targets

SANITIZED = "ROIOPS_SITE" in os.environ
SECONDS_PER_CALL = 300 if SANITIZED else 30
MEMORY = 12 << 30  # address space: an enormous result is refused, not swapped
PAIRS = 5  # calls with two wrong arguments, for each operator

HUGE = (2**31, 2**40, 2**62, -(2**31), -(2**63), 2**63, -1, 0)
OTHERS: tuple[Any, ...] = (None, "x", b"x", 1.5, 1j, nan, [], {}, (1, 2), object, torch.float32)


class Plain(torch.Tensor):
    """A subclass without a rule of its own."""


def tensors() -> dict[str, Any]:
    """By name, because most of them print badly."""
    one = torch.ones(1)
    shapes = [(), (0,), (3,), (3, 5), (3, 4), (0, 5), (3, 6), (2, 3, 4), (1, 2, 3, 4, 5), (2, 98, 8, 9),
              (0, 98, 8, 9), (2, 0, 8, 9), (2, 98, 0, 9), (2, 98, 8, 0), (3, 2, 7, 7), (3, 1, 7, 7),
              (2, 3), (2, 3, 5)]  # fmt: skip
    named = {f"ones{list(s)}": torch.ones(s) for s in shapes}
    for dtype in (torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64,
                  torch.float64, torch.float16, torch.float8_e5m2):  # fmt: skip
        for shape in ((3, 5), (2, 98, 8, 9), (3,)):
            named[f"{dtype}{list(shape)}"] = torch.ones(shape).to(dtype)
    for shape in ((2**16, 2**16, 1, 1), (1, 1, 2**16, 2**16), (2, 98, 2**24 + 4, 1), (1, 2**40, 1, 1),
                  (2**31, 5, 1, 1), (2**20, 4), (1, 2**31 - 1, 1, 1)):  # fmt: skip
        named[f"expanded{list(shape)}"] = one.expand(shape)
    named |= {f"meta{list(s)}": torch.ones(s, device="meta") for s in ((3, 5), (2, 98, 8, 9), (3,))}
    maps, boxes = torch.ones(2, 98, 8, 9), torch.ones(3, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        named |= {
            "sparse map": maps.to_sparse(), "sparse boxes": boxes.to_sparse(),
            "csr": boxes.to_sparse_csr(), "mkldnn": maps.to_mkldnn(),
            "nested": torch.nested.nested_tensor([torch.ones(3), torch.ones(2)]),
            "quantized": torch.quantize_per_tensor(maps, 1.0, 0, torch.qint8),
        }  # fmt: skip
    return named | {
        "nan boxes": boxes * nan, "inf boxes": boxes * inf, "negative images": -boxes,
        "boxes of image 9": boxes * 9, "strided": maps.transpose(2, 3).contiguous().transpose(2, 3),
        "negated": torch._neg_view(maps), "zeros that are none": torch._efficientzerotensor((3, 5)),
        "conjugate": torch.ones(2, 98, 8, 9, dtype=torch.complex64).conj(),
        "needs grad": maps.clone().requires_grad_(), "parameter": torch.nn.Parameter(boxes),
        "subclass": maps.as_subclass(Plain), "boxes of a subclass": boxes.as_subclass(Plain),
        "winners": torch.full((3, 2, 7, 7), -7, dtype=torch.int32),
        "large winners": torch.full((3, 2, 7, 7), 2**31 - 1, dtype=torch.int32),
    }  # fmt: skip


NAMED = tensors()
WRONG: dict[str, list[Any]] = {
    "Tensor": [*NAMED, *OTHERS, 7, [torch.ones(3, 5)]],
    "int": [*HUGE, 3, 2**28, True, *OTHERS, torch.tensor(3), [3]],
    "float": [nan, inf, -inf, 0.0, -1.0, 1e39, 1e-50, 5e-324, 1.7e308, 2**70, True, *OTHERS,
              torch.tensor(0.5)],
    "bool": [2, -1, *OTHERS, torch.tensor(True)],
    "str": ["", "roi_align", "roi_pool", "crop_and_resize", "multiscale_roi_align", "max", "nearest",
            "deform_roi_pool", "roi_align_rotated", "x" * 10000, "\0", "\ud7ff", 5, *OTHERS],
    "float[]": [[], [nan] * 8, [inf] * 8, [-inf] * 8, [1e300] * 20, [-1.0] * 7, [0.5] * 3, [1.0] * 6,
                [1.0] * 1000, [None], ["x"], 1.0, *OTHERS],
    "int[]": [[], [1], [7, 7], [-1, 3], [0, 0], [0, 0, 0, 0], [2**40] * 2, [2**62] * 4, [2**63] * 2,
              [2, 98, 8, 9], [2, 2, 0, 9], [2, 2, 2**24 + 1, 1], [1, 2, 2**16, 2**16], ["x"], [1.5, 2],
              [2**31, 2, 2, 2], 7, *OTHERS],
    "Tensor[]": [[], None, 5, "x", torch.ones(2, 2, 8, 9), [None], [torch.ones(3)], [torch.ones(2, 2, 8, 9)],
                 [torch.ones(2, 2, 8, 9)] * 17, [torch.ones(2, 2, 8, 9), 5],
                 [torch.ones(2, 2, 8, 9), torch.ones(2, 3, 8, 9), torch.ones(2, 2, 4, 4)],
                 [torch.ones(2, 2, 8, 9).half()] * 3, [torch.ones(2, 2, 0, 9)] * 3],
}  # fmt: skip


# What PyTorch says itself, before or instead of us.
THEIRS = (
    r"roiops::\w+\(\) (Expected a value of type|is missing value|expected at most)",
    r"Could not run 'roiops::\w+' with arguments from the '\w+' backend",
    r"can't allocate memory|not enough memory|bad_alloc",
    r"Storage size calculation overflowed|integer multiplication overflow|invalid shape dimension",
    r"NestedTensorImpl doesn't support|dimension \d is irregular and does not have a size",
    r"Overflow when unpacking|int too (large|big) to convert|out of range",
)
OURS = r"^\w+: .*`[^`]+`.* must .*, but got .*"


def shown(value: Any) -> str:
    text = value if isinstance(value, str) and value in NAMED else repr(value)
    return text if len(text) < 80 else text[:80] + "..."


def has_shape(actual: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(actual) == len(expected) and all(
        e in (a, None) for a, e in zip(actual, expected, strict=True)
    )


def problem_with(target: Target, changes: dict[str, Any]) -> str | None:
    """What is wrong with the outcome of a call."""
    given = target.valid | {
        k: NAMED[v] if isinstance(v, str) and v in NAMED else v for k, v in changes.items()
    }
    try:
        result = target.call(*given.values()) if target.positional else target.call(**given)
    except Exception as error:  # noqa: BLE001 (it is what is judged)
        text = str(error).split("\nException raised from")[0]
        known = re.search(OURS, text, re.DOTALL) or any(re.search(t, text) for t in THEIRS)
        return None if known else f"{type(error).__name__}: {text[:300]}"
    results = result if isinstance(result, tuple) else (result,)
    try:
        expected = target.shapes(given)
    except Exception as error:  # noqa: BLE001 (of any kind: there is no such shape)
        return f"returned {[list(r.shape) for r in results]} for a call that has no shape ({error})"
    shapes = [tuple(r.shape) for r in results]
    fits = len(shapes) == len(expected) and all(map(has_shape, shapes, expected))
    return None if fits else f"returned {shapes}, expected {expected}"


def calls(target: Target, chooser: random.Random) -> Iterator[dict[str, Any]]:
    """One wrong argument, each in turn; then two."""
    yield {}
    wrong = [(name, v) for name, kind in target.kinds.items() for v in WRONG[kind]]
    for name, value in wrong:
        yield {name: value}
    for _ in range(PAIRS):
        yield dict(chooser.sample(wrong, 2))


def main(log: str) -> None:
    faulthandler.enable()
    if not SANITIZED:  # AddressSanitizer has terabytes of addresses, and a limit of its own
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    chooser, bad, count = random.Random(0), [], 0
    for target in targets():
        for changes in calls(target, chooser):
            text = ", ".join(f"{k}={shown(v)}" for k, v in changes.items())
            Path(log).write_text(f"{target.name} with {text}\n")
            faulthandler.dump_traceback_later(SECONDS_PER_CALL, exit=True)
            problem = problem_with(target, changes)
            count += 1
            if problem:
                bad.append(f"{target.name} with {text}: {problem}")
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps({"calls": count, "bad": bad}))


if __name__ == "__main__":
    main(sys.argv[1])
