"""Error sentences of the operators behind the derivatives, which anyone may call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import Case, PrivateOps
from op_table import OPS, Op, each_op, some_ops
from test_errors import good_case, message_of


def private_args(case: Case, **given: torch.Tensor) -> PrivateOps:
    grad = torch.zeros(case.output_shape, device=case.boxes.device)
    return case.private_args(**{"grad": grad, **given})


each_place = pytest.mark.parametrize("where", ["cpu", "meta"])


@each_op
@each_place
def test_grad_of_a_wrong_shape_or_type(op: Op, where) -> None:
    case, start = good_case(op, where), f"{op.name}: `grad` must have shape [K, C, PH, PW]"
    sizes = ((4, 2, 7, 7), (3, 1, 7, 7), (1, 2, 7, 7))
    rules = {size: f" = [3, 2, 7, 7], but got {list(size)}." for size in sizes}
    rules[3, 2] = ", but got [3, 2]."
    for shape, rule in rules.items():
        args = private_args(case, grad=torch.zeros(shape, device=where))
        assert message_of(op.private.backward, *args.backward) == start + rule
        assert message_of(op.private.backward_boxes, *args.backward_boxes) == start + rule
    args = private_args(case, grad=torch.zeros(3, 2, 7, 7, device=where).half())
    message = message_of(op.private.backward_boxes, *args.backward_boxes)
    assert message == f"{op.name}: `grad` must be float32 as `{op.input_name}`, but got float16."


@each_op
@each_place
def test_tangent_of_a_wrong_shape(op: Op, where) -> None:
    case, wrong = good_case(op, where), torch.zeros(2, 4, device=where)
    rule = f"must have shape {list(case.boxes.shape)}, but got [2, 4]."
    message = message_of(op.private.jvp_boxes, *private_args(case, tangent=wrong).jvp_boxes)
    assert message == f"{op.name}: `boxes_tangent` {rule}"
    if op.takes_maximum:  # no extra tensor
        return
    rule = "must have shape [3, 2, 7, 7], but got [2, 4]."
    message = message_of(op.private.jvp_boxes, *private_args(case, extra_tangent=wrong).jvp_boxes)
    rule = rule if op.has_offset else "must be None, but got a tensor."
    assert message == f"{op.name}: `extra_tangent` {rule}"


@some_ops(lambda op: op.takes_maximum)
@each_place
def test_argmax_of_a_wrong_shape_or_type(op: Op, where) -> None:
    case, rule = good_case(op, where), "have shape [K, C, PH, PW] = [3, 2, 7, 7], but got"
    for shape, dtype, end in (
        ((3, 2, 7, 7), torch.float32, "be int32, but got float32."),
        ((3, 2, 7, 7), torch.int64, "be int32, but got int64."),
        ((3, 1, 7, 7), torch.int32, f"{rule} [3, 1, 7, 7]."),
        ((4, 2, 7, 7), torch.int32, f"{rule} [4, 2, 7, 7]."),
    ):
        wrong = torch.zeros(shape, dtype=dtype, device=where)
        for overload, args in case.private_calls():
            at = [argument.name for argument in overload._schema.arguments].index("argmax")
            message = message_of(overload, *args[:at], wrong, *args[at + 1 :])
            assert message == f"{op.name}: `argmax` must {end}"


@each_op
def test_private_operators_check_their_own_arguments(op: Op) -> None:
    case = good_case(op)
    for overload, args in case.private_calls():
        *args, name, options = args
        kind = "maximum" if op.takes_maximum else "mean"
        for other in ("no_such_op", "", "roi_align" if op.takes_maximum else "roi_pool"):
            rule = f"`op` must name an operator of roiops that takes a {kind}, but got"
            assert message_of(overload, *args, other, options) == f'roiops: {rule} "{other}".'
        for sizes, rule in (
            ([2, 2, 8], "must have 4 elements, but got 3."),
            ([2, 98, -1, 9], "must not be negative, but got [2, 98, -1, 9]."),
        ):
            if overload is op.private.backward:
                message = message_of(overload, *args[:-1], sizes, name, options)
                assert message == f"{name}: `input_size` {rule}"


@some_ops(lambda op: not op.takes_maximum)
def test_output_size_and_extra_of_a_private_operator(op: Op) -> None:
    call, (x, boxes, extra, size, *tail) = op.private.apply, private_args(good_case(op)).apply
    if not op.has_offset:
        rule = f"{op.name}: `output_size` must have 2 elements, but got 1."
        assert message_of(call, x, boxes, extra, [7], *tail) == rule
    if not op.takes_extra:
        rule = f"{op.name}: `extra` must be None, but got a tensor."
        assert message_of(call, x, boxes, boxes, size, *tail) == rule


def missing_options() -> None:
    """Run by the test below."""
    for op in OPS:
        args = private_args(good_case(op)).apply
        least = len(args[-1]) - (2 if op.pyramid else 0)
        rule = f"{op.name}: `options` must have at least {least} elements, but got 0."
        assert message_of(op.private.apply, *args[:-1], []) == rule


def test_missing_options_of_private_operators() -> None:
    """In a process of its own: reading them unchecked may end it."""
    code = "import test_private_errors as t; t.missing_options()"
    command, folder = [sys.executable, "-c", code], Path(__file__).parent
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-500:]
