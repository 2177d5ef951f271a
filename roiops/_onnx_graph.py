"""What the ONNX translations share. Importing it needs onnxscript: see roiops.onnx.

NOTE [RoiAlign samples everything]
ONNX's RoiAlign has the very sampler of ours: its border rule, and an image number per box. So bins
become its boxes, of one bin each (`pool_boxes`), and where bins are not upright, samples do: a box
without size and with one sample is a point (`sample_points`). Features are never copied per box.
GridSample on all images stacked took three times as long in ONNX Runtime, with four times the
error, since its coordinates are normalised.

NOTE [Boxes outside the map]
A box that must give zeros is replaced by one outside the map, where RoiAlign has no sample. ONNX
Runtime refuses the whole call if one box is not finite, and fails if one that is sampled
adaptively has one negative side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnxscript  # type: ignore[import-not-found,unused-ignore]

ir: Any = onnxscript.ir
op: Any = onnxscript.opset18
Value = Any  # of the graph: an ir.Value, with Python's operators
Type = Any  # an ir.DataType

FLOAT, DOUBLE, INT64 = ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT64
BOOL = ir.DataType.BOOL
LARGEST = {FLOAT: 3.4028234e38, DOUBLE: 1.7976931348623157e308}
EPSILON = {FLOAT: 2.0**-23, DOUBLE: 2.0**-52}
# Whole pixels: in ONNX Runtime those of MaxRoiPool have 32 bits, and Max and Min of int64 compare
# the low 32 bits only (1.31).
MOST_PIXELS = 2.0**29
OUTSIDE = -4.0  # in feature-map pixels, of which samples count from -1 on


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise RuntimeError(f"roiops.onnx: {sentence}")


def require_size(name: str, *sizes: Any, argument: str = "output_size") -> None:
    shown = ", ".join(str(s) if isinstance(s, int) else "symbolic" for s in sizes)
    require(
        all(isinstance(size, int) for size in sizes),
        f"{name}: `{argument}` must be known when exporting, because ONNX has it as an attribute, "
        f"but got ({shown}). Do not mark it as dynamic.",
    )


def require_fixed_ratio(name: str, sampling_ratio: int) -> None:
    require(
        sampling_ratio > 0,
        f"{name}: `sampling_ratio` must be greater than 0 to be exported, but got "
        f"{sampling_ratio}. Adaptive sampling takes a number of samples that differs from box to "
        "box, which no standard ONNX operator does here. Pass a fixed number, for example 2.",
    )


class OnlyValues(list[Any]):
    """The results of an operator whose second one, the winners, has no form in ONNX."""

    def __init__(self, name: str, values: Value) -> None:
        super().__init__([values])
        self.name = name

    def __getitem__(self, index: Any) -> Any:
        require(
            index == 0,
            f"{self.name}: the positions of the maxima cannot be exported, because no ONNX "
            "operator returns them. Use the first result only.",
        )
        return super().__getitem__(0)


def cast(value: Value, have: Type, want: Type) -> Value:
    """The types of intermediate values are not known to the exporter, hence `have`."""
    return value if have == want else op.Cast(value, to=want)


def typed(value: Any, dtype: Type) -> Value:
    return op.Constant(value=ir.tensor(value, dtype=dtype))


@dataclass(frozen=True)
class Features:
    """Maps [N, C, H, W] in the type in which positions, weights and sums are computed."""

    maps: Value
    dtype: Type  # float32, or float64 for float64 features, as in eager mode
    result_type: Type

    @staticmethod
    def of(input: Value) -> Features:
        floats = (FLOAT, DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
        dtype = DOUBLE if input.dtype == DOUBLE else FLOAT
        result_type = input.dtype if input.dtype in floats else FLOAT
        return Features(cast(input, input.dtype, dtype), dtype, result_type)

    def result(self, value: Value) -> Value:
        return cast(value, self.dtype, self.result_type)

    def constant(self, value: Any) -> Value:
        return typed(value, self.dtype)

    def boxes(self, rois: Value, last: int = 5) -> Value:
        """The columns after the image number."""
        return cast(columns(rois, 1, last), rois.dtype, self.dtype)

    def size(self, dimension: int) -> Value:
        """H (2) or W (3), to compute with."""
        return op.Cast(size_of(self.maps, dimension), to=self.dtype)


def size_of(value: Value, first: int, last: int | None = None) -> Value:
    """Sizes of the dimensions from `first` to before `last` (of one if not told): int64, 1-d."""
    return op.Shape(value, start=first, end=first + 1 if last is None else last)


def reshape(value: Value, *sizes: Value | int) -> Value:
    """Each size is a number or a 1-d tensor; -1 only where no other size can be zero."""
    shape = [typed([s], INT64) if isinstance(s, int) else s for s in sizes]
    return op.Reshape(value, op.Concat(*shape, axis=0), allowzero=1)


def columns(value: Value, first: int, last: int) -> Value:
    return op.Slice(value, [first], [last], [1])


def images_of(rois: Value) -> Value:
    """[K] int64, truncated toward zero."""
    return op.Squeeze(op.Cast(columns(rois, 0, 1), to=INT64), [1])


def start_and_size(
    features: Features, boxes: Value, scale: float, offset: float = 0.5
) -> tuple[Value, Value]:
    """Of boxes [K, 4], in feature-map pixels: [K, 2] (x, y) each."""
    factor, shift = features.constant(scale), features.constant(offset)
    low = columns(boxes, 0, 2) * factor - shift
    return low, columns(boxes, 2, 4) * factor - shift - low


def round_half_away(features: Features, value: Value) -> Value:
    """Halves away from zero, where ONNX's Round takes the even neighbour."""
    size = op.Abs(value)
    below = op.Floor(size)
    up = op.Cast(size - below >= features.constant(0.5), to=features.dtype)
    return op.Sign(value) * (below + up)


def keep_finite(
    features: Features, boxes: Value, scale: float = 1.0, positive: bool = False
) -> Value:
    """Boxes [K, 4 or 5], with those that give zeros moved out of the map.

    These are the boxes that are not finite, or so large that a product would not be; with
    `positive` also those without area (adaptive sampling and no minimum size: no sample).
    """
    limit = features.constant(LARGEST[features.dtype] / (8 * max(scale, 1.0)))
    good = op.ReduceSum(op.Abs(boxes), [1], keepdims=1) <= limit
    if positive:
        size = columns(boxes, 2, 4) - columns(boxes, 0, 2)
        good = op.And(good, op.ReduceMin(size, [1], keepdims=1) > features.constant(0.0))
    return op.Where(good, boxes, features.constant(OUTSIDE / scale))


def roi_align_node(
    features: Features,
    boxes: Value,
    images: Value,
    size: tuple[int, int] = (1, 1),
    scale: float = 1.0,
    sampling_ratio: int = 1,
    aligned: bool = True,
) -> Value:
    return op.RoiAlign(
        features.maps,
        boxes,
        images,
        mode="avg",
        output_height=size[0],
        output_width=size[1],
        spatial_scale=scale,
        sampling_ratio=max(sampling_ratio, 0),
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )


def per_box(images: Value, count: int, own_maps: bool = False) -> Value:
    """The image numbers of `count` consecutive items per box: [K] -> [K * count].

    With own maps, item i of image n reads map n * count + i (`split_by_bin`).
    """
    items = list(range(count)) if own_maps else [0] * count
    first = op.Unsqueeze(images, [1]) * typed([count if own_maps else 1], INT64)
    return reshape(first + typed([items], INT64), -1)


def pool_boxes(
    features: Features, low: Value, high: Value, images: Value, sampling_ratio: int
) -> Value:
    """Averages samples in the boxes `low` to `high` [K, B, 2] (x, y): [K * B, C, 1, 1].

    Pixel centres lie at integer + 0.5.
    """
    boxes = reshape(op.Concat(low, high, axis=2), -1, 4)
    boxes = keep_finite(features, boxes, positive=sampling_ratio <= 0)
    return roi_align_node(features, boxes, images, sampling_ratio=sampling_ratio)


def accepted(features: Features, y: Value, x: Value) -> Value:
    """Which samples lie no more than a pixel outside the map; NaN does not."""
    low, height, width = features.constant(-1.0), features.size(2), features.size(3)
    return op.And(op.And(y >= low, y <= height), op.And(x >= low, x <= width))


def sample_points(
    features: Features, images: Value, y: Value, x: Value, inside: Value, count: int
) -> Value:
    """Interpolates at `count` positions [K, P] per box: [K * P, C, 1, 1]; 0 if not `inside`."""
    centre, outside = features.constant(0.5), features.constant(OUTSIDE)
    y, x = (op.Unsqueeze(op.Where(inside, p, outside) + centre, [2]) for p in (y, x))
    boxes = reshape(op.Concat(x, y, x, y, axis=2), -1, 4)
    return roi_align_node(features, boxes, per_box(images, count))


def from_bins(values: Value, like: Value, channels: Value, height: int, width: int) -> Value:
    """[K, PH * PW, C], in whatever shape, to [K, C, PH, PW]; K is that of `like`."""
    count = size_of(like, 0)
    rows = op.Transpose(reshape(values, count, height * width, channels), perm=[0, 2, 1])
    return reshape(rows, count, channels, height, width)


def split_by_bin(features: Features, bins: int) -> tuple[Features, Value]:
    """A map of its own for each bin: [N, C * B, H, W] to [N * B, C, H, W]; and C."""
    maps, number = features.maps, typed([bins], INT64)
    images, plane = size_of(maps, 0), size_of(maps, 2, 4)
    channels = op.Div(size_of(maps, 1), number)
    split = op.Transpose(reshape(maps, images, channels, bins, plane), perm=[0, 2, 1, 3, 4])
    own = reshape(split, images * number, channels, plane)
    return Features(own, features.dtype, features.result_type), channels
