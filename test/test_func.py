"""torch.func on the operators: derivative transforms, and vmap in every combination."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from boxes import Box, edge_boxes
from cases import DTYPES, Case, Options, features, grad_of, make_case
from op_table import OPS, Op, each_op, label, one_option, some_ops
from test_gradcheck import SMOOTH_BOXES
from tolerance import assert_close, assert_same_bits
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

H, W = 5, 6
OPTIONS = Options((2, 3), 1.0, 2, True)
EDGES = dict(list(edge_boxes(H, W).items())[::3]) | {"inside": (1.1, 0.7, 4.2, 3.9)}


@pytest.fixture(autouse=True)
def no_vmap_fallback():
    """Without a rule vmap loops and only warns: here it raises."""
    torch._C._functorch._set_vmap_fallback_enabled(False)
    yield
    torch._C._functorch._set_vmap_fallback_enabled(True)


def problem(op: Op, device: str, generator: torch.Generator, count: int = 2) -> Case:
    boxes = dict(list(SMOOTH_BOXES.items())[:count])
    return make_case(op, OPTIONS, generator, (H, W), boxes, 2, 2, device=device)


def differentiable(case: Case) -> tuple[int, ...]:
    return tuple(i for i, need in enumerate(case.needs) if need)


@each_op
def test_grad_jvp_and_vjp_agree_with_the_operators(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    g, which = grad_of(case, generator), differentiable(case)
    expected = case.gradients(g)

    def run(*some: torch.Tensor) -> torch.Tensor:
        tensors = list(case.tensors)
        for i, tensor in zip(which, some, strict=True):
            tensors[i] = tensor
        return case.run(*tensors)

    inputs = [case.tensors[i] for i in which]
    by_vjp = vjp(run, *inputs)[1](g)
    by_grad = grad(lambda *a: (run(*a) * g).sum(), tuple(range(len(which))))(*inputs)
    for got in (by_vjp, by_grad):
        for a, b in zip(got, expected, strict=True):
            assert_same_bits(a, b)
    tangents = [features(generator, *t.shape).to(device) for t in inputs]
    out, tangent = jvp(run, tuple(inputs), tuple(tangents))
    assert_same_bits(out, case())
    exact = case.apply(tangents[: len(case.maps)])
    rest = tangents[len(case.maps) :]
    if rest:
        exact = exact + case.box_jvp(*rest)
    assert_close(tangent, exact.cpu(), 10 * float(exact.abs().max()))


@each_op
def test_jacobians_of_both_modes_agree(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    for argument in differentiable(case):
        reverse = jacrev(case.run, argument)(*case.tensors)
        forward = jacfwd(case.run, argument)(*case.tensors)
        # a level on which no box lies has a zero Jacobian
        assert reverse.any() or argument in range(1, len(case.maps))
        assert_close(forward, reverse.cpu(), 4 * float(reverse.abs().max()) + 1e-12)


@each_op
def test_hessian_of_a_square_is_two_a_transposed_a(op: Op, device, generator) -> None:
    case = problem(op, device, generator, count=1).map(lambda m: m[:1])

    def run(x):
        return case.run(x, *case.tensors[1:])

    x = case.maps[0]
    jacobian = jacrev(run)(x).flatten(0, 3).flatten(1)
    second = hessian(lambda x: run(x).square().sum())(x).reshape(x.numel(), x.numel())
    assert_close(second, (2 * jacobian.T @ jacobian).cpu(), 4.0)


@some_ops(lambda op: not op.position_sensitive)
def test_per_sample_gradients_of_a_module(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    net = torch.nn.Conv2d(2, 3, 1, dtype=torch.float64, device=device)
    params = dict(net.named_parameters())

    def loss(params, x, *rest):
        maps = [functional_call(net, params, (x[None],)), *case.maps[1:]]
        maps[1:] = [functional_call(net, params, (m[:1],)) for m in maps[1:]]
        return case.run(*maps, *rest).square().sum()

    rest = [t[:, None].clone() for t in case.tensors[len(case.maps) :]]
    if op.has_image_column:
        rest[0][..., 0] = 0
    else:
        rest[1].zero_()
    dims = (None, *(0 for _ in range(1 + len(rest))))
    got = vmap(grad(loss), dims)(params, case.maps[0], *rest)
    for i in range(2):
        expected = grad(loss)(params, case.maps[0][i], *(t[i] for t in rest))
        for name in params:
            magnitude = float(expected[name].detach().abs().max()) + 10
            assert_close(got[name][i], expected[name].detach().cpu(), magnitude)


def check_vmap(function: Callable, args: Sequence, in_dims: Sequence[int | None]) -> None:
    """vmap(function) equals a loop, at any output dimension."""
    size = next(a.shape[d] for a, d in zip(args, in_dims, strict=True) if d is not None)
    rows = [
        function(*(a if d is None else a.select(d, i) for a, d in zip(args, in_dims, strict=True)))
        for i in range(size)
    ]
    if not isinstance(rows[0], torch.Tensor):
        for part in range(len(rows[0])):
            check_vmap(lambda *a, part=part: function(*a)[part], args, in_dims)
        return
    for out_dim in (0, -1):
        expected = torch.stack(rows, out_dim)
        actual = vmap(function, tuple(in_dims), out_dim)(*args)
        assert actual.dtype == expected.dtype
        assert_close(actual, expected.cpu().double(), 4 * float(expected.abs().max()) + 1e-12)


def batched(t: torch.Tensor, dim: int | None) -> torch.Tensor:
    """Three different versions of `t`, stacked at `dim`."""
    if dim is None:
        return t
    if not t.is_floating_point():
        return torch.stack([(t + i) % 2 for i in range(3)], dim)
    return torch.stack([t + 0.125 * i for i in range(3)], dim)


# Of the maps, the boxes, and the indices or offsets.
DIMS = [(d, None, None) for d in (0, 2, 4, -1)] + [(None, d, None) for d in (0, 1, -1)]
DIMS += [(None, None, 0), (None, None, 1), (None, 1, 0), (0, None, 0), (0, 0, 0), (4, 2, 1)]
DIMS += [(2, 1, None), (-1, 0, -1)]


def in_dims(pairs: list[tuple[Op, Options]]):
    """Every combination that batches a tensor of the call."""
    rows = [
        pytest.param(op, options, dims, id=f"{label(op, options)}-{dims}")
        for op, options in pairs
        for dims in DIMS
        if any(d is not None for d in dims[: 2 + (op.takes_extra and options.offset)])
    ]
    return pytest.mark.parametrize("op, options, dims", rows)


def edge_case(op: Op, options: Options, device: str, generator, boxes: dict[str, Box]) -> Case:
    return make_case(op, options, generator, (H, W), boxes, 2, 2, device=device)


def dims_of(case: Case, dims: Sequence[int | None]) -> tuple[int | None, ...]:
    """For each of `tensors`."""
    extra = () if case.extra is None else (dims[2],)
    return (*(dims[0] for _ in case.maps), dims[1], *extra)


@in_dims([(op, o) for op in OPS for o in op.few_options])
def test_vmap_equals_a_loop(op: Op, options, dims, device, generator) -> None:
    case = edge_case(op, options, device, generator, EDGES)
    each = dims_of(case, dims)
    args = [batched(t, d) for t, d in zip(case.tensors, each, strict=True)]
    check_vmap(lambda *tensors: case.of(*tensors).result(), args, each)


@in_dims([(op, op.few_options[0]) for op in OPS])
def test_vmap_of_derivatives_equals_a_loop(op: Op, options, dims, device, generator) -> None:
    """In place of the maps, `grad` is batched for the gradient by the maps."""
    case = edge_case(op, options, device, generator, EDGES)
    each = dims_of(case, dims)
    args = [batched(t, d) for t, d in zip(case.tensors, each, strict=True)]
    grad = grad_of(case, generator)
    g = batched(grad, dims[0])
    levels = len(case.maps)

    def by_maps(g, *rest):
        return tuple(case.of(*case.maps, *rest).input_gradients(g))

    check_vmap(by_maps, [g, *args[levels:]], (dims[0], *each[levels:]))

    def by_boxes(*tensors):
        boxes, extra = case.of(*tensors).box_gradients(grad)
        return boxes if not op.has_offset else (boxes, extra)

    check_vmap(by_boxes, args, each)
    tangent = features(generator, *case.boxes.shape).to(device)
    extra_tangent = torch.ones_like(case.extra) if op.has_offset else None
    check_vmap(lambda *t: case.of(*t).box_jvp(tangent, extra_tangent), args, each)


@one_option
def test_vmap_over_gradients_and_tangents(op: Op, options, device, generator) -> None:
    case = edge_case(op, options, device, generator, EDGES)
    g, tangent = batched(grad_of(case, generator), 1), batched(torch.ones_like(case.boxes), 1)
    check_vmap(lambda g: tuple(case.input_gradients(g)), [g], [1])
    check_vmap(case.box_gradient, [g], [1])
    check_vmap(case.box_jvp, [tangent], [1])
    if op.has_offset:
        extra = batched(torch.ones_like(case.extra), 2)
        check_vmap(lambda t: case.box_jvp(None, t), [extra], [2])
        check_vmap(case.box_jvp, [tangent, extra], [1, 2])


@some_ops(lambda op: op.has_image_column)
@pytest.mark.parametrize("dtype", DTYPES[2:], ids=("float16", "bfloat16"))
def test_vmap_over_many_images_with_half_boxes(op: Op, dtype, device, generator) -> None:
    """Folding a batch into images shifts the image index past what a half type can hold."""
    options = Options((1, 1), offset=False)
    case = make_case(op, options, generator, (4, 4), {"box": (0, 0, 2, 2)}, 1, 1, dtype)
    if op.columns == 5:
        case.boxes[:, 1:] = torch.tensor([1.5, 1.5, 1, 1, 0])
    images = torch.arange(2100, device=device).remainder(97).to(dtype)
    maps = [images.view(-1, 1, 1, 1, 1).expand(-1, *m.shape) for m in case.to(device).maps]
    boxes = case.boxes.to(device).expand(2100, *case.boxes.shape)
    assert torch.equal(vmap(case.run)(*maps, boxes).flatten(), images)


@each_op
def test_vmap_of_a_bad_image_index_raises(op: Op, device, generator) -> None:
    """Folded into images, index 2 of 2 would silently read the next element of the batch."""
    if device == "cuda":
        pytest.skip("a device-side assert would end the CUDA context")
    for bad in (2, -1):
        case = problem(op, device, generator)
        if op.has_indices:
            case.extra[1] = bad
        else:
            case.boxes[1, 0] = bad
        tensors = [t.expand(3, *t.shape) for t in case.tensors]
        with pytest.raises(IndexError):
            vmap(case.run)(*tensors)
        with pytest.raises(IndexError):
            vmap(vmap(case.run))(*(t.expand(2, *t.shape) for t in tensors))
