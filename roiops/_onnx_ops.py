"""A translation into ONNX for each operator: see roiops.onnx.

The exporter calls them with the arguments of the schema, tensors as values of the graph; arguments
that have their default may be missing.
"""

from __future__ import annotations

from math import copysign, floor, log2, nan
from typing import Any

from roiops._onnx_graph import (
    DOUBLE,
    EPSILON,
    FLOAT,
    INT64,
    MOST_PIXELS,
    Features,
    OnlyValues,
    Value,
    cast,
    columns,
    from_bins,
    images_of,
    keep_finite,
    op,
    per_box,
    pool_boxes,
    require,
    require_size,
    reshape,
    roi_align_node,
    round_half_away,
    size_of,
    split_by_bin,
    start_and_size,
    typed,
)


def derivative(*args: Any, **kwargs: Any) -> None:
    """Of the private operators behind gradients."""
    require(False, "gradients cannot be exported: there are no ONNX operators for them.")


def roi_align(
    input: Value,
    rois: Value,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Value:
    require_size("roi_align", pooled_height, pooled_width)
    features = Features.of(input)
    size = (pooled_height, pooled_width)
    return features.result(
        align(features, features.boxes(rois), images_of(rois), size, spatial_scale,
              sampling_ratio, aligned)
    )  # fmt: skip


def align(
    features: Features,
    boxes: Value,
    images: Value,
    size: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Value:
    """RoiAlign, of boxes that may be anything."""
    if features.dtype == DOUBLE:  # the attribute is float32
        boxes, scale = boxes * features.constant(scale), 1.0
    boxes = keep_finite(features, boxes, scale, positive=aligned and sampling_ratio <= 0)
    return roi_align_node(features, boxes, images, size, scale, sampling_ratio, aligned)


def bin_numbers(features: Features, height: int, width: int, add: int = 0) -> Value:
    """[1, PH * PW, 2]: (q, p) of each bin."""
    numbers = [[float(q + add), float(p + add)] for p in range(height) for q in range(width)]
    return features.constant([numbers])


def pool_moved_bins(
    features: Features,
    rois: Value,
    images: Value,
    scale: float,
    size: tuple[int, int],
    sampling_ratio: int,
    shift: Value | None = None,
) -> Value:
    """Each bin as a box of its own, moved by `shift` [K, PH * PW, 2] times the RoI's size."""
    ends = start_and_size(features, features.boxes(rois), scale)
    start, extent = (op.Unsqueeze(end, [1]) for end in ends)
    if shift is not None:
        start = start + shift * extent
    step = extent / features.constant([[[float(size[1]), float(size[0])]]])
    low = start + bin_numbers(features, *size) * step + features.constant(0.5)
    if sampling_ratio <= 0:
        step = keep_count(features, low, step)
    return pool_boxes(features, low, low + step, images, sampling_ratio)


def keep_count(features: Features, low: Value, step: Value) -> Value:
    """Bin sizes that RoiAlign rounds up to the number of samples that eager mode takes.

    RoiAlign subtracts a bin's ends, and where rounding leads across a whole number the size is
    corrected by the possible error. Elsewhere it stays as it is, for samples at the very border.
    """
    one, half = features.constant(1.0), features.constant(0.5)
    count, seen = op.Ceil(step), op.Ceil((low + step - half) - (low - half))
    error = (op.Abs(low) + op.Abs(step) + one) * features.constant(4 * EPSILON[features.dtype])
    corrected = op.Min(op.Max(step, count - one + error), count - error)
    return op.Where(op.Equal(seen, count), step, corrected)


def ps_roi_align(
    input: Value,
    rois: Value,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int = -1,
) -> Value:
    require_size("ps_roi_align", pooled_height, pooled_width)
    bins, size = pooled_height * pooled_width, (pooled_height, pooled_width)
    features, channels = split_by_bin(Features.of(input), bins)
    images = per_box(images_of(rois), bins, own_maps=True)
    pooled = pool_moved_bins(features, rois, images, spatial_scale, size, sampling_ratio)
    return features.result(from_bins(pooled, rois, channels, *size))


def deform_roi_pool(
    input: Value,
    rois: Value,
    offset: Value | None,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int = 0,
    gamma: float = 0.1,
) -> Value:
    require_size("deform_roi_pool", pooled_height, pooled_width)
    if offset is None:
        return roi_align(
            input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, True
        )
    bins, size = pooled_height * pooled_width, (pooled_height, pooled_width)
    features = Features.of(input)
    moves = op.Transpose(reshape(offset, size_of(offset, 0), 2, bins), perm=[0, 2, 1])
    shift = cast(moves, offset.dtype, features.dtype) * features.constant(gamma)
    images = per_box(images_of(rois), bins)
    pooled = pool_moved_bins(features, rois, images, spatial_scale, size, sampling_ratio, shift)
    return features.result(from_bins(pooled, rois, size_of(input, 1), *size))


def ps_roi_pool(
    input: Value,
    rois: Value,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
) -> Value:
    """Boxes that end on pixel borders: one adaptive sample per pixel, at its centre."""
    require_size("ps_roi_pool", pooled_height, pooled_width)
    bins, size = pooled_height * pooled_width, (pooled_height, pooled_width)
    features, channels = split_by_bin(Features.of(input), bins)
    boxes = keep_finite(features, features.boxes(rois), spatial_scale)
    edges = op.Clip(
        round_half_away(features, boxes * features.constant(spatial_scale)),
        features.constant(-MOST_PIXELS),
        features.constant(MOST_PIXELS),
    )
    edges = op.Unsqueeze(op.Cast(edges, to=INT64), [1])  # float32 has no odd number beyond 2^24
    first = op.Slice(edges, [0], [2], [2])
    extent = op.Max(op.Slice(edges, [2], [4], [2]) - first, typed([1], INT64))
    counts = features.constant([[[float(pooled_width), float(pooled_height)]]])
    step = op.Cast(extent, to=features.dtype) / counts
    low = op.Floor(bin_numbers(features, *size) * step)
    high = op.Ceil(bin_numbers(features, *size, add=1) * step)
    ends = op.Concat(size_of(input, 3), size_of(input, 2), axis=0)
    low, high = (first + op.Cast(edge, to=INT64) for edge in (low, high))
    low, high = (op.Min(op.Max(edge, typed([0], INT64)), ends) for edge in (low, high))
    low, high = (op.Cast(edge, to=features.dtype) for edge in (low, high))
    images = per_box(images_of(rois), bins, own_maps=True)
    pooled = pool_boxes(features, low, high, images, sampling_ratio=0)
    return features.result(from_bins(pooled, rois, channels, *size))


def roi_pool(
    input: Value,
    rois: Value,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
) -> OnlyValues:
    require_size("roi_pool", pooled_height, pooled_width)
    require(
        input.dtype != DOUBLE,
        "roi_pool: `input` must not be float64 to be exported, because ONNX Runtime's MaxRoiPool "
        "is float32 only. Export the model in float32.",
    )
    features = Features.of(input)
    limit = MOST_PIXELS / spatial_scale
    boxes = op.Clip(
        keep_finite(features, features.boxes(rois), spatial_scale),
        features.constant(-limit),
        features.constant(limit),
    )
    image = op.Cast(columns(rois, 0, 1), to=FLOAT)
    pooled = op.MaxRoiPool(
        features.maps,
        op.Concat(image, boxes, axis=1),
        pooled_shape=[pooled_height, pooled_width],
        spatial_scale=spatial_scale,
    )
    return OnlyValues("roi_pool", features.result(pooled))


def multiscale_roi_align(
    features: list[Value],
    rois: Value,
    spatial_scales: list[float],
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int = -1,
    aligned: bool = False,
    canonical_scale: int = 224,
    canonical_level: int = 4,
) -> Value:
    """Each level pools its own boxes; then their rows are put in order."""
    require_size("multiscale_roi_align", pooled_height, pooled_width)
    maps, images = [Features.of(map) for map in features], images_of(rois)
    boxes, size = maps[0].boxes(rois), (pooled_height, pooled_width)
    extent = columns(boxes, 2, 4) - columns(boxes, 0, 2)
    side = op.Sqrt(columns(extent, 0, 1) * columns(extent, 1, 2))
    # A box without a size (NaN: one side is negative) gives zeros.
    boxes = op.Where(side >= maps[0].constant(0.0), boxes, maps[0].constant(nan))
    exact = -log2(spatial_scales[0])
    first = int(copysign(floor(abs(exact) + 0.5), exact))  # halves away from zero
    levels = range(first + 1, first + len(maps))
    least = [canonical_scale * 2.0 ** (level - canonical_level - 1e-6) for level in levels]
    level = op.ReduceSum(op.Cast(side >= maps[0].constant([least]), to=INT64), [1], keepdims=0)

    pooled, rows = [], []
    for number, (map, scale) in enumerate(zip(maps, spatial_scales, strict=True)):
        mine = op.Squeeze(op.NonZero(op.Equal(level, typed(number, INT64))), [0])
        own = op.Gather(boxes, mine, axis=0), op.Gather(images, mine, axis=0)
        pooled.append(align(map, *own, size, scale, sampling_ratio, aligned))
        rows.append(mine)
    place = op.Concat(*rows, axis=0)  # of each pooled row among the boxes
    number = op.Range(typed(0, INT64), op.Squeeze(size_of(place, 0)), typed(1, INT64))
    order = op.ScatterElements(place, place, number, axis=0)
    return maps[0].result(op.Gather(op.Concat(*pooled, axis=0), order, axis=0))
