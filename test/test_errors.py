"""Every error sentence, the same from real tensors, from Meta tensors and from Python."""

from __future__ import annotations

import pytest
import torch
from expecttest import assert_expected_inline
from op_table import MEAN, MEAN_BACKWARD, MEAN_BACKWARD_BOXES, MEAN_JVP_BOXES, Op, Options, each_op


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


BOXES_SHAPE = "`boxes` must have shape [K, 5] (image, x1, y1, x2, y2)"
HINT = "For per-image boxes pass a list of Tensor[L, 4]."
X, ROIS = zeros(2, 2, 8, 9), zeros(3, 5)

# name -> (input, rois, scale, height, width, ratio), the sentence after "<op>: "
BAD_CALLS = {
    "input_shape": (
        (zeros(3, 4), ROIS, 1.0, 7, 7, -1),
        "`input` must have shape [N, C, H, W], but got [3, 4].",
    ),
    "input_5d": (
        (zeros(1, 2, 3, 4, 5), ROIS, 1.0, 7, 7, -1),
        "`input` must have shape [N, C, H, W], but got [1, 2, 3, 4, 5].",
    ),
    "input_dtype": (
        (X.long(), ROIS, 1.0, 7, 7, -1),
        "`input` must be float64, float32, float16 or bfloat16, but got int64.",
    ),
    "input_complex": (
        (X.to(torch.complex64), ROIS, 1.0, 7, 7, -1),
        "`input` must be float64, float32, float16 or bfloat16, but got complex64.",
    ),
    "boxes_columns": (
        (X, zeros(3, 4), 1.0, 7, 7, -1),
        f"{BOXES_SHAPE}, but got [3, 4]. {HINT}",
    ),
    "boxes_1d": (
        (X, zeros(5), 1.0, 7, 7, -1),
        f"{BOXES_SHAPE}, but got [5]. {HINT}",
    ),
    "boxes_3d": (
        (X, zeros(2, 3, 5), 1.0, 7, 7, -1),
        f"{BOXES_SHAPE}, but got [2, 3, 5]. {HINT}",
    ),
    "boxes_dtype": (
        (X, ROIS.long(), 1.0, 7, 7, -1),
        "`boxes` must be float64, float32, float16 or bfloat16, but got int64.",
    ),
    "scale_zero": (
        (X, ROIS, 0.0, 7, 7, -1),
        "`spatial_scale` must be positive and finite, but got 0.",
    ),
    "scale_negative": (
        (X, ROIS, -0.25, 7, 7, -1),
        "`spatial_scale` must be positive and finite, but got -0.25.",
    ),
    "scale_infinite": (
        (X, ROIS, float("inf"), 7, 7, -1),
        "`spatial_scale` must be positive and finite, but got inf.",
    ),
    "scale_nan": (
        (X, ROIS, float("nan"), 7, 7, -1),
        "`spatial_scale` must be positive and finite, but got nan.",
    ),
    "height_zero": ((X, ROIS, 1.0, 0, 7, -1), "`output_size` must be positive, but got [0, 7]."),
    "width_negative": (
        (X, ROIS, 1.0, 7, -3, -1),
        "`output_size` must be positive, but got [7, -3].",
    ),
    "ratio_too_large": (
        (X, ROIS, 1.0, 7, 7, 100000),
        "`sampling_ratio` must be at most 65536, but got 100000.",
    ),
    "ratio_of_seven_digits": (
        (X, ROIS, 1.0, 7, 7, 1234567),
        "`sampling_ratio` must be at most 65536, but got 1234567.",
    ),
    "ratio_just_too_large": (
        (X, ROIS, 1.0, 7, 7, 65537),
        "`sampling_ratio` must be at most 65536, but got 65537.",
    ),
}

bad_calls = pytest.mark.parametrize("args, sentence", BAD_CALLS.values(), ids=BAD_CALLS.keys())


def first_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    """Without the C++ stack that TORCH_SHOW_CPP_STACKTRACES appends."""
    return str(error.value).splitlines()[0]


def message_of(function, *args) -> str:
    with pytest.raises(RuntimeError) as error:
        function(*args)
    return first_line(error)


@each_op
@bad_calls
@pytest.mark.parametrize("grad", [False, True], ids=("plain", "requires_grad"))
def test_operator(op: Op, args, sentence, grad, device) -> None:
    x, rois, *rest = args
    x, rois = x.to(device), rois.to(device).clone()
    if grad and rois.is_floating_point():
        rois.requires_grad_()
    assert message_of(op.overload, x, rois, *rest) == f"{op.name}: {sentence}"


@each_op
@bad_calls
def test_operator_on_meta_tensors(op: Op, args, sentence) -> None:
    x, rois, *rest = args
    message = message_of(op.overload, x.to("meta"), rois.to("meta"), *rest)
    assert message == f"{op.name}: {sentence}"


@each_op
@bad_calls
def test_python_function_and_module(op: Op, args, sentence) -> None:
    x, rois, scale, height, width, ratio = args
    options = ((height, width), scale, ratio, False)
    assert message_of(op.function, x, rois, *options) == f"{op.name}: {sentence}"
    assert message_of(op.module(*options), x, rois) == f"{op.name}: {sentence}"


@each_op
@bad_calls
def test_autocast_reports_the_same(op: Op, args, sentence) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert message_of(op.overload, *args) == f"{op.name}: {sentence}"


@each_op
def test_device_of_the_boxes(op: Op) -> None:
    rest = (1.0, 7, 7)
    expected = f"{op.name}: `boxes` must be on the device of `input` (cpu), but got meta."
    assert message_of(op.overload, X, ROIS.to("meta"), *rest) == expected
    expected = f"{op.name}: `boxes` must be on the device of `input` (meta), but got cpu."
    assert message_of(op.overload, X.to("meta"), ROIS, *rest) == expected


def rois_naming(*images: float) -> torch.Tensor:
    return torch.tensor([[image, 0, 0, 3, 3] for image in images])


BAD_IMAGES = {
    "past_the_end": ((0.0, 1, 0, 5), "[0, 2), but got 5 in row 3."),
    "one_past_the_end": ((2.0,), "[0, 2), but got 2 in row 0."),
    "negative": ((0.0, -1), "[0, 2), but got -1 in row 1."),
    "nan": ((0.0, float("nan"), 9), "[0, 2), but got nan in row 1."),
    "inf": ((1.0, float("inf")), "[0, 2), but got inf in row 1."),
    "minus_inf": ((1.0, float("-inf")), "[0, 2), but got -inf in row 1."),
}


@each_op
@pytest.mark.parametrize("images, end", BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_image_out_of_range(op: Op, images, end, dtype) -> None:
    rois = rois_naming(*images).to(dtype)
    grad = zeros(len(rois), 2, 7, 7)
    calls = op.private_calls(X, rois, grad, torch.ones_like(rois), op.few_options[0])
    for overload, args in {op.overload: (X, rois, 1.0, 7, 7), **calls}.items():
        with pytest.raises(IndexError) as error:
            overload(*args)
        assert first_line(error) == f"{op.name}: `boxes` must name images in {end}"


@each_op
def test_no_image_can_be_named_when_there_is_none(op: Op) -> None:
    with pytest.raises(IndexError) as error:
        op.overload(X[:0], ROIS, 1.0, 7, 7)
    expected = f"{op.name}: `boxes` must name images in [0, 0), but got 0 in row 0."
    assert first_line(error) == expected


@each_op
def test_a_huge_image_number_is_an_error_even_for_empty_work(op: Op) -> None:
    for x in (X, X[:, :0], X[:, :, :0]):
        for image in (1e6, 1e18, 1e30, -1e30):
            with pytest.raises(IndexError, match="must name images in"):
                op.overload(x, rois_naming(image), 1.0, 7, 7)


def private_message(op: Op, overload, where: str, **wrong) -> str:
    """The error of a private operator for good arguments except `wrong`."""
    good = {"input": X, "rois": ROIS, "grad": zeros(3, 2, 7, 7), "tangent": zeros(3, 5)}
    tensors = {name: tensor.to(where) for name, tensor in (good | wrong).items()}
    return message_of(overload, *op.private_calls(**tensors, options=Options((7, 7)))[overload])


@each_op
@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_grad_of_a_wrong_shape(op: Op, where) -> None:
    start = f"{op.name}: `grad` must have shape [K, C, PH, PW]"
    for overload in (MEAN_BACKWARD, MEAN_BACKWARD_BOXES):
        for shape in ((4, 2, 7, 7), (3, 1, 7, 7), (1, 2, 7, 7)):
            message = private_message(op, overload, where, grad=zeros(*shape))
            assert message == f"{start} = [3, 2, 7, 7], but got {list(shape)}."
        for shape in ((3, 2), (3, 2, 7, 7, 1)):
            message = private_message(op, overload, where, grad=zeros(*shape))
            assert message == f"{start}, but got {list(shape)}."


@each_op
@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_grad_of_another_type_than_input(op: Op, where) -> None:
    message = private_message(op, MEAN_BACKWARD_BOXES, where, grad=zeros(3, 2, 7, 7).half())
    assert message == f"{op.name}: `grad` must be float32 as `input`, but got float16."


@each_op
@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_tangent_of_a_wrong_shape(op: Op, where) -> None:
    for shape in ((3, 4), (2, 5), (5,)):
        message = private_message(op, MEAN_JVP_BOXES, where, tangent=zeros(*shape))
        assert message == f"{op.name}: `tangent` must have shape [3, 5], but got {list(shape)}."


@each_op
@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_private_operators_check_what_the_public_one_does(op: Op, where) -> None:
    grad = zeros(3, 2, 7, 7)
    calls = op.private_calls(X, ROIS, grad, zeros(3, 5), Options((7, 7)))
    for overload in calls:
        message = private_message(op, overload, where, rois=zeros(3, 4))
        assert message == f"{op.name}: {BOXES_SHAPE}, but got [3, 4]. {HINT}"
        options = Options((7, 7), 1.0, 100000)
        args = op.private_calls(X, ROIS, grad, zeros(3, 5), options)[overload]
        args = [a.to(where) if isinstance(a, torch.Tensor) else a for a in args]
        sentence = "`sampling_ratio` must be at most 65536, but got 100000."
        assert message_of(overload, *args) == f"{op.name}: {sentence}"
    lines = [
        message_of(MEAN, X.to(where), ROIS.to(where), *rest)
        for rest in (
            ([7, 7], "no_such_op", [1.0, 2.0, 0.0]),
            ([7, 7], op.name, [1.0]),
            ([7], op.name, op.pack(1.0, 7, 7, 2, False)),
        )
    ]
    assert_expected_inline(
        "\n".join(lines).replace(op.name, "<op>"),
        """\
no_such_op: `op` must name an average-type operator of roiops, but got no_such_op.
<op>: `options` must have 3 elements, but got 1.
<op>: `output_size` must have 2 elements, but got 1.""",
    )


@each_op
def test_lists_of_boxes(op: Op) -> None:
    lines = [
        message_of(op.function, X, [zeros(3, 4), zeros(3, 5)], 7),
        message_of(op.function, X, [zeros(4), zeros(3, 4)], 7),
        message_of(op.module(7), X, [zeros(3, 4), zeros(1, 3, 4)]),
        message_of(op.function, X.long(), [zeros(3, 4), zeros(3, 4)], 7),
        message_of(op.function, X, [zeros(3, 4), zeros(3, 4)], (0, 7)),
    ]
    assert_expected_inline(
        "\n".join(lines).replace(op.name, "<op>"),
        """\
<op>: each tensor of `boxes` must have shape [L, 4] (x1, y1, x2, y2), but got [3, 5] for image 1.
<op>: each tensor of `boxes` must have shape [L, 4] (x1, y1, x2, y2), but got [4] for image 0.
<op>: each tensor of `boxes` must have shape [L, 4] (x1, y1, x2, y2), but got [1, 3, 4] for image 1.
<op>: `input` must be float64, float32, float16 or bfloat16, but got int64.
<op>: `output_size` must be positive, but got [0, 7].""",
    )


@each_op
def test_more_boxes_lists_than_images(op: Op) -> None:
    with pytest.raises(IndexError) as error:
        op.function(X, [zeros(1, 4)] * 3, 7)
    expected = f"{op.name}: `boxes` must name images in [0, 2), but got 2 in row 2."
    assert first_line(error) == expected
