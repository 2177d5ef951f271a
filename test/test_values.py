"""What the forwards compute: against the float64 reference, on hard boxes, and in odd numbers."""

from __future__ import annotations

import time

import pytest
import reference
import torch
from boxes import finite_boxes, hard_boxes, huge_boxes, non_finite_boxes, outside_boxes
from cases import DTYPES, Case, Options, make_case
from op_table import Op, each_op, each_option, few_options, some_ops
from tolerance import HALF_TYPES, assert_close, assert_same_bits

H, W = 11, 13

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
half_types = pytest.mark.parametrize("dtype", HALF_TYPES, ids=("float16", "bfloat16"))


def check_forward(case: Case, names, most_doubtful: float = 0.3) -> None:
    actual = case()
    assert actual.dtype == case.dtype
    expected, slack = reference.values(case)
    magnitude = reference.largest_of(case) + abs(case.options.extrapolation_value)
    doubtful = float((slack.flatten(1).amax(1) > 0.01 * magnitude).double().mean())
    assert doubtful < most_doubtful, f"rounding decides {doubtful:.0%} of the rows"
    assert_close(actual, expected, magnitude, slack, list(names))


@each_option
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=("float64", "float32"))
def test_forward_equals_reference(op: Op, options, dtype, device, generator) -> None:
    case = make_case(op, options, generator, dtype=dtype, device=device)
    check_forward(case, hard_boxes(H, W))


@few_options
@each_dtype
@pytest.mark.parametrize("boxes_dtype", DTYPES, ids=lambda d: f"boxes_{str(d)[6:]}")
def test_forward_equals_reference_in_mixed_types(
    op, options, dtype, boxes_dtype, device, generator
) -> None:
    case = make_case(op, options, generator, dtype=dtype, boxes_dtype=boxes_dtype, device=device)
    check_forward(case, hard_boxes(H, W))


SMALL_MAPS = [(1, 1), (1, 2), (2, 1), (2, 2), (1, W), (H, 1)]


def between_nans(plane: torch.Tensor) -> torch.Tensor:
    """The same map in memory where NaN lies before and after each plane: reading past one shows."""
    n, c, h, w = plane.shape
    padded = plane.new_full((n + 2, 2 * c + 1, h, w), torch.nan)[1 : n + 1, 1::2]
    return padded.copy_(plane)


@few_options
@pytest.mark.parametrize("dtype", DTYPES[1:3], ids=("float32", "float16"))
@pytest.mark.parametrize("size", SMALL_MAPS, ids=lambda s: f"map{s[0]}x{s[1]}")
def test_small_maps_equal_reference(op, options, dtype, size, device, generator) -> None:
    boxes = hard_boxes(*size) | {f"{n}_of_large_map": b for n, b in hard_boxes(H, W).items()}
    case = make_case(
        op, options, generator, size, boxes, dtype=dtype, boxes_dtype=torch.float32, device=device
    ).map(between_nans)
    check_forward(case, boxes, 0.4)
    assert case().isfinite().all()


@few_options
@each_dtype
def test_non_finite_boxes_give_zeros(op: Op, options, dtype, device, generator) -> None:
    boxes = non_finite_boxes(H, W)
    case = make_case(op, options, generator, boxes=boxes, dtype=dtype, device=device)
    out = case.map(lambda m: m + 9)()
    empty = options.extrapolation_value if op.has_indices else 0.0
    assert_same_bits(out, torch.full_like(out, empty))


@each_op
def test_non_finite_angles_and_offsets_give_zeros(op: Op, device, generator) -> None:
    for bad in (torch.nan, torch.inf, -torch.inf):
        case = make_case(op, op.few_options[0], generator, device=device)
        case = case.map(lambda m: m.abs() + 9)
        if op.columns == 5:
            case.boxes[:, 5] = bad
            assert not case().any()
        elif op.has_offset:
            case.extra[:, :, 0, 0] = bad
            assert not case()[:, :, 0, 0].any()
            by_boxes, by_extra = case.box_gradients(torch.ones_like(case()))
            assert by_boxes.isfinite().all() and by_extra.isfinite().all()


@few_options
def test_values_of_huge_boxes_stay_within_those_of_the_map(op, options, device, generator) -> None:
    case = make_case(op, options, generator, boxes=huge_boxes(H, W), dtype=torch.float32)
    case = case.to(device).linear
    assert case().abs().max() <= max(m.abs().max() for m in case.maps)


@each_op
@pytest.mark.parametrize("ratio", [-1, 64])
@pytest.mark.parametrize("aligned", [False, True])
def test_huge_boxes_take_no_time(op, ratio, aligned, device, generator) -> None:
    boxes = huge_boxes(64, 64) | non_finite_boxes(64, 64)
    options = Options((7, 7), 1.0, ratio, aligned)
    case = make_case(op, options, generator, (64, 64), boxes, dtype=torch.float32, device=device)
    started = time.perf_counter()
    out = case()
    gradients = [*case.input_gradients(out), *case.box_gradients(out)]
    # a turned grid of ratio 64 has 49 * 64 * 64 samples per box, none of which can be left out
    assert time.perf_counter() - started < (2 if op.columns == 5 and ratio == 64 else 1)
    assert all(g.isfinite().all() for g in gradients)


@some_ops(lambda op: op.samples)
def test_largest_sampling_ratio_only_costs_the_samples_on_the_map(op, device, generator) -> None:
    boxes = {"outside": (20, 2, 24, 6), "inside": (1, 2, 5, 6)}
    options = Options((1, 1), 1.0, op.most_samples, offset=False)
    case = make_case(op, options, generator, (8, 8), boxes, channels=1, device=device)
    case = case.map(torch.ones_like)
    started = time.perf_counter()
    out = case()
    assert time.perf_counter() - started < 1
    assert out[0].item() == 0
    assert out[1].item() == pytest.approx(1, abs=1e-4)


@few_options
def test_a_rejected_sample_reads_nothing(op: Op, options, device, generator) -> None:
    # The coarsest level of a pyramid has a quarter of the scale.
    outside = {n: tuple(4 * v for v in box) for n, box in outside_boxes(H, W).items()}
    boxes = outside | non_finite_boxes(H, W)
    case = make_case(op, options, generator, boxes=boxes, device=device).linear
    if op.has_offset and options.offset:
        case.extra.zero_()
    for m in case.maps:
        m[:, :, 0, 0], m[:, :, -1, -1] = torch.inf, torch.nan
    assert_same_bits(case(), torch.zeros_like(case()))


@some_ops(lambda op: op.kinks == "right")
def test_an_accepted_sample_reads_all_four_pixels(op: Op, device, generator) -> None:
    # One sample, at exactly (2, 3): its neighbours have weight 0 but inf * 0 is NaN.
    options = Options((1, 1), 1.0, 1, True, offset=False)
    case = make_case(op, options, generator, (6, 6), {"point": (3, 2, 4, 3)}, 1, 1, device=device)
    if op.pyramid:  # 1 x 1 belongs to the first level
        assert case.with_options(canonical_scale=4).maps[0].shape == (1, 1, 6, 6)
    for y, x, expected in ((2, 3, torch.inf), (3, 3, torch.nan), (2, 4, torch.nan), (1, 3, 1.0)):
        ones = case.map(torch.ones_like)
        ones.maps[0][0, 0, y, x] = torch.inf
        value = ones().flatten()
        assert torch.equal(
            value.nan_to_num(nan=-7), value.new_tensor([expected]).nan_to_num(nan=-7)
        )


@each_op
@pytest.mark.parametrize("pixel", [torch.nan, torch.inf, -torch.inf], ids=str)
def test_non_finite_pixels_reach_the_bins_that_the_reference_says(
    op, pixel, device, generator
) -> None:
    """inf * 0 is NaN, but a mean merges taps of a pixel: whether inf or NaN is not compared."""
    boxes = {n: b for n, b in finite_boxes(H, W).items() if not n.startswith("huge")}
    reached = 0
    for options in op.few_options:
        case = make_case(op, options, generator, boxes=boxes)
        for m in case.maps:
            m[0, 0, 1, 2] = m[1, m.shape[1] // 2, 0, 0] = m[0, -1, 2, 3] = pixel
        expected, _ = reference.values(case)
        sure = reference.certain(case).expand_as(expected)
        actual = case.to(device)().cpu()
        reached += int((~expected[sure].isfinite()).sum())
        assert torch.equal(actual[sure].isfinite(), expected[sure].isfinite())
        if pixel is torch.nan or op.takes_maximum:
            assert torch.equal(actual[sure].isnan(), expected[sure].isnan())
    assert reached > 2


@some_ops(lambda op: op.samples)
def test_adaptive_is_every_ratio_below_one(op: Op, device, generator) -> None:
    case = make_case(op, Options((3, 4), 1.0, 0, True), generator, device=device)
    for ratio in (-1, -2, -(2**40)):
        assert_same_bits(case.with_options(sampling_ratio=ratio)(), case())


@some_ops(lambda op: op.has_image_column)
@pytest.mark.parametrize(
    "column, image", [(0.9999, 0), (-0.9, 0), (1.0, 1), (1.75, 1), (-0.0, 0)], ids=str
)
def test_image_column_is_truncated_toward_zero(op, column, image, device, generator) -> None:
    options = op.few_options[0]
    case = make_case(op, options, generator, boxes={"box": (1.5, 2.0, 6.0, 7.0)}, device=device)
    expected = case.map(lambda m: m[image : image + 1])()
    case.boxes[0, 0] = column
    assert_same_bits(case(), expected)


@some_ops(lambda op: op.has_indices)
def test_both_index_types_are_the_same(op: Op, device, generator) -> None:
    case = make_case(op, op.few_options[0], generator, device=device)
    narrow = case.of(*case.maps, case.boxes, case.extra.int())
    assert_same_bits(narrow(), case())
    grad = torch.ones_like(case())
    for a, b in zip(narrow.gradients(grad), case.gradients(grad), strict=True):
        assert_same_bits(a, b)


def numbered(op: Op, dtype: torch.dtype, device: str, count: int = 2100) -> Case:
    """Images of one number each, and a box for every one of them."""
    generator = torch.Generator()
    boxes = {str(i): (0.0, 0.0, 3.0, 3.0) for i in range(count)}
    options = Options((1, 1), offset=False)
    case = make_case(op, options, generator, (4, 4), boxes, 1, 1, dtype, torch.float32, device)
    images = torch.arange(count, device=device).remainder(97).to(dtype).view(-1, 1, 1, 1)
    if op.has_image_column:
        case.boxes[:, 0] = torch.arange(count)
    else:
        case.extra.copy_(torch.arange(count))
    return case.map(lambda m: images.expand(-1, 1, *m.shape[2:]))


@each_op
@half_types
def test_float32_boxes_name_images_that_half_types_cannot(op, dtype, device) -> None:
    case = numbered(op, dtype, device)
    if op.columns == 5:
        case.boxes[:, 3:5] = 1  # inside the map at any angle
        case.boxes[:, 1:3] = 1.5
    assert torch.equal(case().flatten(), case.maps[0][:, 0, 0, 0])


@some_ops(lambda op: op.lists)
@half_types
def test_a_list_of_half_boxes_names_every_image(op, dtype, device) -> None:
    case = numbered(op, dtype, device)
    boxes = [row[None].to(dtype) for row in case.boxes[:, 1:]]
    first, *_ = case.leading(list(case.maps))
    extra = (None,) if op.takes_extra else ()
    out = op.function(first, boxes, *extra, *op.python_args(case.options))
    assert torch.equal(out.flatten(), case.maps[0][:, 0, 0, 0])


@some_ops(lambda op: op.samples or op.name in ("ps_roi_pool", "prroi_pool"))
@half_types
def test_half_types_sum_in_float32(op: Op, dtype, device, generator) -> None:
    # About 1000 pixels of 10.5 in a bin: a half-type sum is off by 0.3 (peers.md, V3).
    boxes = {"large": (0.0, 0.0, 63.0, 63.0)}
    case = make_case(op, Options((2, 2)), generator, (64, 64), boxes, 1, 1, dtype, torch.float32)
    ramp = torch.linspace(10, 11, 64 * 64).view(64, 64)
    case = case.map(lambda m: m.copy_(ramp[: m.shape[2], : m.shape[3]]))
    expected, slack = reference.values(case)
    assert expected.abs().max() > 5
    assert_close(case.to(device)(), expected, 11, slack)
    large = case.map(lambda m: m.fill_(60000)).to(device)
    assert large().isfinite().all() and large().max() <= 60416


@some_ops(lambda op: op.has_image_column)
def test_half_types_compute_coordinates_in_float32(op: Op, device, generator) -> None:
    # fp16 holds 1500.3 as 1500, and rounds every position there to a whole pixel (V4).
    options = Options((1, 1), 1.0, 2, offset=False, canonical_scale=10**6)
    boxes = {"box": (1500.3, 2.0, 1501.3, 5.0)}
    case = make_case(
        op, options, generator, (8, 1600), boxes, 1, 1, torch.float16, torch.float32, device
    )
    ramp = torch.arange(1600.0) - 1400
    case = case.map(lambda m: m.copy_(ramp[: m.shape[3]].expand(m.shape)))
    expected, _ = reference.values(case)
    assert case().item() == pytest.approx(expected.item(), abs=0.04)


@some_ops(lambda op: op.name == "crop_and_resize")
def test_integer_images_give_float32(op: Op, device, generator) -> None:
    case = make_case(op, op.few_options[0], generator, device=device, dtype=torch.float32)
    image = case.map(lambda m: (m.abs() * 60).round().clamp(0, 255))
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool):
        integers = image.map(lambda m, dtype=dtype: m.to(dtype))
        floats = integers.map(lambda m: m.float())
        assert integers().dtype == torch.float32
        assert_same_bits(integers(), floats())
    last = torch.channels_last
    out = image.map(lambda m: m.to(torch.uint8, memory_format=last))()
    assert out.is_contiguous(memory_format=last)
