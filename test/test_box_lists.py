"""Boxes per image: their error sentences, from functions and modules."""

from __future__ import annotations

import pytest
import torch
from op_table import Op, some_ops
from test_errors import good_case, message_of


@some_ops(lambda op: op.lists)
def test_lists_of_boxes(op: Op) -> None:
    case = good_case(op)
    first, _, *extra = case.leading(list(case.maps))
    options = op.python_args(case.options)
    rule = f"{op.python_name}: each tensor of `boxes` must have shape [L, 4] (x1, y1, x2, y2), but got "
    for shapes, end in (
        (((3, 4), (3, 5)), "[3, 5] for image 1."),
        (((4,), (3, 4)), "[4] for image 0."),
        (((3, 4), (1, 3, 4)), "[1, 3, 4] for image 1."),
    ):
        boxes = [torch.zeros(shape) for shape in shapes]
        assert message_of(op.function, first, boxes, *extra, *options) == rule + end
        assert message_of(op.module(*options), first, boxes, *extra) == rule + end
    many = [torch.zeros(1, 4)] * 3
    rule = f"{op.python_name}: `boxes` must have at most one tensor per image (2), but got 3."
    assert message_of(op.function, first, many, *extra, *options) == rule
    assert message_of(op.module(*options), first, many, *extra) == rule
    scripted = torch.jit.script(op.module(*options))
    with pytest.raises(RuntimeError) as error:  # TorchScript's, whatever the operator raises
        scripted(first, many, *extra)
    assert "`boxes` must name images in [0, 2), but got 2 in row 2." in str(error.value)
