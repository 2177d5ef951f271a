"""RoI operators on axis-aligned boxes with one bilinear grid, or whole pixels, per bin."""

import torch
from torch import Tensor
from torch.jit.annotations import BroadcastingList2
from torch.overrides import has_torch_function_variadic

from roiops._boxes import as_one_call, to_rois, to_size


def roi_align(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: BroadcastingList2[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
    mode: str = "avg",
) -> Tensor:
    """Averages bilinear samples of ``input`` in each bin of each box (RoIAlign).

    From Mask R-CNN (He et al., arXiv:1703.06870, section 3). Each box is cut into ``output_size``
    bins; in each bin a grid of samples is interpolated from the four nearest pixels and averaged.

    Args:
        input (Tensor[N, C, H, W]): float64, float32, float16 or bfloat16; contiguous and
            channels_last are read as they are, anything else may be copied.
        boxes (Tensor[K, 5] or list of up to N Tensor[L, 4]): ``(image, x1, y1, x2, y2)``, or
            ``(x1, y1, x2, y2)`` for each image, in image coordinates, ends exclusive. Any of the
            dtypes above, on the device of ``input``. float32 boxes beside 16-bit features are
            recommended: 16-bit floats lose coordinates and cannot number the images of a large
            batch. The image column is truncated toward zero.
        output_size (int or (int, int)): bins per box, ``(PH, PW)``.
        spatial_scale (float): feature-map pixels per unit of the boxes, for example 1/4.
        sampling_ratio (int): samples per bin and axis, at most 1024 (256 for ``mode="max"``).
            Zero or less takes one sample per feature-map pixel of the bin, rounded up.
        aligned (bool): True shifts the boxes by half a pixel, so that pixel centres lie at
            integer + 0.5 (Detectron2's rule). False does not shift, and enlarges boxes below one
            feature-map pixel to one.
        mode (str): "avg", or "max" for the largest of a bin's samples (MMCV's rule; ONNX's max is
            another function). Samples outside the map are no candidates, a bin without any gives
            0, the first of equal samples wins, and NaN counts as largest. Gradients then go
            through the winning samples.

    Returns:
        Tensor[K, C, PH, PW]: dtype and memory format of ``input``. Positions, weights and sums
        are float32 (float64 for float64 features) and are rounded once.

    Border: a sample up to one pixel outside the map takes the border's value; further out it
    counts as zero. A box with a NaN or infinite coordinate gives zeros, and so does a box of zero
    or negative size with adaptive sampling and ``aligned=True``. K, N, C, H or W may be 0.

    Gradients: to ``input``, of any order; to ``boxes`` (not to the image column) of first order,
    with the adaptive sample count held constant. Where the interpolation has a kink the
    right-hand derivative is taken. Forward-mode AD and ``torch.func`` work for both.

    Deterministic: on CPU, forward and backward give the same bits for any number of threads.

    Raises:
        IndexError: a box names an image outside ``[0, N)``. On CUDA it is a device-side assertion.
        TypeError: an argument is no tensor, list of tensors, or size where it must be.
        RuntimeError: any other wrong argument, with its name, the rule and its value.
    """
    if has_torch_function_variadic(input, boxes):
        return as_one_call(
            roi_align,
            (input, boxes),
            input,
            boxes,
            output_size,
            spatial_scale,
            sampling_ratio,
            aligned,
            mode,
        )
    height, width = to_size("roi_align", "output_size", output_size)
    rois = to_rois("roi_align", input, boxes)
    if mode == "max":
        values: Tensor = torch.ops.roiops.roi_align_max(
            input, rois, spatial_scale, height, width, sampling_ratio, aligned
        )[0]
        return values
    if mode != "avg":
        raise RuntimeError(f'roi_align: `mode` must be "avg" or "max", but got "{mode}".')
    output: Tensor = torch.ops.roiops.roi_align(
        input, rois, spatial_scale, height, width, sampling_ratio, aligned
    )
    return output


def roi_pool(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: BroadcastingList2[int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Takes the maximum of the whole pixels in each bin of each box (RoIPool).

    From Fast R-CNN (Girshick, arXiv:1504.08083, section 2.1), with torchvision's rounding:
    coordinates are scaled and rounded half away from zero, and the high ones name the last pixel.
    Bin edges are computed in float32 (float64 for float64 features), as everywhere in the field.

    Args:
        input (Tensor[N, C, H, W]): float64, float32, float16 or bfloat16.
        boxes (Tensor[K, 5] or list of N Tensor[L, 4]): as in :func:`roi_align`.
        output_size (int or (int, int)): bins per box, ``(PH, PW)``.
        spatial_scale (float): feature-map pixels per unit of the boxes.

    Returns:
        Tensor[K, C, PH, PW]: dtype and memory format of ``input``.
        ``torch.ops.roiops.roi_pool`` also returns the winners: int32, ``h * W + w``, -1 if none.

    Border: bins are cut with the map; an empty bin and a box that is not finite give 0. The first
    of equal pixels wins, and NaN counts as largest, as in ``torch.max_pool2d``.
    Gradients: to ``input``, through the winners, which are held constant. The result is piecewise
    constant in ``boxes``: none. Empty input, determinism and errors are those of
    :func:`roi_align`.
    """
    if has_torch_function_variadic(input, boxes):
        return as_one_call(roi_pool, (input, boxes), input, boxes, output_size, spatial_scale)
    height, width = to_size("roi_pool", "output_size", output_size)
    rois = to_rois("roi_pool", input, boxes)
    output: Tensor = torch.ops.roiops.roi_pool(input, rois, spatial_scale, height, width)[0]
    return output


def ps_roi_align(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: BroadcastingList2[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
) -> Tensor:
    """Position-sensitive RoIAlign: each bin averages bilinear samples of channels of its own.

    From Light-Head R-CNN (Li et al., arXiv:1711.07264) after R-FCN (arXiv:1605.06409). Output
    channel ``c`` at bin ``(p, q)`` reads input channel ``(c * PH + p) * PW + q``. Samples are those
    of :func:`roi_align` with ``aligned=True``.

    Args:
        input (Tensor[N, C, H, W]): float64, float32, float16 or bfloat16; ``C`` is a multiple of
            ``PH * PW``.
        boxes (Tensor[K, 5] or list of N Tensor[L, 4]): as in :func:`roi_align`.
        output_size (int or (int, int)): bins per box, ``(PH, PW)``.
        spatial_scale (float): feature-map pixels per unit of the boxes.
        sampling_ratio (int): as in :func:`roi_align`.

    Returns:
        Tensor[K, C / (PH * PW), PH, PW]: dtype and memory format of ``input``.

    Border, empty input, gradients (``input`` of any order, ``boxes`` of first order), determinism
    and errors are those of :func:`roi_align`. A box of zero area gives zeros with adaptive
    sampling, where torchvision gives NaN.
    """
    if has_torch_function_variadic(input, boxes):
        return as_one_call(
            ps_roi_align, (input, boxes), input, boxes, output_size, spatial_scale, sampling_ratio
        )
    height, width = to_size("ps_roi_align", "output_size", output_size)
    rois = to_rois("ps_roi_align", input, boxes)
    output: Tensor = torch.ops.roiops.ps_roi_align(
        input, rois, spatial_scale, height, width, sampling_ratio
    )
    return output


def ps_roi_pool(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: BroadcastingList2[int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Position-sensitive RoI pooling: each bin averages whole pixels of channels of its own.

    From R-FCN (Dai et al., arXiv:1605.06409), with torchvision's rounding: coordinates are scaled
    and rounded half away from zero, and the high ones are exclusive. Output channel ``c`` at bin
    ``(p, q)`` reads input channel ``(c * PH + p) * PW + q``.

    Args:
        input (Tensor[N, C, H, W]): float64, float32, float16 or bfloat16; ``C`` is a multiple of
            ``PH * PW``.
        boxes (Tensor[K, 5] or list of N Tensor[L, 4]): as in :func:`roi_align`.
        output_size (int or (int, int)): bins per box, ``(PH, PW)``.
        spatial_scale (float): feature-map pixels per unit of the boxes.

    Returns:
        Tensor[K, C / (PH * PW), PH, PW]: dtype and memory format of ``input``.

    Border: bins are cut with the map, and their mean is over the pixels that remain; an empty bin
    and a box that is not finite give zeros. (torchvision never reads the last row and column.)
    Gradients: to ``input``, of any order. The result is piecewise constant in ``boxes``: none.
    Empty input, determinism and errors are those of :func:`roi_align`.
    """
    if has_torch_function_variadic(input, boxes):
        return as_one_call(ps_roi_pool, (input, boxes), input, boxes, output_size, spatial_scale)
    height, width = to_size("ps_roi_pool", "output_size", output_size)
    rois = to_rois("ps_roi_pool", input, boxes)
    output: Tensor = torch.ops.roiops.ps_roi_pool(input, rois, spatial_scale, height, width)
    return output


def prroi_pool(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: BroadcastingList2[int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Precise RoI pooling: the mean of the bilinear surface over each bin, integrated exactly.

    From IoU-Net (Jiang et al., arXiv:1807.11590, section 3.3). No sampling and no quantisation:
    the result is differentiable in the boxes everywhere.

    Args:
        input (Tensor[N, C, H, W]): float64, float32, float16 or bfloat16.
        boxes (Tensor[K, 5] or list of N Tensor[L, 4]): as in :func:`roi_align`; pixel centres lie
            at integers.
        output_size (int or (int, int)): bins per box, ``(PH, PW)``.
        spatial_scale (float): feature-map pixels per unit of the boxes.

    Returns:
        Tensor[K, C, PH, PW]: dtype and memory format of ``input``.

    Border: outside the map the surface falls to zero within one pixel. A box without area, or that
    is not finite, gives zeros. Empty input, gradients (``input`` of any order, ``boxes`` of first
    order), determinism and errors are those of :func:`roi_align`.
    """
    if has_torch_function_variadic(input, boxes):
        return as_one_call(prroi_pool, (input, boxes), input, boxes, output_size, spatial_scale)
    height, width = to_size("prroi_pool", "output_size", output_size)
    rois = to_rois("prroi_pool", input, boxes)
    output: Tensor = torch.ops.roiops.prroi_pool(input, rois, spatial_scale, height, width)
    return output
