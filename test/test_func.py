"""torch.func on the operators: derivative transforms, and vmap in every combination."""

from __future__ import annotations

import pytest
import torch
from boxes import as_rois, edge_boxes, hard_boxes
from op_table import DTYPES, Op, Options, each_op, few_options
from tolerance import assert_close, assert_same_bits
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

H, W = 5, 6
OPTIONS = Options((2, 3), 1.0, 2, True)


def features(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.fixture(autouse=True)
def no_vmap_fallback():
    """Without a rule vmap loops and only warns: here it raises."""
    torch._C._functorch._set_vmap_fallback_enabled(False)
    yield
    torch._C._functorch._set_vmap_fallback_enabled(True)


def problem(device: str, generator: torch.Generator):
    x = features(generator, 2, 2, H, W).to(device)
    rois = torch.tensor(
        [[0, 1.137, 0.731, 4.571, 3.979], [1, -1.383, 1.123, 2.627, 4.337]],
        dtype=torch.float64, device=device,
    )  # fmt: skip
    return x, rois


@each_op
def test_grad_jvp_and_vjp_agree_with_the_operators(op: Op, device, generator) -> None:
    x, rois = problem(device, generator)
    g = features(generator, 2, 2, 2, 3).to(device)
    t, t_rois = features(generator, *x.shape).to(device), features(generator, 2, 5).to(device)

    def run(x, rois):
        return op.overload(x, rois, *OPTIONS.args)

    by_x = op.input_gradient(g, rois, x.shape, *OPTIONS.args)
    by_rois = op.box_gradient(g, x, rois, *OPTIONS.args)
    for got in (vjp(run, x, rois)[1](g), grad(lambda a: (run(*a) * g).sum())((x, rois))):
        assert_same_bits(got[0], by_x)
        assert_same_bits(got[1], by_rois)
    out, tangent = jvp(run, (x, rois), (t, t_rois))
    assert_same_bits(out, run(x, rois))
    assert_same_bits(tangent, run(t, rois) + op.box_jvp(x, rois, t_rois, *OPTIONS.args))


@each_op
def test_jacobians_of_both_modes_agree(op: Op, device, generator) -> None:
    x, rois = problem(device, generator)

    def run(x, rois):
        return op.overload(x, rois, *OPTIONS.args)

    for argument in (0, 1):
        reverse, forward = jacrev(run, argument)(x, rois), jacfwd(run, argument)(x, rois)
        assert reverse.abs().max() > 0.01
        assert_close(forward, reverse.cpu(), float(reverse.abs().max()))


@each_op
def test_hessian_of_a_square_is_two_a_transposed_a(op: Op, device, generator) -> None:
    x, rois = problem(device, generator)

    def run(x):
        return op.overload(x, rois, *OPTIONS.args)

    jacobian = jacrev(run)(x).flatten(0, 3).flatten(1)
    second = hessian(lambda x: run(x).square().sum())(x).reshape(x.numel(), x.numel())
    assert_close(second, (2 * jacobian.T @ jacobian).cpu(), 1.0)


@each_op
def test_per_sample_gradients_of_a_module(op: Op, device, generator) -> None:
    x, rois = problem(device, generator)
    net = torch.nn.Conv2d(2, 3, 1, dtype=torch.float64, device=device)
    params = dict(net.named_parameters())

    def loss(params, x, rois):
        maps = functional_call(net, params, x[None])
        return op.overload(maps, rois, *OPTIONS.args).square().sum()

    rois = rois.clone()
    rois[:, 0] = 0
    got = vmap(grad(loss), (None, 0, 0))(params, x, rois[:, None])
    for i in range(2):
        expected = grad(loss)(params, x[i], rois[i : i + 1])
        for name in params:
            magnitude = float(expected[name].detach().abs().max()) + 10
            assert_close(got[name][i], expected[name].detach().cpu(), magnitude)


def check_vmap(function, args, in_dims) -> None:
    """vmap(function) equals a loop, at any output dimension."""
    size = next(a.shape[d] for a, d in zip(args, in_dims, strict=True) if d is not None)
    rows = [
        function(*(a if d is None else a.select(d, i) for a, d in zip(args, in_dims, strict=True)))
        for i in range(size)
    ]
    for out_dim in (0, 2, -1):
        expected = torch.stack(rows, out_dim)
        actual = vmap(function, in_dims, out_dim)(*args)
        assert actual.dtype == expected.dtype
        assert_close(actual, expected.cpu().double(), 4 * float(expected.abs().max()))


def batched(t: torch.Tensor, dim: int | None, generator: torch.Generator) -> torch.Tensor:
    """Three different versions of `t`, stacked at `dim`."""
    if dim is None:
        return t
    versions = [t + 0.125 * i for i in range(3)]
    return torch.stack(versions, dim)


DIMS = [(d, None) for d in (0, 1, 2, 3, 4, -1)] + [(None, d) for d in (0, 1, 2, -1)]
DIMS += [(0, 0), (4, 2), (2, 1), (-1, 0)]


@few_options
@pytest.mark.parametrize("dims", DIMS, ids=str)
def test_vmap_equals_a_loop(op: Op, options, dims, device, generator) -> None:
    x = features(generator, 2, 3, H, W).to(device)
    rois = as_rois(edge_boxes(H, W), options.spatial_scale).to(device)
    args = batched(x, dims[0], generator), batched(rois, dims[1], generator)
    check_vmap(lambda x, rois: op.overload(x, rois, *options.args), args, dims)


@few_options
@pytest.mark.parametrize("dims", DIMS, ids=str)
def test_vmap_of_input_gradient_equals_a_loop(op: Op, options, dims, device, generator) -> None:
    rois = as_rois(edge_boxes(H, W), options.spatial_scale).to(device)
    grad = features(generator, len(rois), 3, *options.output_size).to(device)
    args = batched(grad, dims[0], generator), batched(rois, dims[1], generator)
    check_vmap(lambda g, r: op.input_gradient(g, r, (2, 3, H, W), *options.args), args, dims)


@few_options
@pytest.mark.parametrize(
    "dims", [(0, None, None), (None, 0, None), (None, None, 0), (1, 2, 0), (0, 0, None)], ids=str
)
def test_vmap_of_box_derivatives_equals_a_loop(op: Op, options, dims, device, generator) -> None:
    x = features(generator, 2, 3, H, W).to(device)
    rois = as_rois(edge_boxes(H, W), options.spatial_scale).to(device)
    grad = features(generator, len(rois), 3, *options.output_size).to(device)
    tangent = features(generator, len(rois), 5).to(device)
    b = [batched(t, d, generator) for t, d in zip((grad, x, rois), dims, strict=True)]

    def reverse(g, x, r):
        return op.box_gradient(g, x, r, *options.args)[..., None]

    check_vmap(reverse, b, dims)
    b[0] = batched(tangent, dims[0], generator)
    check_vmap(lambda t, x, r: op.box_jvp(x, r, t, *options.args), b, dims)


@each_op
def test_vmap_of_vmap(op: Op, device, generator) -> None:
    x = features(generator, 2, 3, 2, 1, H, W).to(device)
    rois = as_rois(hard_boxes(H, W)).to(device)
    got = vmap(vmap(lambda x: op.overload(x, rois, *OPTIONS.args)))(x)
    for i in range(2):
        for j in range(3):
            assert_same_bits(got[i, j], op.overload(x[i, j], rois, *OPTIONS.args))


@each_op
@pytest.mark.parametrize("dtype", DTYPES[2:], ids=("float16", "bfloat16"))
def test_vmap_over_many_images_with_half_rois(op: Op, dtype, device) -> None:
    """Folding a batch into images shifts the image index past what a half type can hold."""
    images = torch.arange(2100, device=device).remainder(97).to(dtype)
    x = images.view(-1, 1, 1, 1, 1).expand(-1, 1, 1, 4, 4)
    rois = torch.tensor([[0.0, 0, 0, 3, 3]], dtype=dtype, device=device).expand(2100, 1, 5)
    out = vmap(lambda x, rois: op.overload(x, rois, *Options((1, 1)).args))(x, rois)
    assert torch.equal(out.flatten(), images)


@each_op
def test_vmap_of_a_bad_image_index_raises(op: Op, device, generator) -> None:
    """Folded into images, index 2 of 2 would silently read the next element of the batch."""
    if device == "cuda":
        pytest.skip("a device-side assert would end the CUDA context")
    x = features(generator, 3, 2, 1, H, W)
    rois = torch.tensor([[[2.0, 0, 0, 3, 3]]]).double().expand(3, 1, 5)
    with pytest.raises(IndexError):
        vmap(lambda x, rois: op.overload(x, rois, *OPTIONS.args))(x, rois)
