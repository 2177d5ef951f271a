"""The operators on boxes alone under every transform: compiled, exported, scripted, batched, fake."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.fx
from box_ops import BOX_OPS, random_boxes, random_rotated
from torch import Tensor, nn

import roiops

OPS = torch.ops.roiops


def sample_calls(device: str = "cpu") -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Of every operator, with no, few and many boxes, batches and all options."""
    generator = torch.Generator().manual_seed(5)
    for count, images in itertools.product((0, 1, 30), (None, 0, 3)):
        for make in (random_boxes, random_rotated):
            several = [make(count, generator, extent=30.0) for _ in range(max(images or 1, 1))]
            boxes, scores = (torch.stack(list(t)) for t in zip(*several, strict=True))
            if images is None:
                boxes, scores = boxes[0], scores[0]
            else:
                boxes, scores = boxes[:images], scores[:images]
            idxs = (scores * 3).int().to(device)
            boxes, scores = boxes.to(device), scores.to(device)
            yield "nms_padded", (boxes, scores, 0.3, 12)
            yield "nms_padded", (boxes.half(), scores.double(), 0.3, 40, idxs, 0.2, True)
            yield "soft_nms_padded", (boxes, scores, 12)
            options = (0.2, 0.4, 0.05, "gaussian", idxs, True)
            yield "soft_nms_padded", (boxes.double(), scores.bfloat16(), 40, *options)
            name = "box_iou" if boxes.shape[-1] == 4 else "box_iou_rotated"
            few = boxes[..., :7, :]
            yield name, (boxes, few.new_zeros(few.shape, dtype=torch.bfloat16).copy_(few))


def overload(name: str) -> Any:
    return getattr(OPS, name).default


def test_samples_call_every_operator() -> None:
    assert {name for name, _ in sample_calls()} == set(BOX_OPS)


def test_opcheck(device) -> None:
    for name, args in sample_calls(device):
        torch.library.opcheck(overload(name), args)


def test_opcheck_with_gradients(device) -> None:
    for name, args in sample_calls(device):
        leaves = [
            a.clone().requires_grad_() if isinstance(a, Tensor) and a.is_floating_point() else a
            for a in args
        ]
        checks: tuple[str, ...] = ("test_schema", "test_autograd_registration", "test_faketensor")
        if name in ("nms_padded", "box_iou"):  # the others raise in backward
            checks += ("test_aot_dispatch_dynamic",)
        torch.library.opcheck(overload(name), tuple(leaves), test_utils=checks)


def told(results: Any) -> list[Any]:
    several = results if isinstance(results, tuple) else (results,)
    return [(t.shape, t.stride(), t.dtype) for t in several]


def test_meta_kernels_foretell_the_results(device) -> None:
    for name, args in sample_calls(device):
        meta = [a.to("meta") if isinstance(a, Tensor) else a for a in args]
        assert told(overload(name)(*meta)) == told(overload(name)(*args)), name


Results = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def in_functions(boxes: Tensor, scores: Tensor, idxs: Tensor, turned: Tensor) -> Results:
    """What a model does with the results: their sizes are data."""
    keep = roiops.nms(boxes, scores, 0.3)
    by_class = roiops.batched_nms(boxes, scores, idxs, 0.3)
    rotated = roiops.nms_rotated(turned, scores, 0.3, idxs)
    numbers, lowered = roiops.soft_nms(boxes, scores, min_score=0.2)
    overlaps = roiops.box_iou(boxes[keep], boxes)
    return keep, boxes[by_class] * 2, scores[rotated].sum(), numbers, lowered, overlaps.sum(1)


class Model(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor, idxs: Tensor, turned: Tensor) -> Results:
        return in_functions(boxes, scores, idxs, turned)


def inputs(count: int, same: bool = False) -> tuple[Tensor, ...]:
    """Random boxes, or one box that often, of which one is kept."""
    generator = torch.Generator().manual_seed(6)
    boxes, scores = random_boxes(max(count, 1), generator, extent=40.0)
    turned, _ = random_rotated(max(count, 1), generator)
    if same:
        boxes, turned = (t[:1].repeat(len(scores), 1) for t in (boxes, turned))
    idxs = torch.arange(len(scores)) % (1 if same else 3)
    return tuple(t[:count] for t in (boxes, scores, idxs, turned))


def check(run: Callable[..., Any], counts: tuple[int, ...] = (40, 23, 2, 1, 0)) -> None:
    """Also where none, or one box is left."""
    for count, same in itertools.product(counts, (False, True)):
        got, expected = run(*inputs(count, same)), in_functions(*inputs(count, same))
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_compile(backend) -> None:
    """torchvision's nms fails compiled where it keeps fewer than two boxes."""
    torch._dynamo.reset()
    check(torch.compile(in_functions, backend=backend, fullgraph=True, dynamic=True))


def test_other_sizes_compile_nothing_again() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(in_functions, backend="aot_eager", fullgraph=True, dynamic=True)
    compiled(*inputs(40))
    with torch._dynamo.config.patch(error_on_recompile=True):
        check(compiled, (40, 23, 31))


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict, tmp_path) -> None:
    count = {0: torch.export.Dim("N")}
    program = torch.export.export(Model(), inputs(40), dynamic_shapes=(count,) * 4, strict=strict)
    targets = [str(node.target) for node in program.graph.nodes]
    assert targets.count("roiops.nms_padded.default") == 3
    check(program.module())
    check(program.run_decompositions().module(), (23,))
    torch.export.save(program, tmp_path / "boxes.pt2")
    check(torch.export.load(tmp_path / "boxes.pt2").module(), (23,))


class Classes(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor, idxs: Tensor) -> tuple[Tensor, Tensor]:
        keep = roiops.batched_nms(boxes, scores, idxs, 0.3)
        return keep, boxes[keep] * 2


def test_aotinductor(tmp_path) -> None:
    """One suppression: for two sizes that only the data know torch 2.11 writes C++ that is none."""
    count = {0: torch.export.Dim("N")}
    program = torch.export.export(Classes(), inputs(40)[:3], dynamic_shapes=(count,) * 3)
    options = {"cpp.simdlen": 1, "aot_inductor.compile_wrapper_opt_level": "O0"}
    package = torch._inductor.aoti_compile_and_package(
        program, package_path=str(tmp_path / "boxes.pt2"), inductor_configs=options
    )
    run = torch._inductor.aoti_load_package(package)
    for size, same in itertools.product((40, 23, 2, 1, 0), (False, True)):
        example = inputs(size, same)[:3]
        for a, b in zip(run(*example), Classes()(*example), strict=True):
            assert torch.equal(a, b)


def test_padded_graphs_have_no_size_that_is_data() -> None:
    class Padded(nn.Module):
        def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
            return roiops.nms_padded(boxes, scores, 0.3, 16, None, 0.1)

    boxes, scores, _, _ = inputs(40)
    example = boxes.view(4, 10, 4), scores.view(4, 10)
    both = {0: torch.export.Dim("B"), 1: torch.export.Dim("N")}
    program = torch.export.export(Padded(), example, dynamic_shapes=(both, both))
    assert "aten.item" not in program.graph_module.code
    other = boxes.view(5, 8, 4), scores.view(5, 8)
    for a, b in zip(program.module()(*other), Padded()(*other), strict=True):
        assert torch.equal(a, b)


def test_torchscript(tmp_path) -> None:
    scripted = torch.jit.script(Model())
    check(scripted)
    scripted.save(str(tmp_path / "boxes.pt"))
    check(torch.jit.load(str(tmp_path / "boxes.pt")), (23,))
    check(torch.jit.freeze(scripted.eval()), (23,))


@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
def test_a_trace_keeps_no_count() -> None:
    check(torch.jit.trace(Model(), inputs(40)))


def test_symbolic_traces_see_one_call() -> None:
    traced = torch.fx.symbolic_trace(Model())
    calls = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    for function in (roiops.nms, roiops.batched_nms, roiops.nms_rotated, roiops.soft_nms):
        assert function in calls
    check(traced, (23,))


VMAPS = {
    "nms_padded": lambda b, s, t, i: OPS.nms_padded(b, s, 0.3, 9),
    "with_classes": lambda b, s, t, i: OPS.nms_padded(b, s, 0.3, 9, i, 0.1),
    "rotated": lambda b, s, t, i: roiops.nms_padded(t, s, 0.3, 9, i),
    "soft": lambda b, s, t, i: OPS.soft_nms_padded(b, s, 9),
    "soft_with_classes": lambda b, s, t, i: OPS.soft_nms_padded(
        b, s, 9, 0.3, 0.5, 0.1, "linear", i
    ),
    "box_iou": lambda b, s, t, i: roiops.box_iou(b, b[:5] + 1),
    "box_iou_rotated": lambda b, s, t, i: roiops.box_iou_rotated(t, t[:5] + 1, True),
}


@pytest.mark.parametrize("dims", [d for d in itertools.product((0, 1, None), repeat=2) if any(x is not None for x in d)], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", VMAPS)
def test_vmap(name, dims, device) -> None:
    function, (boxes_dim, scores_dim) = VMAPS[name], dims
    boxes, scores, idxs, turned = (t.to(device) for t in inputs(40))
    tensors = [boxes.view(4, 10, 4), scores.view(4, 10), turned.view(4, 10, 5), idxs.view(4, 10)]
    in_dims = (boxes_dim, scores_dim, boxes_dim, scores_dim)
    given = [t[0] if d is None else t.movedim(0, d) for t, d in zip(tensors, in_dims, strict=True)]
    if name.startswith("box_iou") and boxes_dim is None:
        in_dims = (None, scores_dim, None, scores_dim)
        given[0] = given[0].clone()
    got = torch.vmap(function, in_dims)(*given)
    for image in range(4):
        own = [t[0] if d is None else t[image] for t, d in zip(tensors, in_dims, strict=True)]
        expected = function(*own)
        if isinstance(expected, Tensor):
            got_all, expected = [got], [expected]
        else:
            got_all = list(got)
        for a, b in zip(got_all, expected, strict=True):
            # where nothing is batched that the result depends on, it may be one for all
            assert torch.equal(a[image], b)


def test_vmap_of_images_of_images(device) -> None:
    boxes, scores, _, _ = (t.to(device) for t in inputs(40))
    boxes, scores = boxes.view(2, 4, 5, 4), scores.view(2, 4, 5)
    numbers, count = torch.vmap(lambda b, s: OPS.nms_padded(b, s, 0.3, 5))(boxes, scores)
    nested = torch.vmap(torch.vmap(lambda b, s: OPS.nms_padded(b, s, 0.3, 5)))(boxes, scores)
    flat = OPS.nms_padded(boxes.flatten(0, 1), scores.flatten(0, 1), 0.3, 5)
    for a, b, c in zip((numbers, count), nested, flat, strict=True):
        assert torch.equal(a.flatten(0, 1), c) and torch.equal(b.flatten(0, 1), c)


def test_what_depends_on_the_data_says_so_under_vmap(device) -> None:
    boxes, scores, _, _ = (t.to(device) for t in inputs(40))
    with pytest.raises(RuntimeError, match=r"vmap: .*item\(\)"):
        torch.vmap(lambda b, s: roiops.nms(b, s, 0.3))(boxes.view(4, 10, 4), scores.view(4, 10))


def test_functional_gradients_of_box_iou(device) -> None:
    boxes = inputs(12)[0].double().to(device)

    def total(b: Tensor) -> Tensor:
        return roiops.box_iou(b, boxes).square().sum()

    leaf = boxes.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total(leaf), leaf)
    assert torch.allclose(torch.func.grad(total)(boxes), expected)
    tangent = torch.ones_like(boxes)
    _, moved = torch.func.jvp(total, (boxes,), (tangent,))
    assert torch.allclose(moved, expected.sum())
    per_image = torch.vmap(torch.func.grad(total))(torch.stack([boxes, boxes + 1]))
    assert torch.allclose(per_image[0], expected)


def test_suppression_passes_no_gradient_and_asks_for_none(device) -> None:
    boxes, scores, _, _ = (t.to(device).requires_grad_(t.is_floating_point()) for t in inputs(20))
    keep = roiops.nms(boxes, scores, 0.3)
    assert not keep.requires_grad
    boxes[keep].sum().backward()
    assert (boxes.grad.sum(1) > 0).sum() == len(keep)


def test_autocast_changes_nothing(device) -> None:
    boxes, scores, _, turned = (t.to(device) for t in inputs(20))
    half = boxes.bfloat16()
    with torch.autocast(device, torch.bfloat16):
        keep, overlaps = roiops.nms(half, scores, 0.3), roiops.box_iou(half, half)
        rotated = roiops.box_iou_rotated(turned, turned)
    assert torch.equal(keep, roiops.nms(half.float(), scores, 0.3))
    assert torch.equal(overlaps, roiops.box_iou(half.float(), half.float()))
    assert torch.equal(rotated, roiops.box_iou_rotated(turned, turned))
