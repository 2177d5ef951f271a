"""What is registered, for which keys, and that every key tells the same story."""

from __future__ import annotations

import pytest
import torch
from box_ops import BOX_OPS
from boxes import finite_boxes
from cases import Case, make_case
from expecttest import assert_expected_inline
from op_table import OPS, Op, each_op, few_options, one_option, sample_cases
from tolerance import assert_same_bits
from torch.utils._python_dispatch import TorchDispatchMode

H, W = 9, 8


def schemas() -> list[torch._C.FunctionSchema]:
    every = torch._C._jit_get_all_schemas()
    return sorted((s for s in every if s.name.startswith("roiops::")), key=lambda s: s.name)


def test_schemas() -> None:
    """Saved programs hold them: append arguments with defaults."""
    assert_expected_inline(
        "\n".join(map(str, schemas())),
        """\
roiops::_max_backward(Tensor grad, Tensor argmax, Tensor boxes, SymInt[] input_size, str op, float[] options) -> Tensor
roiops::_max_backward_boxes(Tensor grad, Tensor input, Tensor argmax, Tensor boxes, str op, float[] options) -> Tensor
roiops::_max_select(Tensor input, Tensor argmax, Tensor boxes, Tensor? boxes_tangent, str op, float[] options) -> Tensor
roiops::_mean(Tensor input, Tensor boxes, Tensor? extra, SymInt[] output_size, str op, float[] options) -> Tensor
roiops::_mean_backward(Tensor grad, Tensor boxes, Tensor? extra, SymInt[] input_size, str op, float[] options) -> Tensor
roiops::_mean_backward_boxes(Tensor grad, Tensor input, Tensor boxes, Tensor? extra, str op, float[] options) -> (Tensor, Tensor)
roiops::_mean_jvp_boxes(Tensor input, Tensor boxes, Tensor? extra, Tensor? boxes_tangent, Tensor? extra_tangent, SymInt[] output_size, str op, float[] options) -> Tensor
roiops::box_iou(Tensor boxes1, Tensor boxes2) -> Tensor
roiops::box_iou_rotated(Tensor boxes1, Tensor boxes2, bool clockwise=False) -> Tensor
roiops::crop_and_resize(Tensor image, Tensor boxes, Tensor box_indices, SymInt crop_height, SymInt crop_width, str method="bilinear", float extrapolation_value=0.) -> Tensor
roiops::deform_roi_pool(Tensor input, Tensor rois, Tensor? offset, float spatial_scale, SymInt pooled_height, SymInt pooled_width, int sampling_ratio=0, float gamma=0.10000000000000001) -> Tensor
roiops::multiscale_roi_align(Tensor[] features, Tensor rois, float[] spatial_scales, SymInt pooled_height, SymInt pooled_width, int sampling_ratio=-1, bool aligned=False, int canonical_scale=224, int canonical_level=4) -> Tensor
roiops::nms_padded(Tensor boxes, Tensor scores, float iou_threshold, SymInt max_output, Tensor? idxs=None, float? score_threshold=None, bool clockwise=False) -> (Tensor, Tensor)
roiops::prroi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) -> Tensor
roiops::ps_roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, int sampling_ratio=-1) -> Tensor
roiops::ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) -> Tensor
roiops::roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, int sampling_ratio=-1, bool aligned=False) -> Tensor
roiops::roi_align_max(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, int sampling_ratio=-1, bool aligned=False) -> (Tensor, Tensor)
roiops::roi_align_rotated(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, int sampling_ratio=-1, bool aligned=True, bool clockwise=False) -> Tensor
roiops::roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) -> (Tensor, Tensor)
roiops::soft_nms_padded(Tensor boxes, Tensor scores, SymInt max_output, float iou_threshold=0.29999999999999999, float sigma=0.5, float min_score=0.001, str method="linear", Tensor? idxs=None, bool clockwise=False) -> (Tensor, Tensor, Tensor)""",
    )


def test_kernels_of_each_dispatch_key() -> None:
    keys = ["CPU", "CUDA", "Meta", "Autograd", "FuncTorchBatched", "AutocastCPU", "AutocastCUDA"]
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    for schema in schemas():
        private = schema.name.startswith("roiops::_")
        missing = [k for k in keys if not has(schema.name, k)]
        assert missing == (keys[5:] if private else []), schema.name


def test_the_op_table_lists_every_operator() -> None:
    overloads = {overload for op in OPS for overload in (op.overload, *op.private)}
    names = {o._schema.name for o in overloads} | {f"roiops::{name}" for name in BOX_OPS}
    assert names == {s.name for s in schemas()}


def test_no_python_kernel_shadows_the_meta_kernels() -> None:
    """register_fake would silently replace the C++ kernel."""
    for s in schemas():
        lines = torch._C._dispatch_dump(s.name).splitlines()
        meta = [line for line in lines if line.startswith("Meta")]
        assert len(meta) == 1 and ".cpp" in meta[0], meta
        assert not any(line.startswith("CompositeImplicit") for line in lines)


def needs(case: Case) -> list[tuple[bool, ...]]:
    """No gradient, one of each kind of tensor, all."""
    can, none = case.needs, [False] * len(case.needs)
    ones = [[i == j and need for j in range(len(can))] for i, need in enumerate(can)]
    return list(dict.fromkeys(tuple(n) for n in (none, *ones, can)))


@each_op
def test_opcheck(op: Op, device, generator) -> None:
    for number, (_, case) in enumerate(sample_cases(op, device, generator)):
        for need in needs(case) if number == 0 else [case.needs]:
            torch.library.opcheck(op.overload, case.leaves(need).args)


@each_op
def test_opcheck_of_the_private_operators(op: Op, device, generator) -> None:
    for name, case in sample_cases(op, device, generator):
        for overload, args in case.private_calls():
            checks = ("test_schema", "test_faketensor", "test_autograd_registration")
            if name in ("channels_last", "no_rois"):
                checks += ("test_aot_dispatch_dynamic",)
            torch.library.opcheck(overload, args, test_utils=checks)


@one_option
def test_opcheck_of_double_backward(op: Op, options, device, generator) -> None:
    case = make_case(op, options, generator, (9, 8), dtype=torch.float32, device=device)
    for overload, args in case.private_calls()[:2]:
        first = args[0].clone().requires_grad_()
        torch.library.opcheck(overload, (first, *args[1:]))


def on_meta(args):
    if isinstance(args, (tuple, list)) and any(isinstance(a, torch.Tensor) for a in args):
        return type(args)(map(on_meta, args))
    if isinstance(args, torch.Tensor):
        return torch.empty_strided(args.shape, args.stride(), dtype=args.dtype, device="meta")
    return args


ODD_STRIDES = {
    "one_pixel_last": lambda x: x[:, :, :1, :1].to(memory_format=torch.channels_last),
    "expanded": lambda x: x[:, :1].expand_as(x),
    "permuted": lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "one_image_last": lambda x: x[:1].to(memory_format=torch.channels_last),
}


def told(tensor: torch.Tensor):
    return tensor.shape, tensor.stride(), tensor.dtype


@each_op
def test_meta_kernels_foretell_shape_strides_and_type(op: Op, device, generator) -> None:
    cases = list(sample_cases(op, device, generator, torch.bfloat16))
    for name, view in ODD_STRIDES.items():
        case = make_case(op, op.few_options[-1], generator, (H, W), finite_boxes(H, W), 1)
        cases.append((name, case.to(device).map(view)))
        cases.append((f"{name}_one_box", case.to(device).map(view).rows(slice(1))))
    for name, case in cases:
        for overload, args in [(op.overload, case.args), *case.private_calls()]:
            real, meta = overload(*args), overload(*on_meta(args))
            pairs = zip(real, meta, strict=True) if isinstance(real, tuple) else [(real, meta)]
            for a, b in pairs:
                assert b.device.type == "meta"
                assert told(b) == told(a), (overload, name)


class Arguments(TorchDispatchMode):
    """Records the types of the tensors that reach the kernels of roiops."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[torch.dtype]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "roiops":
            flat = torch.utils._pytree.tree_leaves(args)
            dtypes = [a.dtype for a in flat if isinstance(a, torch.Tensor)]
            self.seen.append((func._schema.name, dtypes))
        return func(*args, **(kwargs or {}))


@few_options
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=("bfloat16", "float16"))
@pytest.mark.parametrize(
    "boxes_dtype", [torch.float32, torch.bfloat16], ids=("float32", "bfloat16")
)
def test_autocast_casts_the_boxes_and_not_the_map(
    op: Op, options, low, boxes_dtype, device, generator
) -> None:
    boxes = finite_boxes(H, W)
    case = make_case(
        op, options, generator, (H, W), boxes, dtype=low, boxes_dtype=boxes_dtype, device=device
    ).leaves()
    with torch.autocast(device, low), Arguments() as arguments:
        out = case()
    ((name, dtypes),) = arguments.seen
    levels = len(case.maps)
    assert name == f"roiops::{op.name}"
    assert dtypes[: levels + 1] == [low] * levels + [torch.float32]
    assert out.dtype == low
    wide = [t.float() for t in case.tensors[levels : levels + 1]]
    assert_same_bits(out, case.of(*case.maps, *wide, *case.tensors[levels + 1 :])())
    gradients = torch.autograd.grad(out, case.trainable, torch.ones_like(out))
    assert [g.dtype for g in gradients] == [t.dtype for t in case.trainable]


@one_option
def test_autocast_of_wider_features_keeps_them(op: Op, options, device, generator) -> None:
    for dtype in (torch.float32, torch.float64):
        case = make_case(op, options, generator, (H, W), dtype=dtype, device=device)
        with torch.autocast(device, torch.bfloat16):
            assert case().dtype == dtype


def allocated(run) -> tuple[torch.Tensor, list[int]]:
    """What run() returns, and how many bytes each of its allocations takes."""
    on_cpu = {"activities": [torch.profiler.ProfilerActivity.CPU], "acc_events": True}
    with torch.profiler.profile(profile_memory=True, **on_cpu) as profile:
        result = run()
    events = profile.profiler.kineto_results.events()
    return result, [e.nbytes() for e in events if e.name() == "[memory]" and e.nbytes() > 0]


@one_option
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=("bfloat16", "float16"))
def test_autocast_makes_no_wider_copy_of_the_map(op: Op, options, low, generator) -> None:
    """Forward allocates less than a map, backward nothing larger than the 16-bit gradient."""
    boxes = {"left": (3, 4, 20, 30), "right": (30, 20, 60, 63)}
    case = make_case(op, options, generator, (64, 60), boxes, channels=8, dtype=low).leaves()
    with torch.autocast("cpu", low):
        out, forward = allocated(case)
    gradients, backward = allocated(
        lambda: torch.autograd.grad(out, case.trainable, torch.ones_like(out))
    )
    assert out.nbytes in forward and max(forward) < min(m.nbytes for m in case.maps)
    sizes = [m.nbytes for m in case.maps]
    assert [g.nbytes for g in gradients[: len(sizes)]] == sizes
    assert sorted(b for b in backward if b >= min(sizes)) == sorted(sizes)
