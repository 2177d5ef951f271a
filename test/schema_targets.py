"""What schema_calls.py calls: every operator and every function, with valid arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from box_ops import BOX_OPS, CUT_FUNCTIONS
from cases import Case, Options, make_case
from op_table import OPS, Op
from torch import Tensor

import roiops

Shapes = Callable[[dict[str, Any]], list[tuple[int | None, ...]]]  # None: any size


def kind(type: str) -> str:
    """Of a schema's argument, as WRONG names it."""
    return type.removeprefix("Optional[").removesuffix("]") if type.startswith("Opt") else {
        "List[Tensor]": "Tensor[]", "List[float]": "float[]", "List[int]": "int[]",
        "List[SymInt]": "int[]", "SymInt": "int",
    }.get(type, type)  # fmt: skip


@dataclass
class Target:
    """Something to call: valid arguments by name, and what kind each is."""

    name: str
    call: Callable[..., Any]
    valid: dict[str, Any]
    kinds: dict[str, str]
    shapes: Shapes
    positional: bool = True


def good_case(op: Op, offset: bool = True) -> Case:
    """Two images, three boxes, 7 x 7 bins, 2 channels."""
    boxes = {str(i): (1.0, 1.0, 4.0, 4.0) for i in range(3)}
    options = Options((7, 7), offset=offset)
    return make_case(op, options, torch.Generator(), (8, 9), boxes, 2, 2, torch.float32)


def forward_shapes(op: Op, results: int) -> Shapes:
    def shapes(given: dict[str, Any]) -> list[tuple[int | None, ...]]:
        first, boxes, *_ = given.values()
        size = [v for k, v in given.items() if k.endswith(("_height", "_width"))]
        size = size or given.get("output_size", given.get("crop_size"))
        height, width = (size, size) if isinstance(size, int) else size
        channels = (first[0] if op.pyramid else first).shape[1]
        per = height * width if op.position_sensitive else 1
        rows = len(boxes) if isinstance(boxes, Tensor) else sum(map(len, boxes))
        return [(rows, channels // per, int(height), int(width))] * results

    return shapes


def private_shapes(name: str) -> Shapes:
    def shapes(given: dict[str, Any]) -> list[tuple[int | None, ...]]:
        boxes, extra = given["boxes"], given.get("extra")
        if "input_size" in given:
            return [tuple(given["input_size"])]
        if name == "_mean_backward_boxes":
            moves = given["op"] == "deform_roi_pool" and extra is not None
            return [tuple(boxes.shape), tuple(extra.shape) if moves else (0,)]
        if name == "_max_backward_boxes":
            return [tuple(boxes.shape)]
        size = tuple(given["output_size"]) if "output_size" in given else given["argmax"].shape[2:]
        per = size[0] * size[1] if given["op"].startswith("ps_") else 1
        return [(len(boxes), given["input"].shape[1] // per, *size)]

    return shapes


def schema_kinds(overload: Any) -> dict[str, str]:
    return {a.name: kind(str(a.type)) for a in overload._schema.arguments}


def targets() -> Iterator[Target]:
    for op in OPS:
        for case in [good_case(op), *([good_case(op, False)] if op.has_offset else [])]:
            calls = [(op.overload, case.args), *case.private_calls()]
            for overload, args in calls:
                name = overload._schema.name.removeprefix("roiops::")
                kinds, public = schema_kinds(overload), name == op.name
                shapes = (
                    forward_shapes(op, 1 + op.takes_maximum) if public else private_shapes(name)
                )
                yield Target(
                    f"torch.ops.roiops.{name}" + ("" if public else f" of {op}"), overload,
                    dict(zip(kinds, args, strict=True)), kinds, shapes,
                )  # fmt: skip
            yield function_target(op, case)
    yield from box_targets()


def function_target(op: Op, case: Case) -> Target:
    """The Python function, whose arguments are of the kinds of their valid values."""
    names = list(inspect.signature(op.function).parameters)
    values = (*case.leading(list(case.maps)), *op.python_args(case.options))
    valid = dict(zip(names, values, strict=False))
    kinds = {}
    for name, value in valid.items():
        simple = type(value).__name__
        kinds[name] = {"list": "Tensor[]", "NoneType": "Tensor", "tuple": "int[]"}.get(
            simple, simple
        )
    if "spatial_scales" in kinds:
        kinds["spatial_scales"] = "float[]"
    function = f"roiops.{op.python_name}" + (f' mode="{op.mode}"' if op.mode else "")
    return Target(function, op.function, valid, kinds, forward_shapes(op, 1), False)


def box_shapes(name: str) -> Shapes:
    def shapes(given: dict[str, Any]) -> list[tuple[int | None, ...]]:
        boxes = given["boxes1" if "iou" in name else "boxes"]
        images, soft = tuple(boxes.shape[:-2]), name.startswith("soft")
        if "iou" in name:
            return [(*images, boxes.shape[-2], given["boxes2"].shape[-2])]
        if name.endswith("padded"):
            return [(*images, int(given["max_output"]))] * (1 + soft) + [images]
        return [(None,)] * (1 + soft)

    return shapes


def box_targets() -> Iterator[Target]:
    """The operators on boxes alone, and their functions, of three boxes."""
    rows = {False: torch.ones(3, 4), True: torch.ones(3, 5)}
    values: dict[str, Any] = {
        "scores": torch.ones(3), "idxs": torch.zeros(3, dtype=torch.int64), "iou_threshold": 0.5,
        "max_output": 4, "score_threshold": 0.1, "sigma": 0.5, "min_score": 0.1,
        "method": "linear", "clockwise": False,
    }  # fmt: skip
    kinds = {n: k for op in BOX_OPS for n, k in schema_kinds(box_operator(op)).items()}
    for name in (*BOX_OPS, *CUT_FUNCTIONS):
        boxes = rows[name.endswith("rotated")]
        calls = {f"roiops.{name}": getattr(roiops, name, None)}
        if name in BOX_OPS:
            calls[f"torch.ops.roiops.{name}"] = box_operator(name)
        for shown, call in calls.items():
            if call is None:  # there is no such function
                continue
            positional = shown.startswith("torch")
            names = schema_kinds(call) if positional else inspect.signature(call).parameters
            valid = {n: values.get(n, boxes) for n in names}
            yield Target(
                shown, call, valid, {n: kinds[n] for n in names}, box_shapes(name), positional
            )


def box_operator(name: str) -> Any:
    return getattr(torch.ops.roiops, name).default
