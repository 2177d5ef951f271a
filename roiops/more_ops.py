"""RoI operators with boxes of their own kind, learned offsets, or a feature pyramid."""

import torch
from torch import Tensor
from torch.jit.annotations import BroadcastingList2
from torch.overrides import has_torch_function, has_torch_function_variadic

from roiops._boxes import (
    as_one_call,
    check_maps,
    check_scales,
    check_tensors,
    flat,
    to_rois,
    to_size,
)


def crop_and_resize(
    image: Tensor,
    boxes: Tensor,
    box_indices: Tensor,
    crop_size: BroadcastingList2[int],
    method: str = "bilinear",
    extrapolation_value: float = 0.0,
) -> Tensor:
    """Crops boxes from images and resizes them: TensorFlow's ``tf.image.crop_and_resize``, NCHW.

    One sample per bin. The corners of a crop are the corners of its box: row ``i`` of ``CH`` lies
    at ``(y1 + i * (y2 - y1) / (CH - 1)) * (H - 1)``, in the middle of the box if ``CH`` is 1.

    Args:
        image (Tensor[N, C, H, W]): float64, float32, float16, bfloat16, or an integer type or
            bool, which is converted to float32.
        boxes (Tensor[K, 4]): ``(y1, x1, y2, x2)``, normalised so that 0 and 1 are the first and
            last row or column; may reach outside, and a box with ``y1 > y2`` is flipped.
        box_indices (Tensor[K]): int32 or int64, the image of each box.
        crop_size (int or (int, int)): ``(CH, CW)``.
        method (str): "bilinear", or "nearest" (halves are rounded up).
        extrapolation_value (float): the result where a sample lies outside the image, or is NaN.

    Returns:
        Tensor[K, C, CH, CW]: dtype of ``image`` (float32 for integers) and its memory format.

    Gradients: to ``image``, of any order; bilinear also to ``boxes``, of first order. As in
    TensorFlow the derivative at a whole pixel is zero. nearest is piecewise constant in
    ``boxes``: no gradient. Deterministic: on CPU, the same bits for any number of threads.

    Raises:
        IndexError: an index outside ``[0, N)``. On CUDA it is a device-side assertion.
        RuntimeError: any other wrong argument, with its name, the rule and its value.
    """
    if has_torch_function_variadic(image, boxes, box_indices):
        return as_one_call(
            crop_and_resize,
            (image, boxes, box_indices),
            image,
            boxes,
            box_indices,
            crop_size,
            method,
            extrapolation_value,
        )
    height, width = to_size("crop_and_resize", "crop_size", crop_size)
    if not torch.jit.is_scripting():
        check_tensors("crop_and_resize", image=image, boxes=boxes, box_indices=box_indices)
    output: Tensor = torch.ops.roiops.crop_and_resize(
        image, boxes, box_indices, height, width, method, extrapolation_value
    )
    return output


def roi_align_rotated(
    input: Tensor,
    rois: Tensor,
    output_size: BroadcastingList2[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = True,
    clockwise: bool = False,
) -> Tensor:
    """RoIAlign on rotated boxes: the sample grid is turned about the box's centre.

    The rule of Detectron2 (angles there in degrees) and MMCV, after RRPN (Ma et al.,
    arXiv:1703.01086).

    Args:
        input (Tensor[N, C, H, W]): float64, float32, float16 or bfloat16.
        rois (Tensor[K, 6]): ``(image, cx, cy, w, h, angle)`` in image coordinates, angle in
            radians.
        output_size (int or (int, int)): bins per box, ``(PH, PW)``, along the box's own axes.
        spatial_scale (float): feature-map pixels per unit of the boxes.
        sampling_ratio (int): as in :func:`roi_align`, at most 256.
        aligned (bool): shift centres by half a pixel; False also enlarges sides below one
            feature-map pixel to one.
        clockwise (bool): a positive angle turns the box clockwise as seen in the image.

    Returns:
        Tensor[K, C, PH, PW]: dtype and memory format of ``input``.

    Border, empty input, gradients (``input`` of any order, ``rois`` with the angle of first
    order), determinism and errors are those of :func:`roi_align`.
    """
    if has_torch_function_variadic(input, rois):
        return as_one_call(
            roi_align_rotated,
            (input, rois),
            input,
            rois,
            output_size,
            spatial_scale,
            sampling_ratio,
            aligned,
            clockwise,
        )
    height, width = to_size("roi_align_rotated", "output_size", output_size)
    if not torch.jit.is_scripting():
        check_tensors("roi_align_rotated", input=input, rois=rois)
    output: Tensor = torch.ops.roiops.roi_align_rotated(
        input, rois, spatial_scale, height, width, sampling_ratio, aligned, clockwise
    )
    return output


def deform_roi_pool(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    offset: Tensor | None,
    output_size: BroadcastingList2[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    gamma: float = 0.1,
) -> Tensor:
    """RoIAlign whose bins are moved by learned offsets (deformable RoI pooling).

    From Deformable ConvNets (Dai et al., arXiv:1703.06211, section 2.2), as in MMCV. Without an
    offset it is :func:`roi_align` with ``aligned=True``.

    Args:
        input (Tensor[N, C, H, W]): float64, float32, float16 or bfloat16.
        boxes (Tensor[K, 5] or list of N Tensor[L, 4]): as in :func:`roi_align`.
        offset (Tensor[K, 2, PH, PW] or None): how far each bin is moved, x then y, in units of
            ``gamma`` times the box's size.
        output_size (int or (int, int)): bins per box, ``(PH, PW)``.
        spatial_scale (float): feature-map pixels per unit of the boxes.
        sampling_ratio (int): as in :func:`roi_align`.
        gamma (float): unit of the offsets.

    Returns:
        Tensor[K, C, PH, PW]: dtype and memory format of ``input``.

    Gradients: to ``input``, of any order; to ``offset`` and ``boxes``, of first order, exact at the
    border too (MMCV's are not). Border, empty input, determinism and errors are those of
    :func:`roi_align`.
    """
    if has_torch_function_variadic(input, boxes, offset):
        return as_one_call(
            deform_roi_pool,
            (input, boxes, offset),
            input,
            boxes,
            offset,
            output_size,
            spatial_scale,
            sampling_ratio,
            gamma,
        )
    if not torch.jit.is_scripting() and offset is not None:
        check_tensors("deform_roi_pool", offset=offset)
    height, width = to_size("deform_roi_pool", "output_size", output_size)
    rois = to_rois("deform_roi_pool", input, boxes)
    output: Tensor = torch.ops.roiops.deform_roi_pool(
        input, rois, offset, spatial_scale, height, width, sampling_ratio, gamma
    )
    return output


def multiscale_roi_align(
    features: list[Tensor],
    boxes: Tensor | list[Tensor],
    output_size: BroadcastingList2[int],
    spatial_scales: list[float],
    sampling_ratio: int = -1,
    aligned: bool = False,
    canonical_scale: int = 224,
    canonical_level: int = 4,
) -> Tensor:
    """RoIAlign on the level of a feature pyramid that fits the box's size.

    From FPN (Lin et al., arXiv:1612.03144, equation 1): a box of size
    ``s = sqrt((x2 - x1) * (y2 - y1))`` belongs to level
    ``floor(canonical_level + log2(s / canonical_scale) + 1e-6)``, where the level of the first map
    is ``-log2(spatial_scales[0])``; boxes beyond the pyramid take its first or last map.

    Args:
        features (list of Tensor[N, C, Hi, Wi]): the maps, finest first; float64, float32, float16
            or bfloat16, all of one dtype.
        boxes (Tensor[K, 5] or list of N Tensor[L, 4]): as in :func:`roi_align`.
        output_size (int or (int, int)): bins per box, ``(PH, PW)``.
        spatial_scales (list of float): feature-map pixels per unit of the boxes, for each map;
            they must not increase.
        sampling_ratio, aligned: as in :func:`roi_align`.
        canonical_scale (int): the size of a box that belongs to ...
        canonical_level (int): ... this level.

    Returns:
        Tensor[K, C, PH, PW]: dtype and memory format of the first map, in the order of ``boxes``.

    One operator: no synchronisation, and an output size that does not depend on the levels. A box
    without a size (NaN, or one side negative) gives zeros.
    Gradients: to every map, of any order; to ``boxes``, of first order, with the level held
    constant. Border, empty input, determinism and errors are those of :func:`roi_align`.
    """
    if not torch.jit.is_scripting():
        if has_torch_function(flat(features, boxes)):
            return as_one_call(
                multiscale_roi_align,
                flat(features, boxes),
                features,
                boxes,
                output_size,
                spatial_scales,
                sampling_ratio,
                aligned,
                canonical_scale,
                canonical_level,
            )
        check_maps("multiscale_roi_align", "features", features)
        check_scales("multiscale_roi_align", spatial_scales)
    height, width = to_size("multiscale_roi_align", "output_size", output_size)
    rois = to_rois("multiscale_roi_align", features[0], boxes)
    output: Tensor = torch.ops.roiops.multiscale_roi_align(
        features,
        rois,
        spatial_scales,
        height,
        width,
        sampling_ratio,
        aligned,
        canonical_scale,
        canonical_level,
    )
    return output
