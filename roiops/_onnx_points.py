"""ONNX translations of the operators whose samples, or weights, are not RoiAlign's.

See roiops.onnx, and NOTE [RoiAlign samples everything].
"""

from __future__ import annotations

from math import inf

from roiops._onnx_graph import (
    INT64,
    Features,
    OnlyValues,
    Value,
    accepted,
    cast,
    columns,
    from_bins,
    images_of,
    ir,
    keep_finite,
    op,
    require_fixed_ratio,
    require_size,
    reshape,
    round_half_away,
    sample_points,
    size_of,
    start_and_size,
    typed,
)


def sample_numbers(features: Features, height: int, width: int, ratio: int) -> tuple[Value, Value]:
    """Where samples lie in their RoI, in bins: y and x, [1, PH * PW * ratio * ratio] each.

    Bin by bin, so that a bin's samples are neighbours.
    """
    grid = [
        (p + (i + 0.5) / ratio, q + (j + 0.5) / ratio)
        for p in range(height)
        for q in range(width)
        for i in range(ratio)
        for j in range(ratio)
    ]
    return features.constant([[y for y, _ in grid]]), features.constant([[x for _, x in grid]])


def at_least_one(features: Features, size: Value, aligned: bool) -> Value:
    """Boxes that are not aligned are no smaller than a pixel."""
    return size if aligned else op.Max(size, features.constant(1.0))


def values_at(
    features: Features, images: Value, y: Value, x: Value, inside: Value, bins: int, samples: int
) -> Value:
    """Of `samples` points in each bin of each box, at y and x [K, B * S]: [K, B, S, C]."""
    count = bins * samples
    values = sample_points(features, images, y, x, inside, count)
    return reshape(values, size_of(images, 0), bins, samples, size_of(features.maps, 1))


def roi_align_rotated(
    input: Value,
    rois: Value,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int = -1,
    aligned: bool = True,
    clockwise: bool = False,
) -> Value:
    require_size("roi_align_rotated", pooled_height, pooled_width)
    require_fixed_ratio("roi_align_rotated", sampling_ratio)
    features, size = Features.of(input), (pooled_height, pooled_width)
    boxes = keep_finite(features, features.boxes(rois, 6), spatial_scale)
    scaled = columns(boxes, 0, 4) * features.constant(spatial_scale)
    centre = columns(scaled, 0, 2) - features.constant(0.5 if aligned else 0.0)
    extent = at_least_one(features, columns(scaled, 2, 4), aligned)
    angle = columns(boxes, 4, 5)
    angle = op.Neg(angle) if clockwise else angle
    y, x = sample_numbers(features, *size, sampling_ratio)
    half = features.constant(0.5)
    y = (y / features.constant(float(pooled_height)) - half) * columns(extent, 1, 2)
    x = (x / features.constant(float(pooled_width)) - half) * columns(extent, 0, 1)
    cosine, sine = op.Cos(angle), op.Sin(angle)
    at_y = y * cosine - x * sine + columns(centre, 1, 2)
    at_x = y * sine + x * cosine + columns(centre, 0, 1)

    bins, inside = pooled_height * pooled_width, accepted(features, at_y, at_x)
    values = values_at(features, images_of(rois), at_y, at_x, inside, bins, sampling_ratio**2)
    pooled = op.ReduceMean(values, [2], keepdims=0)
    return features.result(from_bins(pooled, rois, size_of(input, 1), *size))


def roi_align_max(
    input: Value,
    rois: Value,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> OnlyValues:
    """The largest of the points that count. ONNX's mode "max" is another function."""
    name = 'roi_align(mode="max")'
    require_size(name, pooled_height, pooled_width)
    require_fixed_ratio(name, sampling_ratio)
    features, size = Features.of(input), (pooled_height, pooled_width)
    offset = 0.5 if aligned else 0.0
    boxes = keep_finite(features, features.boxes(rois), spatial_scale)
    start, extent = start_and_size(features, boxes, spatial_scale, offset)
    counts = features.constant([float(pooled_width), float(pooled_height)])
    step = at_least_one(features, extent, aligned) / counts
    y, x = sample_numbers(features, *size, sampling_ratio)
    y = columns(start, 1, 2) + y * columns(step, 1, 2)
    x = columns(start, 0, 1) + x * columns(step, 0, 1)

    bins, samples = pooled_height * pooled_width, sampling_ratio**2
    inside = accepted(features, y, x)
    values = values_at(features, images_of(rois), y, x, inside, bins, samples)
    candidate = reshape(inside, size_of(rois, 0), bins, samples, 1)
    values = op.Where(candidate, values, features.constant(-inf))
    largest = op.ReduceMax(values, [2], keepdims=0)
    found = op.ReduceMax(op.Cast(candidate, to=features.dtype), [2], keepdims=0)
    zero = features.constant(0.0)
    pooled = op.Where(found > zero, largest, zero)
    pooled = from_bins(pooled, rois, size_of(input, 1), *size)
    return OnlyValues(name, features.result(pooled))


def crop_axis(features: Features, low: Value, high: Value, bins: int, last: Value) -> Value:
    """Positions along an axis: [K, bins]."""
    if bins == 1:
        return features.constant(0.5) * (low + high) * last
    step = (high - low) * last / features.constant(float(bins - 1))
    return low * last + features.constant([[float(i) for i in range(bins)]]) * step


def crop_and_resize(
    image: Value,
    boxes: Value,
    box_indices: Value,
    crop_height: int,
    crop_width: int,
    method: str = "bilinear",
    extrapolation_value: float = 0.0,
) -> Value:
    """A point for each pixel of the crop."""
    require_size("crop_and_resize", crop_height, crop_width, argument="crop_size")
    features, size, bins = Features.of(image), (crop_height, crop_width), crop_height * crop_width
    boxes = cast(boxes, boxes.dtype, features.dtype)
    zero, one = features.constant(0.0), features.constant(1.0)
    axes, insides = [], []
    for axis in (0, 1):
        last = features.size(2 + axis) - one
        edges = columns(boxes, axis, axis + 1), columns(boxes, axis + 2, axis + 3)
        at = crop_axis(features, *edges, size[axis], last)
        insides.append(op.Unsqueeze(op.And(at >= zero, at <= last), [2 - axis]))
        at = round_half_away(features, at) if method == "nearest" else at
        axes.append(op.Unsqueeze(at, [2 - axis]))
    count, grid = size_of(boxes, 0), op.And(*insides)  # [K, CH, CW]
    y, x = (reshape(op.Expand(at, op.Shape(grid)), count, bins) for at in axes)
    inside = reshape(grid, count, bins)
    images = cast(box_indices, box_indices.dtype, INT64)
    values = values_at(features, images, y, x, inside, bins, 1)
    outside = features.constant(extrapolation_value)
    values = op.Where(op.Unsqueeze(inside, [2, 3]), values, outside)
    return features.result(from_bins(values, boxes, size_of(image, 1), *size))


def tent_means(features: Features, start: Value, step: Value, bins: int, pixels: Value) -> Value:
    """prroi_pool's weights along an axis, of start and bin size [K, 1]: [K, bins, pixels].

    The mean over each bin of every pixel's tent function: its integral is length times middle
    height of its two straight pieces.
    """
    zero, one, half = (features.constant(v) for v in (0.0, 1.0, 0.5))
    numbers = features.constant([[float(p) for p in range(bins)]])
    low = op.Unsqueeze(start + numbers * step, [2])
    high = low + op.Unsqueeze(step, [2])
    size = high - low
    pixel = op.Cast(op.Range(typed(0, INT64), op.Squeeze(pixels), typed(1, INT64)),
                    to=features.dtype)  # fmt: skip
    a, b = low - pixel, high - pixel
    left_a, left_b = op.Max(a, op.Neg(one)), op.Min(b, zero)
    right_a, right_b = op.Max(a, zero), op.Min(b, one)
    left = op.Relu(left_b - left_a) * (one + (left_a + left_b) * half)
    right = op.Relu(right_b - right_a) * (one - (right_a + right_b) * half)
    return op.Where(size > zero, (left + right) / size, zero)


def one_hot(features: Features, images: Value) -> Value:
    """[K, N], of image numbers that must exist."""
    count = size_of(features.maps, 0)
    square = op.ConstantOfShape(op.Concat(count, count, axis=0), value=ir.tensor([0.0]))
    identity = op.Cast(op.EyeLike(square), to=features.dtype)
    # Gather counts negative indices from the end.
    images = op.Where(images >= typed([0], INT64), images, count)
    return op.Gather(identity, images, axis=0)


def prroi_pool(
    input: Value,
    rois: Value,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
) -> Value:
    """The weights of both axes, dense, times the maps: rows of all images at once."""
    require_size("prroi_pool", pooled_height, pooled_width)
    features = Features.of(input)
    boxes = keep_finite(features, features.boxes(rois), spatial_scale)
    start, extent = start_and_size(features, boxes, spatial_scale, 0.0)
    images, channels, height, width = (size_of(input, d) for d in range(4))
    weights = []
    for axis, bins, pixels in ((1, pooled_height, height), (0, pooled_width, width)):
        step = columns(extent, axis, axis + 1) / features.constant(float(bins))
        weights.append(tent_means(features, columns(start, axis, axis + 1), step, bins, pixels))
    down, across = weights
    count = size_of(rois, 0)
    chosen = op.Unsqueeze(one_hot(features, images_of(rois)), [1, 3])  # [K, 1, N, 1]
    down = op.Unsqueeze(down, [2]) * chosen  # [K, PH, N, H]
    lines = op.Mul(images, height)
    down = reshape(down, op.Mul(count, typed([pooled_height], INT64)), lines)
    maps = op.Transpose(features.maps, perm=[0, 2, 1, 3])
    maps = reshape(maps, lines, op.Mul(channels, width))
    rows = op.MatMul(down, maps)  # [K * PH, C * W]
    rows = reshape(rows, count, op.Mul(channels, typed([pooled_height], INT64)), width)
    pooled = op.MatMul(rows, op.Transpose(across, perm=[0, 2, 1]))  # [K, PH * C, PW]
    pooled = reshape(pooled, count, pooled_height, channels, pooled_width)
    return features.result(op.Transpose(pooled, perm=[0, 2, 1, 3]))
