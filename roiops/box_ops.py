"""Suppression of overlapping boxes, and their overlaps."""

import torch
from torch import Tensor
from torch.overrides import has_torch_function_variadic

from roiops._boxes import as_one_call, check_tensors


def _check_columns(op: str, boxes: Tensor, upright: bool, rotated: bool) -> None:
    """The operators behind also take batches, and both kinds of boxes."""
    if not torch.jit.is_scripting() and torch.jit.is_tracing():
        return  # which would warn that it does not see the check
    columns = boxes.size(1) if boxes.dim() == 2 else 0
    if not ((upright and columns == 4) or (rotated and columns == 5)):
        shapes = ["[N, 4] (x1, y1, x2, y2)"] if upright else torch.jit.annotate(list[str], [])
        if rotated:
            shapes.append("[N, 5] (cx, cy, w, h, angle)")
        shape = " or ".join(shapes)
        raise RuntimeError(f"{op}: `boxes` must have shape {shape}, but got {list(boxes.size())}.")


def _cut(padded: list[Tensor], count: Tensor) -> list[Tensor]:
    """The first `count` rows. Waits for the device; in a graph only the data know the size."""
    if torch.jit.is_scripting():
        size = int(count)
    else:
        if torch.jit.is_tracing():
            return [tensor[:count] for tensor in padded]  # a number would stay that of the example
        size = count.item()  # type: ignore[assignment]
        torch._check(size >= 0)
        torch._check(size <= padded[0].size(0))
    return [tensor.narrow(0, 0, size) for tensor in padded]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Keeps the best of overlapping boxes (non-maximum suppression).

    Boxes are taken by decreasing score, equal ones in order; one is kept unless its IoU with a box
    kept before is above ``iou_threshold``. Name, arguments and result are those of
    ``torchvision.ops.nms``.

    Args:
        boxes (Tensor[N, 4]): ``(x1, y1, x2, y2)``; float64, float32, float16 or bfloat16. Overlaps
            are computed in float32 (float64 for float64).
        scores (Tensor[N]): any of these dtypes. NaN counts as largest, as in ``torch.sort``.
        iou_threshold (float): from 0 to 1.

    Returns:
        Tensor[L]: int64, the numbers of the kept boxes by decreasing score.

    A box without area has an IoU of 0 with every box; one that is not finite neither suppresses nor
    is suppressed. ``N = 0`` gives no number.
    Gradients: none, the result are integers. Deterministic: the same on any number of threads.
    Waits for the device; :func:`nms_padded` does not.

    Raises:
        TypeError: an argument is no tensor where it must be.
        RuntimeError: any other wrong argument, with its name, the rule and its value; the sentences
            of the operators behind name them, ``nms_padded`` and ``soft_nms_padded``.
    """
    if has_torch_function_variadic(boxes, scores):
        return as_one_call(nms, (boxes, scores), boxes, scores, iou_threshold)
    if not torch.jit.is_scripting():
        check_tensors("nms", boxes=boxes, scores=scores)
    _check_columns("nms", boxes, True, False)
    numbers, count = torch.ops.roiops.nms_padded(boxes, scores, iou_threshold, boxes.size(0))
    return _cut([numbers], count)[0]


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """:func:`nms` in each class of its own: boxes of different classes do not suppress each other.

    Name, arguments and result are those of ``torchvision.ops.batched_nms``. Classes are compared as
    they are; coordinates are not shifted apart, so that large or negative ones keep their precision.

    Args:
        boxes, scores, iou_threshold: as in :func:`nms`.
        idxs (Tensor[N]): the class of each box, or its image, or a number for both; any integers.

    Returns:
        Tensor[L]: int64, the numbers of the kept boxes of all classes by decreasing score.

    Borders, empty input, gradients, determinism and errors are those of :func:`nms`.
    """
    if has_torch_function_variadic(boxes, scores, idxs):
        return as_one_call(batched_nms, (boxes, scores, idxs), boxes, scores, idxs, iou_threshold)
    if not torch.jit.is_scripting():
        check_tensors("batched_nms", boxes=boxes, scores=scores, idxs=idxs)
    _check_columns("batched_nms", boxes, True, False)
    numbers, count = torch.ops.roiops.nms_padded(boxes, scores, iou_threshold, boxes.size(0), idxs)
    return _cut([numbers], count)[0]


def nms_rotated(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    idxs: Tensor | None = None,
    clockwise: bool = False,
) -> Tensor:
    """:func:`nms` of rotated boxes, by :func:`box_iou_rotated`.

    Args:
        boxes (Tensor[N, 5]): ``(cx, cy, w, h, angle)``, angle in radians.
        scores, iou_threshold: as in :func:`nms`.
        idxs (Tensor[N] or None): as in :func:`batched_nms`; None: all boxes are of one class.
        clockwise (bool): a positive angle turns the box clockwise as seen in the image.

    Returns:
        Tensor[L]: int64, the numbers of the kept boxes by decreasing score.

    Borders, empty input, gradients, determinism and errors are those of :func:`nms`.
    """
    if has_torch_function_variadic(boxes, scores, idxs):
        return as_one_call(
            nms_rotated,
            (boxes, scores, idxs),
            boxes,
            scores,
            iou_threshold,
            idxs,
            clockwise,
        )
    if not torch.jit.is_scripting():
        check_tensors("nms_rotated", boxes=boxes, scores=scores)
        if idxs is not None:
            check_tensors("nms_rotated", idxs=idxs)
    _check_columns("nms_rotated", boxes, False, True)
    numbers, count = torch.ops.roiops.nms_padded(
        boxes, scores, iou_threshold, boxes.size(0), idxs, None, clockwise
    )
    return _cut([numbers], count)[0]


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    method: str = "linear",
    idxs: Tensor | None = None,
    clockwise: bool = False,
) -> tuple[Tensor, Tensor]:
    """Lowers the scores of overlapping boxes instead of dropping them (Soft-NMS).

    From Bodla et al., arXiv:1704.04503, with MMCV's defaults. The box with the highest
    score is kept, and the scores of the others are lowered by their IoU with it; then the next.

    Args:
        boxes (Tensor[N, 4] or Tensor[N, 5]): as in :func:`nms` or :func:`nms_rotated`.
        scores (Tensor[N]): as in :func:`nms`. The factors bring a negative one nearer to zero.
        iou_threshold (float): from 0 to 1; "linear" lowers the score of a box whose IoU is not below.
        sigma (float): of "gaussian".
        min_score (float): the end: boxes with a lower score are dropped.
        method (str): "linear", times ``1 - IoU``; or "gaussian", times ``exp(-IoU ** 2 / sigma)``.
        idxs (Tensor[N] or None): as in :func:`batched_nms`.
        clockwise (bool): of rotated boxes.

    Returns:
        (Tensor[L], Tensor[L]): the numbers of the kept boxes, int64, by decreasing lowered score,
        and these scores, in the dtype of ``scores``; computed in float32 (float64 if either argument
        is float64).

    Gradients: none; backward through the scores raises. Borders, empty input, determinism and errors
    are those of :func:`nms`.
    """
    if has_torch_function_variadic(boxes, scores, idxs):
        result: tuple[Tensor, Tensor] = as_one_call(
            soft_nms,
            (boxes, scores, idxs),
            boxes,
            scores,
            iou_threshold,
            sigma,
            min_score,
            method,
            idxs,
            clockwise,
        )  # type: ignore[assignment]
        return result
    if not torch.jit.is_scripting():
        check_tensors("soft_nms", boxes=boxes, scores=scores)
        if idxs is not None:
            check_tensors("soft_nms", idxs=idxs)
    _check_columns("soft_nms", boxes, True, True)
    numbers, lowered, count = torch.ops.roiops.soft_nms_padded(
        boxes, scores, boxes.size(0), iou_threshold, sigma, min_score, method, idxs, clockwise
    )
    cut = _cut([numbers, lowered], count)
    return cut[0], cut[1]


def nms_padded(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    max_output: int,
    idxs: Tensor | None = None,
    score_threshold: float | None = None,
    clockwise: bool = False,
) -> tuple[Tensor, Tensor]:
    """:func:`nms` with a result of fixed size: for export, batches of images and CUDA graphs.

    :func:`nms`, :func:`batched_nms` and :func:`nms_rotated` are this one, cut to the count. It never
    waits for the device.

    Args:
        boxes (Tensor[N, 4] or Tensor[B, N, 4]): as in :func:`nms`; or with five columns as in
            :func:`nms_rotated`. With a dimension in front, each image has a search of its own.
        scores (Tensor[N] or Tensor[B, N]): as in :func:`nms`.
        iou_threshold (float): from 0 to 1.
        max_output (int): how many boxes to keep at most, for each image. The search ends there.
        idxs (Tensor[N] or Tensor[B, N], or None): as in :func:`batched_nms`.
        score_threshold (float or None): boxes take part whose ``scores > score_threshold``; NaN is
            not. With any threshold, ``-inf`` too, padding with a score of ``-inf`` is left out; with
            None it takes part.
        clockwise (bool): of rotated boxes.

    Returns:
        (Tensor[max_output], Tensor[]) or (Tensor[B, max_output], Tensor[B]), int64: the numbers of
        the kept boxes by decreasing score, followed by -1; and how many boxes are kept.

    Borders, empty input, gradients, determinism and errors are those of :func:`nms`.
    """
    if has_torch_function_variadic(boxes, scores, idxs):
        padded: tuple[Tensor, Tensor] = as_one_call(
            nms_padded,
            (boxes, scores, idxs),
            boxes,
            scores,
            iou_threshold,
            max_output,
            idxs,
            score_threshold,
            clockwise,
        )  # type: ignore[assignment]
        return padded
    if not torch.jit.is_scripting():
        check_tensors("nms_padded", boxes=boxes, scores=scores)
        if idxs is not None:
            check_tensors("nms_padded", idxs=idxs)
    numbers, count = torch.ops.roiops.nms_padded(
        boxes, scores, iou_threshold, max_output, idxs, score_threshold, clockwise
    )
    return numbers, count


def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of every box of one set with every box of another.

    Args:
        boxes1 (Tensor[N, 4]), boxes2 (Tensor[M, 4]): ``(x1, y1, x2, y2)``; float64, float32, float16
            or bfloat16. Or both with a dimension in front, for each image: Tensor[B, N, 4].

    Returns:
        Tensor[N, M] or Tensor[B, N, M]: float32, float64 if either argument is; not rounded to
        16 bits.

    Two boxes without area give 0, where torchvision gives NaN; a NaN coordinate gives NaN; a side,
    an area or the sum of both beyond the type's range 0 or NaN. N or M may be 0.
    Gradients: to both, of any order; NaN to a box that is not finite. Deterministic: the same on any
    number of threads. Errors are those of :func:`nms`.
    """
    if has_torch_function_variadic(boxes1, boxes2):
        return as_one_call(box_iou, (boxes1, boxes2), boxes1, boxes2)
    if not torch.jit.is_scripting():
        check_tensors("box_iou", boxes1=boxes1, boxes2=boxes2)
    ious: Tensor = torch.ops.roiops.box_iou(boxes1, boxes2)
    return ious


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor, clockwise: bool = False) -> Tensor:
    """Intersection over union of rotated boxes, computed exactly.

    Args:
        boxes1 (Tensor[N, 5]), boxes2 (Tensor[M, 5]): ``(cx, cy, w, h, angle)``, angle in radians;
            float64, float32, float16 or bfloat16. Or both with a dimension in front.
        clockwise (bool): a positive angle turns a box clockwise as seen in the image, otherwise
            counter-clockwise, as in :func:`roi_align_rotated`.

    Returns:
        Tensor[N, M] or Tensor[B, N, M]: float32, float64 if either argument is.

    A side of zero or less makes a box without area, whose IoU is 0; a box that is not finite gives
    NaN; an area or the sum of both beyond the type's range 0 or NaN. N or M may be 0.
    Gradients: none; backward raises. Determinism and errors are those of :func:`box_iou`.
    """
    if has_torch_function_variadic(boxes1, boxes2):
        return as_one_call(box_iou_rotated, (boxes1, boxes2), boxes1, boxes2, clockwise)
    if not torch.jit.is_scripting():
        check_tensors("box_iou_rotated", boxes1=boxes1, boxes2=boxes2)
    ious: Tensor = torch.ops.roiops.box_iou_rotated(boxes1, boxes2, clockwise)
    return ious
