"""Every error sentence, the same from real tensors, from Meta tensors and from Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from cases import Case, Options, make_case
from op_table import OPS, Op, each_op

FLOATS = "must be float64, float32, float16 or bfloat16"


def good_case(op: Op, where: str = "cpu") -> Case:
    """Two images, three boxes, 7 x 7 bins, 2 channels."""
    boxes = {str(i): (1.0, 1.0, 4.0, 4.0) for i in range(3)}
    case = make_case(
        op, Options((7, 7)), torch.Generator(), (8, 9), boxes, 2, 2, dtype=torch.float32
    )
    return case.to(where)


def bad_maps(op: Op) -> Iterator[tuple[str, Case, str]]:
    case, name = good_case(op), f"`{op.input_name}`"
    shape = "must have shape [N, C, H, W]"
    for bad in ((3, 4), (1, 2, 3, 4, 5)):
        maps = (torch.zeros(bad), *case.maps[1:])
        yield f"map_{len(bad)}d", replace(case, maps=maps), f"{name} {shape}, but got {list(bad)}."
    if not op.has_indices:  # which takes integer images
        yield "map_int64", case.map(torch.Tensor.long), f"{name} {FLOATS}, but got int64."
    complex_maps = case.map(lambda m: m.to(torch.complex64))
    yield "map_complex", complex_maps, f"{name} {FLOATS}, but got complex64."
    if op.position_sensitive:
        wrong = case.map(lambda m: torch.zeros(2, 50, 8, 9))
        rule = f"the channels of {name} must be a multiple of 7 * 7 = 49, but got 50."
        yield "channels", wrong, rule
    if op.pyramid:
        yield "no_maps", replace(case, maps=()), f"{name} must have a map, but got none."
        few = replace(case, maps=case.maps[:2])
        rule = "`spatial_scales` must have one element per level (2), but got 3."
        yield "too_few_maps", few, rule
        mixed = replace(case, maps=(*case.maps[:2], case.maps[2].double()))
        rule = f"{name} must have one dtype and device, but got float32 on cpu and float64 on cpu."
        yield "two_dtypes", mixed, rule
        uneven = replace(case, maps=(*case.maps[:2], torch.zeros(2, 3, 4, 4)))
        rule = f"{name} must have the same images and channels at every level, but got "
        yield "channels", uneven, f"{rule}{list(case.maps[0].shape)} and [2, 3, 4, 4]."


def bad_boxes(op: Op) -> Iterator[tuple[str, Case, str]]:
    case, columns = good_case(op), op.columns + op.has_image_column
    for shape in ((3, columns - 1), (columns,), (2, 3, columns)):
        sentence = (
            f"`{op.boxes_name}` must have shape {op.box_columns}, but got {list(shape)}.{op.hint}"
        )
        yield f"boxes_{len(shape)}d", replace(case, boxes=torch.zeros(shape)), sentence
    yield (
        "boxes_dtype",
        replace(case, boxes=case.boxes.long()),
        f"`{op.boxes_name}` {FLOATS}, but got int64.",
    )
    if op.has_indices:
        rule = "`box_indices` must be int32 or int64, but got float32."
        yield "indices_dtype", replace(case, extra=case.extra.float()), rule
        for shape in ((4,), (3, 1)):
            rule = f"`box_indices` must have shape [K] = [3], but got {list(shape)}."
            extra = torch.zeros(shape, dtype=torch.int64)
            yield f"indices_{len(shape)}d", replace(case, extra=extra), rule
    if op.has_offset:
        rule = f"`offset` {FLOATS}, but got int64."
        yield "offset_dtype", replace(case, extra=case.extra.long()), rule
        for shape in ((3, 2, 7, 6), (3, 2)):
            rule = "`offset` must have shape [K, 2, PH, PW] = [3, 2, 7, 7], but got "
            yield (
                f"offset_{len(shape)}d",
                replace(case, extra=torch.zeros(shape)),
                (f"{rule}{list(shape)}."),
            )


def bad_options(op: Op) -> Iterator[tuple[str, Case, str]]:
    case = good_case(op)
    scale = "spatial_scales" if op.pyramid else "spatial_scale"
    if scale in op.option_names:
        for value in (0.0, -0.25, float("inf"), float("nan"), 1e39):
            sentence = f"`{scale}` must be positive and finite in float32, but got {value:g}."
            yield f"scale_{value}", case.with_options(spatial_scale=value), sentence
    for size in ((0, 7), (7, -3)):
        wrong = replace(case, options=Options(size, offset=False))
        if not op.has_offset:
            name = "crop_size" if op.has_indices else "output_size"
            sentence = f"`{name}` must be positive, but got {list(size)}."
            yield f"size_{size[0]}", wrong, sentence
    if op.samples:
        for ratio in (op.most_samples + 1, 100000, 1234567):
            sentence = f"`sampling_ratio` must be at most {op.most_samples}, but got {ratio}."
            yield f"ratio_{ratio}", case.with_options(sampling_ratio=ratio), sentence
    if op.has_offset:
        rule = "`gamma` must be finite in float32, but got nan."
        yield "gamma", case.with_options(gamma=float("nan")), rule
    if op.has_indices:
        rule = '`method` must be "bilinear" or "nearest", but got "cubic".'
        yield "method", case.with_options(method="cubic"), rule
    if op.pyramid:
        rule = "`canonical_scale` must be positive, but got 0."
        yield "canonical_scale", case.with_options(canonical_scale=0), rule


BAD_CALLS = [
    pytest.param(op, case, f"{op.name}: {sentence}", id=f"{op}-{name}")
    for op in OPS
    for rows in (bad_maps, bad_boxes, bad_options)
    for name, case, sentence in rows(op)
]
bad_calls = pytest.mark.parametrize("op, case, sentence", BAD_CALLS)


def first_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    """Without the C++ stack that TORCH_SHOW_CPP_STACKTRACES appends."""
    return str(error.value).splitlines()[0]


def message_of(function, *args) -> str:
    with pytest.raises(RuntimeError) as error:
        function(*args)
    return first_line(error)


@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_scales_must_not_increase(where: str) -> None:
    maps = [torch.zeros(1, 1, 4, 4, device=where)] * 3
    call = torch.ops.roiops.multiscale_roi_align
    rule = "multiscale_roi_align: `spatial_scales` must not increase (the finest map comes first)"
    rois = torch.zeros(0, 5, device=where)
    assert message_of(call, maps, rois, [1, 0.25, 0.5], 7, 7) == f"{rule}, but got 0.5 after 0.25."
    assert call(maps, rois, [0.5, 0.5, 0.25], 7, 7).shape == (0, 1, 7, 7)


def moved(case: Case, where: str) -> Case:
    """Case.to, of a case that may lack maps."""
    return replace(
        case, maps=tuple(m.to(where) for m in case.maps), boxes=case.boxes.to(where),
        extra=None if case.extra is None else case.extra.to(where),
    )  # fmt: skip


@bad_calls
def test_operator(op: Op, case, sentence, device) -> None:
    assert message_of(moved(case, device)) == sentence
    if case.boxes.is_floating_point():
        boxes = case.boxes.clone().requires_grad_()
        assert message_of(moved(replace(case, boxes=boxes), device)) == sentence


@bad_calls
def test_operator_on_meta_tensors(op: Op, case, sentence) -> None:
    expected = sentence.replace("on cpu", "on meta")
    assert message_of(moved(case, "meta")) == expected


@bad_calls
def test_python_function_and_module(op: Op, case, sentence) -> None:
    options = op.python_args(case.options)
    leading = case.leading(list(case.maps))
    assert message_of(op.function, *leading, *options) == sentence
    assert message_of(op.module(*options), *leading) == sentence


@bad_calls
def test_autocast_reports_the_same(op: Op, case, sentence) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert message_of(case) == sentence


@each_op
def test_device_of_each_tensor(op: Op) -> None:
    case = good_case(op)
    for here, there in (("cpu", "meta"), ("meta", "cpu")):
        if op.takes_extra:
            other = replace(moved(case, here), extra=case.extra.to(there))
            name = "box_indices" if op.has_indices else "offset"
            expected = f"`{name}` must be on the device of `boxes` ({here}), but got {there}."
            assert message_of(other) == f"{op.name}: {expected}"
            continue
        other = replace(moved(case, here), boxes=case.boxes.to(there))
        rule = f"`{op.boxes_name}` must be on the device of `{op.input_name}` ({here}), but got {there}."
        assert message_of(other) == f"{op.name}: {rule}"


BAD_IMAGES = {
    "past_the_end": ((0.0, 1, 5), "[0, 2), but got 5 in row 2."),
    "one_past_the_end": ((2.0, 0, 0), "[0, 2), but got 2 in row 0."),
    "negative": ((0.0, -1, 0), "[0, 2), but got -1 in row 1."),
    "nan": ((0.0, float("nan"), 9), "[0, 2), but got nan in row 1."),
    "inf": ((1.0, float("inf"), 0), "[0, 2), but got inf in row 1."),
    "minus_inf": ((1.0, float("-inf"), 0), "[0, 2), but got -inf in row 1."),
}


def index_message(function, *args) -> str:
    with pytest.raises(IndexError) as error:
        function(*args)
    return first_line(error)


@each_op
@pytest.mark.parametrize("images, end", BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_image_out_of_range(op: Op, images, end) -> None:
    if op.has_indices:  # integers
        images = tuple(int(i) if abs(i) < 9 else -3 for i in images)
        end = end.replace("nan", "-3").replace("-inf", "-3").replace("inf", "-3")
    case = good_case(op)
    private_calls = case.private_calls()
    numbers = case.extra if op.has_indices else case.boxes[:, 0]
    numbers.copy_(torch.tensor(images))  # also for the private calls
    name = "box_indices" if op.has_indices else op.boxes_name
    expected = f"{op.name}: `{name}` must name images in {end}"
    assert index_message(case) == expected
    for overload, args in private_calls:
        assert index_message(overload, *args) == expected
    for empty in (lambda m: m[:, :0], lambda m: m[:, :, :0]):
        assert index_message(case.map(empty)) == expected


@each_op
def test_no_image_can_be_named_when_there_is_none(op: Op) -> None:
    message = index_message(good_case(op).map(lambda m: m[:0]))
    assert message.endswith("must name images in [0, 0), but got 0 in row 0.")
