"""What only a GPU shows: streams, graphs, devices, determinism, synchronisation, huge tensors."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from boxes import finite_boxes, inside_boxes
from cases import Case, grad_of, make_case
from op_table import ROI_ALIGN, Op, each_op, few_options
from tolerance import assert_same_bits

import roiops

if not torch.cuda.is_available():
    pytest.skip("torch sees no CUDA device", allow_module_level=True)

H, W = 11, 13


def case_of(op: Op, generator: torch.Generator, device: str = "cuda", **rest) -> Case:
    rest = {"boxes": finite_boxes(H, W), "channels": 8, "dtype": torch.float32} | rest
    return make_case(op, op.few_options[0], generator, (H, W), **rest).to(device)


def products(case: Case, grad: torch.Tensor) -> list[torch.Tensor]:
    gradients = [*case.input_gradients(grad), *case.box_gradients(grad)]
    return [case(), *gradients, case.box_jvp(torch.ones_like(case.boxes))]


@each_op
def test_runs_on_the_current_stream(op: Op, generator) -> None:
    """Whatever is queued before on that stream has happened, and nothing else need have."""
    case = case_of(op, generator)
    grad = grad_of(case, generator)
    expected = products(case, grad)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = case.map(lambda m: torch.full_like(m, torch.nan))
        torch.cuda._sleep(50_000_000)
        for m, source in zip(late.maps, case.maps, strict=True):
            m.copy_(source)
        actual = products(late, grad)
    stream.synchronize()
    for a, b in zip(actual, expected, strict=True):
        assert_same_bits(a, b)


@each_op
def test_can_be_captured_in_a_graph(op: Op, generator) -> None:
    """So it neither waits for the device nor reads from it; the replay sees new features."""
    case = case_of(op, generator).leaves()
    grad = grad_of(case, generator)

    def step() -> list[torch.Tensor]:
        out = case()
        return [out, *torch.autograd.grad(out, case.trainable, grad)]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        for m in case.maps:
            m.copy_(torch.randn_like(m))
    graph.replay()
    for a, b in zip(captured, step(), strict=True):
        assert_same_bits(a, b)


@each_op
def test_never_synchronises(op: Op, generator) -> None:
    case = case_of(op, generator).leaves()
    grad = grad_of(case, generator)
    torch.cuda.set_sync_debug_mode("error")
    try:
        out = case()
        torch.autograd.grad(out, case.trainable, grad)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@few_options
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=("float32", "bfloat16"))
def test_the_same_bits_in_every_run(op: Op, options, dtype, generator) -> None:
    case = make_case(
        op, options, generator, (70, 90), channels=37, dtype=dtype, boxes_dtype=torch.float32
    ).to("cuda")
    case = case.rows(torch.arange(len(case.boxes), device="cuda").repeat(5))
    grad = grad_of(case, generator)
    torch.use_deterministic_algorithms(True)
    try:
        first = products(case, grad)
        for _ in range(5):
            for a, b in zip(products(case, grad), first, strict=True):
                assert_same_bits(a, b)
    finally:
        torch.use_deterministic_algorithms(False)


@each_op
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_runs_on_the_device_of_its_tensors(op: Op, generator) -> None:
    with torch.cuda.device(0):
        first = case_of(op, generator, "cuda:0")
        grad = grad_of(first, generator)
        second = first.to("cuda:1")
        pairs = zip(products(second, grad.to("cuda:1")), products(first, grad), strict=True)
        for a, b in pairs:
            assert a.device.index == 1
            assert_same_bits(a.cpu(), b.cpu())


BAD_IMAGE = """
import torch, roiops
boxes = torch.tensor([[{image}, 1.0, 1, 5, 5]], device="cuda")
roiops.roi_align(torch.ones(2, 3, 9, 9, device="cuda"), boxes, 3)
torch.cuda.synchronize()
"""


@pytest.mark.parametrize("image", ["2", "-1", "float('nan')", "1e30"])
def test_a_box_that_names_no_image_is_an_assertion_on_the_device(image, tmp_path) -> None:
    """In a process of its own, whose CUDA context does not survive it."""
    code = BAD_IMAGE.format(image=image)
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "boxes must name images in [0, N)" in run.stderr


def free_bytes() -> int:
    return torch.cuda.mem_get_info()[0]


@pytest.mark.skipif(free_bytes() < 40 << 30, reason="needs 40 GiB of device memory")
@pytest.mark.parametrize("last", [False, True], ids=("contiguous", "channels_last"))
def test_more_than_two_to_the_31_elements(last, generator) -> None:
    """The last image of a map of 4.5 GB; its gradient; and an output beyond the limit."""
    layout = torch.channels_last if last else torch.contiguous_format
    x = torch.empty(9, 64, 2048, 2048, dtype=torch.bfloat16, device="cuda", memory_format=layout)
    x.fill_(1)
    assert x.numel() > 2**31
    small = torch.randn(1, 64, 64, 64, generator=generator).to(x)
    x[8:, :, -64:, -64:] = small
    box = torch.tensor([[8, 2048 - 60.0, 2048 - 60, 2048 - 3, 2048 - 5]], device="cuda")
    near = torch.tensor([[0, 4.0, 4, 61, 59]], device="cuda")
    out, expected = roiops.roi_align(x, box, 7), roiops.roi_align(small, near, 7)
    assert_same_bits(out, expected)
    backward = torch.ops.roiops._mean_backward
    options = ("roi_align", [1.0, -1.0, 0.0])
    whole = backward(torch.ones_like(out), box, None, x.shape, *options)
    part = backward(torch.ones_like(out), near, None, small.shape, *options)
    assert_same_bits(whole[8:, :, -64:, -64:], part)
    assert whole[:8].abs().max() == 0
    del x, whole
    many = near.repeat(2**31 // (64 * 49) + 100, 1)
    out = roiops.roi_align(small, many, 7)
    assert out.numel() > 2**31
    assert_same_bits(out[-3:], expected.expand(3, -1, -1, -1))


def test_no_memory_but_the_results(generator) -> None:
    case = case_of(ROI_ALIGN, generator, boxes=inside_boxes(H, W), channels=256).leaves()
    out = case()
    grad = torch.ones_like(out)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    torch.autograd.grad(out, case.maps[0], grad)
    extra = torch.cuda.max_memory_allocated() - before
    assert extra <= case.maps[0].numel() * 4 + 4096
