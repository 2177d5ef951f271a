"""Compositions of torch.func's transforms, and the derivatives that the operators refuse."""

from __future__ import annotations

import operator

import pytest
import torch
from cases import Case, features, grad_of
from op_table import Op, each_op, some_ops
from test_func import batched, check_vmap, no_vmap_fallback, problem  # noqa: F401 (a fixture)
from tolerance import assert_close, assert_same_bits
from torch.autograd import forward_ad
from torch.func import functionalize, grad, jacfwd, jacrev, jvp, linearize, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint


def trainable(case: Case) -> list[int]:
    return [i for i, need in enumerate(case.needs) if need]


def scalar(case: Case, g: torch.Tensor):
    return lambda *tensors: (case.run(*tensors) * g).square().sum()


@each_op
@pytest.mark.parametrize("what", ["maps", "boxes", "all"])
def test_vmap_of_grad_equals_a_loop(op: Op, what, device, generator) -> None:
    """A gradient for each entry of the batch: of the features, of the boxes, or of both."""
    case = problem(op, device, generator)
    dims = [0 if (what == "all" or (i < op.levels) == (what == "maps")) else None
            for i in range(len(case.tensors))]  # fmt: skip
    args = [batched(t, d) for t, d in zip(case.tensors, dims, strict=True)]
    by_each = grad(scalar(case, grad_of(case, generator)), tuple(trainable(case)))
    check_vmap(by_each, args, dims)


def plain(case: Case):
    """case.run, without the classes of the tests, which torch.compile of 2.11 cannot trace."""
    op, options = case.op.overload, case.op.args(case.options)
    levels, pyramid, takes_maximum = case.op.levels, case.op.pyramid, case.op.takes_maximum

    def run(*tensors):
        maps = list(tensors[:levels]) if pyramid else tensors[0]
        result = op(maps, *tensors[levels:], *options)
        return result[0] if takes_maximum else result

    return run


@each_op
def test_compiled_transforms_equal_eager(op: Op, device, generator) -> None:
    """vmap, vmap(grad) and a checkpoint in a function that torch.compile takes whole."""
    case = problem(op, device, generator)
    args = [batched(t, 0) for t in case.tensors]
    run, g, which = plain(case), grad_of(case, generator), tuple(trainable(case))

    def loss(*tensors):
        return (run(*tensors) * g).square().sum()

    def transforms(*tensors):
        return vmap(run)(*tensors), *vmap(grad(loss, which))(*tensors)

    def kept(*tensors):
        return checkpoint(run, *tensors, use_reentrant=False)

    def compiled(function):
        torch._dynamo.reset()
        return torch.compile(function, backend="aot_eager", fullgraph=True)

    for got, expected in zip(compiled(transforms)(*args), transforms(*args), strict=True):
        assert_same_bits(got, expected)
    leaves = case.leaves()
    gradients = [
        torch.autograd.grad(f(*leaves.tensors).square().sum(), leaves.trainable)
        for f in (compiled(kept), run)
    ]
    for got, expected in zip(*gradients, strict=True):
        assert_same_bits(got, expected)


@each_op
def test_chunks_of_a_vmap_change_nothing(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    args = [batched(t, 0) for t in case.tensors]
    assert_same_bits(vmap(case.run, chunk_size=2)(*args), vmap(case.run)(*args))


# Of torch's own constant folding, and of its use of TorchScript.
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@each_op
def test_linearize_is_jvp(op: Op, device, generator) -> None:
    case = problem(op, device, generator)
    which = trainable(case)

    def run(*some):
        tensors = list(case.tensors)
        for i, tensor in zip(which, some, strict=True):
            tensors[i] = tensor
        return case.run(*tensors)

    inputs = [case.tensors[i] for i in which]
    out, linear = linearize(run, *inputs)
    assert_same_bits(out, case())
    for _ in range(2):
        tangents = [features(generator, *t.shape).to(device) for t in inputs]
        expected = jvp(run, tuple(inputs), tuple(tangents))[1]
        assert_close(linear(*tangents), expected.cpu(), 10 * float(expected.abs().max()))


@each_op
def test_functionalize_keeps_the_operator(op: Op, device, generator) -> None:
    """What is written in place around the operator becomes functional; the operator is."""
    case = problem(op, device, generator)

    def run(*tensors):
        maps = [m.clone().mul_(2) for m in tensors[: op.levels]]
        return case.run(*maps, *tensors[op.levels :]).add_(1)

    graph = make_fx(functionalize(run))(*case.tensors)
    calls = [n.target for n in graph.graph.nodes if n.op == "call_function"]
    assert calls.count(op.overload) == 1
    assert not any(c._schema.is_mutable for c in calls if c is not operator.getitem)
    assert_same_bits(graph(*case.tensors), run(*case.tensors))


@each_op
def test_the_four_second_derivatives_by_the_features_agree(op: Op, device, generator) -> None:
    """Forward over reverse, reverse over forward, and each mode over itself."""
    case = problem(op, device, generator)
    g = grad_of(case, generator)
    v = features(generator, *case.maps[0].shape).to(device)

    def loss(x):
        return scalar(case, g)(x, *case.tensors[1:])

    def slope(x):
        return jvp(loss, (x,), (v,))[1]

    x = case.maps[0]
    expected = vjp(grad(loss), x)[1](v)[0]
    assert expected.any()
    close = {"magnitude": 10 * float(expected.abs().max())}
    assert_close(jvp(grad(loss), (x,), (v,))[1], expected.cpu(), **close)
    assert_close(grad(slope)(x), expected.cpu(), **close)
    curvature = jvp(slope, (x,), (v,))[1]
    assert_close(curvature[None], (expected * v).sum()[None].cpu(), 10 * float(curvature.abs()))


@some_ops(lambda op: not op.constant_in_boxes)
@pytest.mark.parametrize(
    "second",
    [
        lambda f, x: jacfwd(grad(f))(x),
        lambda f, x: jacrev(grad(f))(x),
        lambda f, x: grad(lambda x: jvp(f, (x,), (torch.ones_like(x),))[1])(x),
        lambda f, x: jvp(lambda x: jvp(f, (x,), (torch.ones_like(x),))[1], (x,), (x,)),
    ],
    ids=["forward_over_reverse", "reverse_over_reverse", "reverse_over_forward",
         "forward_over_forward"],
)  # fmt: skip
def test_second_derivatives_by_the_boxes_raise_by_name(op: Op, second, device, generator) -> None:
    """Never zeros."""
    case = problem(op, device, generator)
    loss = scalar(case, grad_of(case, generator))
    rest = case.tensors[op.levels + 1 :]
    with pytest.raises(RuntimeError, match=f"{op.name}: second derivatives by"):
        second(lambda boxes: loss(*case.maps, boxes, *rest), case.boxes)


@each_op
def test_a_dual_tensor_carries_both_derivatives(op: Op, device, generator) -> None:
    """Forward mode without torch.func, in a graph that also has a backward."""
    case = problem(op, device, generator).leaves()
    v = features(generator, *case.maps[0].shape).to(device)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(case.maps[0], v)
        out, tangent = forward_ad.unpack_dual(case.run(dual, *case.tensors[1:]))
    rest = case.linear.run(v, *(torch.zeros_like(m) for m in case.maps[1:]),
                           *case.tensors[op.levels :])  # fmt: skip
    if not op.takes_maximum:  # whose winners are those of the map
        assert_close(tangent, rest.detach().cpu(), 10 * float(rest.detach().abs().max()))
    g = grad_of(case, generator)
    got = torch.autograd.grad(out, case.trainable, g)
    for a, b in zip(got, torch.autograd.grad(case(), case.trainable, g), strict=True):
        assert_same_bits(a, b)
