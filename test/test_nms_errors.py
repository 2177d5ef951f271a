"""Every error sentence of the operators on boxes alone: real tensors, Meta tensors, Python."""

from __future__ import annotations

import pytest
import torch

import roiops

OPS = torch.ops.roiops
BOXES, SCORES = torch.zeros(3, 4), torch.zeros(3)
TURNED, IMAGES = torch.zeros(3, 5), torch.zeros(2, 3, 4)
FLOATS = "must be float64, float32, float16 or bfloat16"
SHAPES = (
    "`boxes` must have shape [N, 4] (x1, y1, x2, y2) or [N, 5] (cx, cy, w, h, angle), or "
    "[B, N, 4] or [B, N, 5]"
)
ROWS = "must have shape [N, 4] (x1, y1, x2, y2) or [B, N, 4]"
TURNED_ROWS = "must have shape [N, 5] (cx, cy, w, h, angle) or [B, N, 5]"


def nms_args(boxes=BOXES, scores=SCORES, threshold=0.5, most=4, idxs=None, least=None):
    return boxes, scores, threshold, most, idxs, least


def soft_args(
    boxes=BOXES, scores=SCORES, most=4, threshold=0.5, sigma=0.5, least=0.1, method="linear",
    idxs=None,
):  # fmt: skip
    return boxes, scores, most, threshold, sigma, least, method, idxs


def bad_tensors():
    yield {"boxes": BOXES.long()}, f"`boxes` {FLOATS}, but got int64."
    yield {"scores": SCORES.long()}, f"`scores` {FLOATS}, but got int64."
    yield {"boxes": BOXES.to(torch.complex64)}, f"`boxes` {FLOATS}, but got complex64."
    for shape in ((4,), (3, 3), (3, 6), (1, 2, 3, 4)):
        yield {"boxes": torch.zeros(shape)}, f"{SHAPES}, but got {list(shape)}."
    for shape in ((2,), (4,), (3, 1), (1, 3), ()):
        sentence = f"`scores` must have shape [N] = [3], but got {list(shape)}."
        yield {"scores": torch.zeros(shape)}, sentence
    sentence = "`scores` must have shape [B, N] = [2, 3], but got [3, 2]."
    yield {"boxes": IMAGES, "scores": torch.zeros(3, 2)}, sentence
    yield {"idxs": SCORES}, "`idxs` must be integers, but got float32."
    yield {"idxs": torch.zeros(2).long()}, "`idxs` must have shape [N] = [3], but got [2]."
    yield {"most": -1}, "`max_output` must not be negative, but got -1."
    for threshold in (-0.1, 1.1, float("nan"), float("inf")):
        rule = "`iou_threshold` must be between 0 and 1"
        yield {"threshold": threshold}, f"{rule}, but got {threshold}."


def bad_calls():
    for changes, sentence in bad_tensors():
        yield "nms_padded", nms_args(**changes), sentence
        yield "soft_nms_padded", soft_args(**changes), sentence
    nan = float("nan")
    sentence = "`score_threshold` must be a number or None, but got nan."
    yield "nms_padded", nms_args(least=nan), sentence
    for sigma in (0.0, -1.0, nan, float("inf")):
        sentence = f"`sigma` must be positive and finite in float32, but got {sigma:g}."
        yield "soft_nms_padded", soft_args(sigma=sigma), sentence
    yield "soft_nms_padded", soft_args(least=nan), "`min_score` must be a number, but got nan."
    sentence = '`method` must be "linear" or "gaussian", but got "naive".'
    yield "soft_nms_padded", soft_args(method="naive"), sentence
    for op, rows, good in (
        ("box_iou", ROWS, BOXES),
        ("box_iou_rotated", TURNED_ROWS, TURNED),
    ):
        yield op, (good.int(), good), f"`boxes1` {FLOATS}, but got int32."
        yield op, (good, good.int()), f"`boxes2` {FLOATS}, but got int32."
        for bad in (torch.zeros(3, 6), torch.zeros(9)):
            yield op, (bad, good), f"`boxes1` {rows}, but got {list(bad.shape)}."
            yield op, (good, bad), f"`boxes2` {rows}, but got {list(bad.shape)}."
        for first, second in ((good, good[None]), (good.repeat(2, 1, 1), good[None])):
            rule = f"`boxes2` must have the images of `boxes1`, {list(first.shape)}"
            yield op, (first, second), f"{rule}, but got {list(second.shape)}."


CASES = list(bad_calls())


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{i}_{CASES[i][0]}")
@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_message(number, where) -> None:
    name, args, sentence = CASES[number]
    args = tuple(a.to(where) if isinstance(a, torch.Tensor) else a for a in args)
    with pytest.raises(RuntimeError) as error:
        getattr(OPS, name)(*args)
    assert str(error.value).split("\n")[0] == f"{name}: {sentence}"


def test_devices() -> None:
    meta = SCORES.to("meta")
    for call, sentence in (
        (lambda: OPS.nms_padded(BOXES, meta, 0.5, 4), "`scores` must be on the device of `boxes` "),
        (
            lambda: OPS.nms_padded(BOXES, SCORES, 0.5, 4, meta.long()),
            "`idxs` must be on the device of `boxes` ",
        ),
        (
            lambda: OPS.box_iou(BOXES, BOXES.to("meta")),
            "`boxes2` must be on the device of `boxes1` ",
        ),
    ):
        with pytest.raises(RuntimeError) as error:
            call()
        assert f"{sentence}(cpu), but got meta." in str(error.value)


PYTHON = {
    "nms": lambda b: roiops.nms(b, SCORES, 0.5),
    "batched_nms": lambda b: roiops.batched_nms(b, SCORES, SCORES.long(), 0.5),
    "nms_rotated": lambda b: roiops.nms_rotated(b, SCORES, 0.5),
    "soft_nms": lambda b: roiops.soft_nms(b, SCORES),
}


@pytest.mark.parametrize("name", PYTHON)
def test_functions_that_take_one_image_say_so(name) -> None:
    corners, turned = "[N, 4] (x1, y1, x2, y2)", "[N, 5] (cx, cy, w, h, angle)"
    shape = {"nms_rotated": turned, "soft_nms": f"{corners} or {turned}"}.get(name, corners)
    wrong = [IMAGES, torch.zeros(3, 6), torch.zeros(4)]
    if name != "soft_nms":
        wrong.append(BOXES if name == "nms_rotated" else TURNED)
    for boxes in wrong:
        with pytest.raises(RuntimeError) as error:
            PYTHON[name](boxes)
        expected = f"{name}: `boxes` must have shape {shape}, but got {list(boxes.shape)}."
        assert str(error.value) == expected


def test_what_is_no_tensor() -> None:
    for call, sentence in (
        (lambda: roiops.nms([1], SCORES, 0.5), "nms: `boxes` must be a Tensor, but got list."),
        (lambda: roiops.nms(BOXES, 3, 0.5), "nms: `scores` must be a Tensor, but got int."),
        (
            lambda: roiops.batched_nms(BOXES, SCORES, None, 0.5),
            "batched_nms: `idxs` must be a Tensor, but got NoneType.",
        ),
        (
            lambda: roiops.nms_rotated(TURNED, SCORES, 0.5, 3),
            "nms_rotated: `idxs` must be a Tensor, but got int.",
        ),
        (
            lambda: roiops.soft_nms(BOXES, "x"),
            "soft_nms: `scores` must be a Tensor, but got str.",
        ),
        (
            lambda: roiops.nms_padded(None, SCORES, 0.5, 3),
            "nms_padded: `boxes` must be a Tensor, but got NoneType.",
        ),
        (
            lambda: roiops.box_iou(BOXES, 1),
            "box_iou: `boxes2` must be a Tensor, but got int.",
        ),
        (
            lambda: roiops.box_iou_rotated(1, TURNED),
            "box_iou_rotated: `boxes1` must be a Tensor, but got int.",
        ),
    ):
        with pytest.raises(TypeError) as error:
            call()
        assert str(error.value) == sentence
