"""What is registered, for which keys, and that every key tells the same story."""

from __future__ import annotations

import pytest
import torch
from boxes import as_rois, edge_boxes, finite_boxes
from expecttest import assert_expected_inline
from op_table import (
    MEAN,
    MEAN_BACKWARD,
    MEAN_BACKWARD_BOXES,
    MEAN_JVP_BOXES,
    OPS,
    Op,
    Options,
    Sample,
    each_op,
    sample_inputs,
)
from tolerance import assert_same_bits
from torch.utils._python_dispatch import TorchDispatchMode

H, W = 9, 8


def schemas() -> list[torch._C.FunctionSchema]:
    every = torch._C._jit_get_all_schemas()
    return sorted((s for s in every if s.name.startswith("roiops::")), key=lambda s: s.name)


def test_schemas() -> None:
    assert_expected_inline(
        "\n".join(map(str, schemas())),
        """\
roiops::_mean(Tensor input, Tensor boxes, SymInt[] output_size, str op, float[] options) -> Tensor
roiops::_mean_backward(Tensor grad, Tensor boxes, SymInt[] input_size, str op, float[] options) -> Tensor
roiops::_mean_backward_boxes(Tensor grad, Tensor input, Tensor boxes, str op, float[] options) -> Tensor
roiops::_mean_jvp_boxes(Tensor input, Tensor boxes, Tensor tangent, SymInt[] output_size, str op, float[] options) -> Tensor
roiops::roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, int sampling_ratio=-1, bool aligned=False) -> Tensor""",
    )


def test_kernels_of_each_dispatch_key() -> None:
    keys = ["CPU", "Meta", "Autograd", "AutocastCPU", "AutocastCUDA", "FuncTorchBatched"]
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    rows = [f"{s.name}: {' '.join(k for k in keys if has(s.name, k))}" for s in schemas()]
    assert_expected_inline(
        "\n".join(rows),
        """\
roiops::_mean: CPU Meta Autograd FuncTorchBatched
roiops::_mean_backward: CPU Meta Autograd FuncTorchBatched
roiops::_mean_backward_boxes: CPU Meta Autograd FuncTorchBatched
roiops::_mean_jvp_boxes: CPU Meta Autograd FuncTorchBatched
roiops::roi_align: CPU Meta Autograd AutocastCPU AutocastCUDA FuncTorchBatched""",
    )


def test_cuda_kernels_are_all_there_or_none() -> None:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    assert len({has(s.name, "CUDA") for s in schemas()}) == 1


def test_the_op_table_lists_every_operator() -> None:
    listed = {op.overload for op in OPS} | {
        MEAN,
        MEAN_BACKWARD,
        MEAN_BACKWARD_BOXES,
        MEAN_JVP_BOXES,
    }
    assert {overload._schema.name for overload in listed} == {s.name for s in schemas()}


def test_no_python_kernel_shadows_the_meta_kernels() -> None:
    """register_fake would silently replace the C++ kernel."""
    for s in schemas():
        lines = torch._C._dispatch_dump(s.name).splitlines()
        meta = [line for line in lines if line.startswith("Meta")]
        assert len(meta) == 1 and ".cpp" in meta[0], meta
        assert not any(line.startswith("CompositeImplicit") for line in lines)


def tensors_needing_grad(args: tuple, need: tuple[bool, ...]) -> tuple:
    """A copy of `args` whose first tensors require grad as told, as leaves with equal strides."""
    need_of = iter(need)
    copies = []
    for arg in args:
        if isinstance(arg, torch.Tensor):
            copy = torch.empty_strided(arg.shape, arg.stride(), dtype=arg.dtype, device=arg.device)
            arg = copy.copy_(arg).requires_grad_(next(need_of, False))
        copies.append(arg)
    return tuple(copies)


NEEDS = [(False, False), (True, False), (False, True), (True, True)]


@each_op
@pytest.mark.parametrize("need", NEEDS, ids=("no_grad", "input", "boxes", "both"))
def test_opcheck(op: Op, need, device, generator) -> None:
    for sample in sample_inputs(op, device, generator):
        torch.library.opcheck(op.overload, tensors_needing_grad(sample.args, need))


def private_samples(op: Op, device: str, generator: torch.Generator):
    """(overload, Sample) for each operator behind the derivatives of `op`."""
    for sample in sample_inputs(op, device, generator):
        x, rois, scale, ph, pw, ratio, aligned = sample.args
        grad = torch.ones_like(op.overload(*sample.args))
        options = Options((ph, pw), scale, ratio, aligned)
        calls = op.private_calls(x, rois, grad, torch.ones_like(rois), options)
        for overload, args in calls.items():
            yield overload, Sample(sample.name, args)


@each_op
def test_opcheck_of_the_private_operators(op: Op, device, generator) -> None:
    for overload, sample in private_samples(op, device, generator):
        torch.library.opcheck(overload, sample.args)


@each_op
def test_opcheck_of_double_backward(op: Op, device, generator) -> None:
    for overload, sample in private_samples(op, device, generator):
        if overload in (MEAN, MEAN_BACKWARD):
            torch.library.opcheck(overload, tensors_needing_grad(sample.args, (True, False)))


def on_meta(args: tuple) -> tuple:
    return tuple(
        torch.empty_strided(a.shape, a.stride(), dtype=a.dtype, device="meta")
        if isinstance(a, torch.Tensor)
        else a
        for a in args
    )


@each_op
def test_meta_kernels_foretell_shape_strides_and_type(op: Op, device, generator) -> None:
    calls = [(op.overload, s) for s in sample_inputs(op, device, generator, torch.bfloat16)]
    calls += list(private_samples(op, device, generator))
    x = torch.ones(2, 1, H, W, device=device)
    rois = as_rois(edge_boxes(H, W)).to(device)
    for name, view in {
        "one_channel_last": x.to(memory_format=torch.channels_last),
        "one_pixel_last": x[:, :, :1, :1].repeat(1, 3, 1, 1).to(memory_format=torch.channels_last),
        "expanded": x.expand(-1, 5, -1, -1),
        "permuted": x.expand(-1, 5, -1, -1).contiguous().permute(0, 2, 3, 1),
        "one_roi": x.expand(-1, 5, -1, -1).to(memory_format=torch.channels_last),
    }.items():
        k = 1 if name == "one_roi" else len(rois)
        calls.append((op.overload, Sample(name, (view, rois[:k], *op.few_options[1].args))))
    for overload, sample in calls:
        real, meta = overload(*sample.args), overload(*on_meta(sample.args))
        assert meta.device.type == "meta"
        told = (meta.shape, meta.stride(), meta.dtype)
        assert told == (real.shape, real.stride(), real.dtype), (overload, sample.name)


class Arguments(TorchDispatchMode):
    """Records the types of the tensors that reach the kernels of roiops."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[torch.dtype]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "roiops":
            dtypes = [a.dtype for a in args if isinstance(a, torch.Tensor)]
            self.seen.append((func._schema.name, dtypes))
        return func(*args, **(kwargs or {}))


@each_op
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=("bfloat16", "float16"))
@pytest.mark.parametrize("rois_dtype", [torch.float32, torch.bfloat16], ids=("float32", "bfloat16"))
def test_autocast_casts_the_boxes_and_not_the_map(
    op: Op, low, rois_dtype, device, generator
) -> None:
    x = torch.randn(2, 3, H, W, generator=generator).to(device, low).requires_grad_()
    rois = as_rois(finite_boxes(H, W)).to(device, rois_dtype).requires_grad_()
    args = op.few_options[1].args
    with torch.autocast(device, low), Arguments() as arguments:
        out = op.overload(x, rois, *args)
    assert arguments.seen == [(f"roiops::{op.name}", [low, torch.float32])]
    assert out.dtype == low
    assert_same_bits(out, op.overload(x, rois.float(), *args))
    by_x, by_rois = torch.autograd.grad(out, (x, rois), torch.ones_like(out))
    assert (by_x.dtype, by_rois.dtype) == (low, rois_dtype)


@each_op
def test_autocast_after_a_convolution(op: Op, device, generator) -> None:
    net = torch.nn.Conv2d(3, 4, 1, device=device)
    x = torch.randn(2, 3, H, W, generator=generator).to(device)
    rois = as_rois(finite_boxes(H, W)).float().to(device)
    with torch.autocast(device, torch.bfloat16):
        assert op.function(net(x), rois, 3).dtype == torch.bfloat16
        assert op.function(x, rois, 3).dtype == torch.float32
        assert op.function(x.double(), rois.double(), 3).dtype == torch.float64
