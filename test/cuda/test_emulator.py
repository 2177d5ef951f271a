"""The source of every CUDA kernel, run on the host (emulator.cpp), beside the CPU kernels.

Geometry is the same code and compiler on both sides, so that only the order of sums may differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from boxes import edge_boxes, finite_boxes, hard_boxes, inside_boxes
from build_tree import build_directory, cached
from cases import DTYPES, Case, Options, features, grad_of, make_case
from op_table import Op, each_op, each_option, few_options, one_option, sample_cases, some_ops
from tolerance import HALF_TYPES, assert_same_bits

H, W = 11, 13
KERNELS = torch.ops.roiops_blocks


@pytest.fixture(scope="module", autouse=True)
def emulator() -> None:
    if cached("ROIOPS_BUILD_TESTS") != "ON":
        pytest.skip("the emulator is not built; `make test` and `make cuda-build` build it")
    torch.ops.load_library(str(build_directory() / "test" / "cuda" / "libroiops_emulator.so"))


@pytest.fixture(params=[(32, False), (256, True)], ids=lambda p: f"{p[0]}_threads")
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """The larger block runs its last thread first: the order within a phase must not matter."""
    KERNELS.set_threads(*request.param)
    yield request.param[0]
    KERNELS.set_threads(256)


both_layouts = pytest.mark.parametrize("last", [False, True], ids=("contiguous", "channels_last"))


def in_layout(tensor: torch.Tensor, last: bool) -> torch.Tensor:
    return tensor.to(memory_format=torch.channels_last) if last else tensor


def kernel(overload):
    return getattr(KERNELS, overload._schema.name.removeprefix("roiops::")).default


def calls(case: Case, generator: torch.Generator, last: bool = False):
    """The operator and the products behind its derivatives, with their arguments."""
    grad = in_layout(grad_of(case, generator), last)
    tangent = features(generator, *case.boxes.shape).to(case.boxes.dtype)
    extra = None
    if case.has_offset:
        extra = features(generator, *case.extra.shape).to(case.boxes.dtype)
    args = case.private_args(-1, grad, tangent=tangent, extra_tangent=extra)
    return [(case.op.overload, case.args), *zip(case.op.private, args, strict=True)]


def results(overload, args) -> tuple[torch.Tensor, ...]:
    out = overload(*args)
    return out if isinstance(out, tuple) else (out,)


def assert_near(actual: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    told = [(t.shape, t.stride(), t.dtype) for t in (actual, expected)]
    assert told[0] == told[1], what
    if not actual.is_floating_point():  # the winners
        assert torch.equal(actual, expected), what
        return
    half = actual.dtype in HALF_TYPES
    working = torch.finfo(torch.float64 if actual.dtype == torch.float64 else torch.float32).eps
    a, b = actual.double(), expected.double()
    largest = b.abs().max() if b.numel() else 0
    bound = 1000 * working * (largest + 1) + (
        torch.finfo(actual.dtype).eps * b.abs() if half else 0
    )
    bad = ~((a - b).abs() <= bound)
    assert not bad.any(), f"{what}: {int(bad.sum())} of {bad.numel()}, {a[bad][:3]} {b[bad][:3]}"


def check(case: Case, generator: torch.Generator, last: bool = False) -> None:
    for overload, args in calls(case.map(lambda m: in_layout(m, last)), generator, last):
        pairs = zip(results(kernel(overload), args), results(overload, args), strict=True)
        for actual, expected in pairs:
            assert_near(actual, expected, overload._schema.name)


@each_option
@both_layouts
def test_every_option(op: Op, options, last, generator) -> None:
    check(make_case(op, options, generator, channels=4), generator, last)


@few_options
@both_layouts
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
def test_every_type(op: Op, options, dtype, last, threads, generator) -> None:
    case = make_case(
        op, options, generator, channels=8, dtype=dtype, boxes_dtype=torch.float32
    )  # 8: whole vectors of every type
    check(case, generator, last)


@one_option
@both_layouts
@pytest.mark.parametrize("channels", [1, 5, 37, 130], ids=lambda c: f"C{c}")
def test_channels_that_fill_no_vector_and_no_block(
    op: Op, options, channels, last, threads, generator
) -> None:
    boxes = inside_boxes(H, W) | edge_boxes(H, W)
    channels = min(channels, 9) if op.position_sensitive else channels
    check(make_case(op, options, generator, boxes=boxes, channels=channels), generator, last)


@each_op
def test_layouts_and_empty_sizes(op: Op, threads, generator) -> None:
    for _, case in sample_cases(op, "cpu", generator, torch.float64):
        check(case, generator)


@few_options
@pytest.mark.parametrize("size", [(1, 1), (1, W), (2, 2), (70, 40)], ids=str)
def test_map_sizes(op: Op, options, size, threads, generator) -> None:
    boxes = hard_boxes(*size) | {f"{n}_of_other_map": b for n, b in hard_boxes(H, W).items()}
    check(make_case(op, options, generator, size, boxes, channels=2), generator)


@each_op
def test_more_boxes_than_threads(op: Op, generator) -> None:
    KERNELS.set_threads(32)
    case = make_case(op, op.few_options[0], generator, boxes=finite_boxes(H, W), images=3)
    check(case.rows(torch.arange(len(case.boxes)).repeat(3)), generator)
    KERNELS.set_threads(256)


# Bins beyond what a block lists, counts or splits at a time; the second has too many for lists.
MANY_BINS = {"more_rows_than_threads": (40, 3), "too_many_columns": (2, 700), "many": (20, 25)}


@some_ops(lambda op: not op.position_sensitive)
@pytest.mark.parametrize("size", MANY_BINS.values(), ids=MANY_BINS.keys())
def test_many_bins(op: Op, size, threads, generator) -> None:
    boxes = dict(list(finite_boxes(H, W).items())[::6])
    options = replace(op.few_options[0], output_size=size)
    check(make_case(op, options, generator, boxes=boxes, channels=2), generator)


@some_ops(lambda op: not op.has_indices)
@pytest.mark.parametrize("bins", [(1, 1), (2, 2)], ids=str)
def test_more_taps_than_a_block_lists(op: Op, bins, threads, generator) -> None:
    """Adaptive samples of one bin over a map of 150 x 90 pixels, and 60 per bin and axis."""
    boxes = {"whole": (0, 0, 90, 150), "beyond": (-20, -30, 120, 170), "part": (3.3, 4.4, 88, 77)}
    for ratio in (-1, 60):
        if ratio > 0 and not op.samples:
            continue
        options = Options(bins, 1.0, ratio, True, canonical_scale=10**6)
        case = make_case(op, options, generator, (150, 90), boxes, channels=2, dtype=torch.float32)
        check(case, generator)


@few_options
@both_layouts
def test_the_feature_gradient_has_the_same_bits_for_any_block(
    op: Op, options, last, generator
) -> None:
    case = make_case(op, options, generator, channels=5, dtype=torch.float32)
    overload, args = calls(case, generator, last)[2]
    seen = []
    for count in (32, 64, 256):
        KERNELS.set_threads(count)
        seen.append(kernel(overload)(*args))
    for other in seen[1:]:
        assert_same_bits(other, seen[0])


@each_op
def test_a_gradient_is_written_everywhere(op: Op, generator) -> None:
    """Results start as garbage: no pixel may be left out, with boxes or without any."""
    for count in (0, 3):
        case = make_case(op, op.few_options[0], generator, boxes=inside_boxes(H, W), channels=3)
        overload, args = calls(case.rows(slice(count)), generator)[2]
        for _ in range(4):
            junk = [torch.full(args[3], torch.nan, dtype=case.dtype) for _ in range(3)]
            del junk
            assert kernel(overload)(*args).isfinite().all()
