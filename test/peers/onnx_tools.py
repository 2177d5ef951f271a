"""Exporting a call of an operator to ONNX, and running it with ONNX Runtime."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import onnxruntime as ort
import torch
from cases import Case
from torch import Tensor

import roiops.onnx

DYNAMIC = torch.export.Dim.DYNAMIC


class OneCall(torch.nn.Module):
    """The function of a case with its options; `through` casts features to a type ONNX Runtime's
    Python cannot be given, and the result back."""

    def __init__(self, case: Case, through: torch.dtype | None = None) -> None:
        super().__init__()
        self.case, self.through = case, through

    def forward(self, *tensors: Tensor) -> Tensor:
        case = self.case.of(*tensors)
        maps = [m if self.through is None else m.to(self.through) for m in case.maps]
        values = case.op.function(*case.leading(maps), *case.op.python_args(case.options))
        return values if self.through is None else values.to(tensors[0].dtype)


class Exported:
    """An ONNX program and its session."""

    def __init__(
        self, module: torch.nn.Module, args: Sequence[Any], dynamic_shapes: Any, **options: Any
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter
            self.program = torch.onnx.export(
                module.eval(),
                tuple(args),
                dynamo=True,
                verbose=False,
                dynamic_shapes=dynamic_shapes,
                custom_translation_table=roiops.onnx.translation_table(),
                **{"opset_version": 18, **options},
            )
        file = io.BytesIO()
        self.program.save(file)
        session = ort.SessionOptions()
        session.intra_op_num_threads = 1
        session.log_severity_level = 4  # errors are expected, and come as exceptions
        self.session = ort.InferenceSession(
            file.getvalue(), session, providers=["CPUExecutionProvider"]
        )

    @property
    def nodes(self) -> list[str]:
        return [f"{node.domain}{node.op_type}" for node in self.program.model.graph]

    def __call__(self, *tensors: Tensor) -> Tensor:
        names = [i.name for i in self.session.get_inputs()]
        feeds = {name: t.numpy() for name, t in zip(names, tensors, strict=True)}
        return torch.from_numpy(self.session.run(None, feeds)[0])


def export_case(case: Case, through: torch.dtype | None = None, **options: Any) -> Exported:
    """With everything dynamic but the channels."""
    maps = [{0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC} for _ in case.maps]
    rows = [{0: DYNAMIC} for _ in case.tensors[len(maps) :]]
    return Exported(OneCall(case, through), case.tensors, ((*maps, *rows),), **options)


def causes(error: BaseException | None) -> str:
    """What an error and those behind it say: the exporter wraps errors of translations."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__
    return "\n".join(texts)
