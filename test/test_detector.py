"""A whole two-stage detector leaves Python: the number of its RoIs is known to the data alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detector import Detector
from tolerance import assert_close, assert_same_bits
from torch import Tensor

# Images, height, width, share of the pixels that become RoIs: many, some, none.
SIZES = ((1, 80, 48, 0.5), (3, 67, 101, 0.01), (2, 64, 96, 0.0))
EXAMPLE = (2, 64, 96, 0.1)


@pytest.fixture(scope="module")
def model() -> Detector:
    torch.manual_seed(0)
    return Detector().eval().requires_grad_(False)


def threshold(scores: Tensor, share: float) -> Tensor:
    """Which about this share of the scores passes; in a gap, so that rounding does not decide."""
    ordered = torch.cat([scores.sort().values, scores.max()[None] + 1e3])
    first = int(len(scores) * (1 - share))
    near = ordered[max(first - 4, 0) : first + 4]
    widest = near.diff().argmax()
    return near[widest : widest + 2].mean()


def inputs(model: Detector, n: int, h: int, w: int, share: float) -> tuple[Tensor, Tensor]:
    image = torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(h))
    scores = [model.proposals(m)[:, 0].flatten() for m in model.pyramid(image)]
    return image, torch.stack([threshold(s, share) for s in scores])


def export(model: Detector, strict: bool) -> torch.export.ExportedProgram:
    any_image = {0: torch.export.Dim("N"), 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    shapes = {"image": any_image, "thresholds": None}
    return torch.export.export(model, inputs(model, *EXAMPLE), dynamic_shapes=shapes, strict=strict)


@pytest.fixture(scope="module")
def exported(model: Detector) -> Callable[[bool], torch.export.ExportedProgram]:
    programs: dict[bool, torch.export.ExportedProgram] = {}

    def program(strict: bool) -> torch.export.ExportedProgram:
        if strict not in programs:
            programs[strict] = export(model, strict)
        return programs[strict]

    return program


def test_the_detector_uses_every_level(model: Detector) -> None:
    """Else the pyramid would prove nothing."""
    image, thresholds = inputs(model, *EXAMPLE)
    rois, classes, boxes = model(image, thresholds)
    assert 50 < len(rois) == len(classes) == len(boxes)
    maps = model.pyramid(image)
    for level in range(len(maps)):
        only = [torch.full_like(m, i == level) for i, m in enumerate(maps)]
        assert model.pool(only, rois).any()


@pytest.mark.parametrize("strict", [False, True], ids=("non_strict", "strict"))
def test_exported_detector_equals_eager_on_other_sizes(model, exported, strict) -> None:
    program = exported(strict)
    calls = [n for n in program.graph.nodes if n.op == "call_function"]
    (call,) = [n for n in calls if n.target is torch.ops.roiops.multiscale_roi_align.default]
    assert "u" in str(call.meta["val"].shape[0])  # a size of the data, not of the inputs
    run = program.module()
    counts = []
    for size in (EXAMPLE, *SIZES):
        arguments = inputs(model, *size)
        expected = model(*arguments)
        for got, exact in zip(run(*arguments), expected, strict=True):
            assert_same_bits(got, exact)
        counts.append(len(expected[0]))
    assert len(set(counts)) == 4 and counts[-1] == 0


def test_compiled_package_of_the_detector_equals_eager(model, exported, tmp_path: Path) -> None:
    file = str(tmp_path / "detector.pt2")
    # Quick to compile, where the default is quick to run.
    configs = {"aot_inductor.compile_wrapper_opt_level": "O0", "cpp.simdlen": 1}
    torch._inductor.aoti_compile_and_package(
        exported(False), package_path=file, inductor_configs=configs
    )
    run = torch._inductor.aoti_load_package(file)
    for size in (EXAMPLE, *SIZES):
        arguments = inputs(model, *size)
        for got, expected in zip(run(*arguments), model(*arguments), strict=True):
            exact = expected.double()
            assert_close(got, exact, 100 * float(exact.abs().max()) if len(exact) else 0.0)
