"""The operators as Python functions: each normalises its arguments and makes one call."""

import torch
from torch import Tensor
from torch.jit.annotations import BroadcastingList2
from torch.nn.modules.utils import _pair
from torch.overrides import handle_torch_function, has_torch_function_variadic

from roiops import _library  # noqa: F401 (loads the operators)


def _boxes_to_rois(op: str, input: Tensor, boxes: list[Tensor]) -> Tensor:
    """Concatenates per-image boxes [L, 4] to rois [K, 5], the image's number in front."""
    rois = torch.jit.annotate(list[Tensor], [])
    for image, box in enumerate(boxes):
        if box.dim() != 2 or box.size(1) != 4:
            raise RuntimeError(
                f"{op}: each tensor of `boxes` must have shape [L, 4] (x1, y1, x2, y2), "
                f"but got {list(box.size())} for image {image}."
            )
        if box.dtype == torch.float16 or box.dtype == torch.bfloat16:
            box = box.to(torch.float32)  # 16-bit floats cannot number the images of a large batch
        rois.append(torch.cat([torch.full_like(box[:, :1], image), box], dim=1))
    if len(rois) == 0:
        return torch.zeros([0, 5], dtype=torch.float32, device=input.device)
    return torch.cat(rois, dim=0)


def roi_align(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: BroadcastingList2[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Averages bilinear samples of ``input`` in each bin of each box (RoIAlign).

    From Mask R-CNN (He et al., arXiv:1703.06870, section 3). Each box is cut into ``output_size``
    bins; in each bin a grid of samples is interpolated from the four nearest pixels and averaged.

    Args:
        input (Tensor[N, C, H, W]): float64, float32, float16 or bfloat16; contiguous and
            channels_last are read as they are, anything else may be copied.
        boxes (Tensor[K, 5] or list of N Tensor[L, 4]): ``(image, x1, y1, x2, y2)``, or
            ``(x1, y1, x2, y2)`` for each image, in image coordinates, ends exclusive. Any of the
            dtypes above, on the device of ``input``. float32 boxes beside 16-bit features are
            recommended: 16-bit floats lose coordinates and cannot number the images of a large
            batch. The image column is truncated toward zero.
        output_size (int or (int, int)): bins per box, ``(PH, PW)``.
        spatial_scale (float): feature-map pixels per unit of the boxes, for example 1/4.
        sampling_ratio (int): samples per bin and axis, at most 65536. Zero or less takes one
            sample per feature-map pixel of the bin, rounded up.
        aligned (bool): True shifts the boxes by half a pixel, so that pixel centres lie at
            integer + 0.5 (Detectron2's rule). False does not shift, and enlarges boxes below one
            feature-map pixel to one.

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
        IndexError: a box names an image outside ``[0, N)``.
        RuntimeError: any other wrong argument, with its name, the rule and its value.
    """
    # Proxies of symbolic traces and tensor subclasses see this function, not what it does.
    if has_torch_function_variadic(input, boxes):
        return handle_torch_function(
            roi_align,
            (input, boxes),
            input,
            boxes,
            output_size,
            spatial_scale=spatial_scale,
            sampling_ratio=sampling_ratio,
            aligned=aligned,
        )
    size = _pair(output_size)
    if len(size) != 2:
        raise RuntimeError(
            "roi_align: `output_size` must be one size or (height, width), "
            f"but got {len(size)} sizes."
        )
    rois = boxes if isinstance(boxes, Tensor) else _boxes_to_rois("roi_align", input, boxes)
    output: Tensor = torch.ops.roiops.roi_align(
        input, rois, spatial_scale, size[0], size[1], sampling_ratio, aligned
    )
    return output
