"""One test per bug that a review or a user found, named after what must hold."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

import pytest
import torch

import roiops

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("ratio", [4, 8, 64])
def test_samples_closer_than_a_rounding_error_are_all_taken(ratio):
    # Half of the samples of this box lie at 13, the last accepted position, half beyond; in
    # float32 all of them round to one or the other. torchvision gives 2.5.
    x = torch.full((1, 1, 13, 13), 5.0)
    box = torch.tensor([[0, 13.5, 6, 13.5 + 1e-6, 7]])
    got = roiops.roi_align(x, box, 1, 1.0, ratio, True)
    start = box[0, 1] - 0.5
    size = (box[0, 3] - 0.5) - start
    steps = torch.arange(ratio, dtype=torch.float32) + 0.5
    accepted = (start + steps * size / ratio <= 13).float().mean()
    assert got.item() == pytest.approx(5 * accepted.item())


@pytest.mark.parametrize("kernel", ["cpu", "meta"])
@pytest.mark.parametrize(
    "size, message",
    [
        ((65536, 65536), "the area of `output_size` must be at most 268435456, but got 65536 \\*"),
        ((1, 2**31 - 1), "the area of `output_size` must be at most 268435456, but got 1 \\*"),
    ],
)
def test_too_many_bins_are_an_error(kernel, size, message):
    x, boxes = torch.ones(1, 1, 4, 4, device=kernel), torch.ones(1, 5, device=kernel)
    with pytest.raises(RuntimeError, match=f"roi_align: {message}"):
        torch.ops.roiops.roi_align(x, boxes, 1.0, *size)


@pytest.mark.parametrize("kernel", ["cpu", "meta"])
def test_too_many_pixels_are_an_error(kernel):
    x = torch.ones(1, device=kernel).expand(1, 1, 2**16, 2**16)
    with pytest.raises(RuntimeError, match="the area of `input` must be at most 2147483647"):
        torch.ops.roiops.roi_align(x, torch.ones(0, 5, device=kernel), 1.0, 7, 7)


@pytest.mark.parametrize("kernel", ["cpu", "meta"])
@pytest.mark.parametrize("size", [(1, 2**24 + 4), (2**24 + 4, 1)], ids=str)
def test_a_side_that_float_cannot_count_is_an_error(kernel, size):
    """Its last pixels rounded to the one past the end: reads and writes of the next image."""
    x = torch.ones(1, device=kernel).expand(2, 1, *size)
    message = r"prroi_pool: `input` must be at most 16777216 pixels high and wide, but got "
    with pytest.raises(RuntimeError, match=message):
        torch.ops.roiops.prroi_pool(x, torch.ones(1, 5, device=kernel), 1.0, 1, 1)


@pytest.mark.parametrize("op", ["roi_pool", "prroi_pool", "roi_align"])
def test_the_last_pixels_of_the_longest_side(op):
    side = 2**24
    x = torch.zeros(2, 1, 1, side)
    x[0, 0, 0, -2:], x[1] = 3, 1000
    rois = torch.tensor([[0, side - 2.0, 0, side, 1]])
    out = getattr(roiops, op)(x.requires_grad_(), rois, (1, 1))
    assert 0 < out.item() <= 3
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient[0].any() and not gradient[1].any()


def test_a_level_of_a_pyramid_is_an_integer():
    x, boxes = torch.ones(1, 1, 4, 4), torch.ones(1, 5)
    for level in (0.5, float("nan"), -2.0, 2.0):
        options = [2.0, 0.0, 224.0, 4.0, level, 1.0, 0.5]
        with pytest.raises(RuntimeError, match="multiscale_roi_align: `spatial_scales` must have"):
            torch.ops.roiops._mean(x, boxes, None, [1, 1], "multiscale_roi_align", options)


@pytest.mark.parametrize("kernel", ["cpu", "meta"])
def test_too_many_levels_are_an_error(kernel):
    maps = [torch.ones(1, 1, 4, 4, device=kernel)] * 17
    message = "multiscale_roi_align: `features` must have at most 16 maps, but got 17"
    with pytest.raises(RuntimeError, match=message):
        roiops.multiscale_roi_align(maps, torch.ones(1, 5, device=kernel), 1, [1.0] * 17)


@pytest.mark.parametrize("size", [1e-2, 1e-5, 1e-7, 1e-8, 1e-12, 1e-30, 1e-38])
@pytest.mark.parametrize("start", [0.0, 0.4, 1.7])
def test_the_gradient_by_a_tiny_box_is_the_slope_of_the_map(start, size):
    """Of prroi_pool: rounding, divided by the size of the box, gave hundreds for 1e-8 pixels."""
    x = 3 * torch.arange(9.0) + 5 * torch.arange(8.0)[:, None] + 1
    box = torch.tensor([[0, start * size, 2.3, (start + 1) * size, 3.9]], requires_grad=True)
    (gradient,) = torch.autograd.grad(roiops.prroi_pool(x[None, None], box, 1).sum(), box)
    assert gradient[0, 1:].tolist() == pytest.approx([1.5, 2.5, 1.5, 2.5], rel=1e-4)


def test_an_integer_image_is_converted_once():
    image = torch.ones(1, 1, 4, 4, dtype=torch.uint8)
    boxes, indices = torch.rand(1, 4, requires_grad=True), torch.zeros(1, dtype=torch.int64)
    with torch.profiler.profile() as profile:
        roiops.crop_and_resize(image, boxes, indices, 2)
    sizes = [e.key for e in profile.events() if e.key == "aten::_to_copy"]
    with torch.profiler.profile() as profile:
        roiops.crop_and_resize(image.float(), boxes, indices, 2)
    assert len(sizes) <= 1 + len([e for e in profile.events() if e.key == "aten::_to_copy"])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_boxes_on_an_integer_image_have_gradients(dtype, generator):
    image = torch.randint(0, 2, (2, 3, 8, 9), generator=generator).to(dtype)
    boxes = torch.tensor([[0.1, 0.2, 0.8, 0.7], [0.9, 0, 0.15, 1]], requires_grad=True)
    tangent, indices = torch.rand(2, 4, generator=generator), torch.tensor([1, 0])

    def crops(image, boxes):
        return roiops.crop_and_resize(image, boxes, indices, 3)

    results = []
    for given in (image, image.float()):
        of_boxes = partial(crops, given)
        compiled = torch.compile(of_boxes, backend="aot_eager", fullgraph=True)
        results.append([
            *torch.autograd.grad(of_boxes(boxes).square().sum(), boxes),
            *torch.autograd.grad(compiled(boxes).square().sum(), boxes),
            torch.func.jvp(of_boxes, (boxes.detach(),), (tangent,))[1],
        ])  # fmt: skip
    for got, expected in zip(*results, strict=True):
        assert expected.any() and torch.equal(got, expected)
    torch.library.opcheck(
        torch.ops.roiops.crop_and_resize.default, (image, boxes, indices, 3, 3, "bilinear", 0.0)
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_export_of_a_number_of_images_that_only_the_data_know(layout):
    class Pick(torch.nn.Module):
        def forward(self, x, mask, boxes):
            return roiops.roi_align(x[mask.nonzero().squeeze(1)], boxes, 3)

    x = torch.rand(4, 3, 8, 9).contiguous(memory_format=layout)
    mask, boxes = torch.tensor([1, 0, 1, 1]), torch.tensor([[2, 1.0, 1, 6, 7]])
    program = torch.export.export(Pick(), (x, mask, boxes))
    got = program.module()(x, mask, boxes)
    torch.testing.assert_close(got, Pick()(x, mask, boxes), rtol=0, atol=0)


def vmapped(images, boxes):
    return torch.vmap(lambda x, b: roiops.roi_align(x, b, 3))(images, boxes)


@pytest.mark.parametrize(
    "image, boxes, error, message",
    [
        ((2, 3, 9, 8), torch.full((4, 1, 5), 5.0), IndexError, r"in \[0, 2\), but got 5 in row 0"),
        ((2, 3, 9, 8), torch.ones(4, 1, 5).long(), RuntimeError, "`boxes` must be float64"),
        ((2, 3, 9, 8), torch.ones(4, 5), RuntimeError, r"must have shape \[K, 5\].*but got \[5\]"),
        ((3, 9, 8), torch.ones(4, 1, 5), RuntimeError, r"but got \[3, 9, 8\]"),
    ],
    ids=["image_out_of_range", "integer_boxes", "one_box", "one_image"],
)
def test_vmap_raises_what_eager_raises(image, boxes, error, message):
    with pytest.raises(error, match=message):
        vmapped(torch.rand(4, *image), boxes)


def test_vmap_of_no_entries():
    out = torch.vmap(lambda x: roiops.roi_align(x, torch.ones(2, 5) * 0, 3))(
        torch.rand(0, 2, 3, 9, 8)
    )
    assert out.shape == (0, 2, 3, 3, 3)


FEATURES = [torch.ones(1, 1, 9, 9)]


@pytest.mark.parametrize(
    "features, got",
    [
        (FEATURES[0], "Tensor"),
        ({"0": FEATURES[0]}, "dict"),
        ([*FEATURES, None], "a list of NoneType, Tensor"),
        (None, "NoneType"),
        ((f for f in FEATURES), "generator"),
        ([f.numpy() for f in FEATURES], "a list of ndarray"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_features_that_are_no_list_of_tensors(features, got):
    rule = f"multiscale_roi_align: `features` must be a list of Tensor, but got {got}."
    with pytest.raises(TypeError, match=re.escape(rule)):
        roiops.multiscale_roi_align(features, torch.zeros(1, 5), 7, [0.25])


def test_an_offset_that_is_no_tensor():
    rule = "deform_roi_pool: `offset` must be a Tensor, but got list."
    with pytest.raises(TypeError, match=re.escape(rule)):
        roiops.deform_roi_pool(FEATURES[0], torch.zeros(1, 5), [0.0], 7)


def test_sizes_may_be_numpy_integers():
    numpy = pytest.importorskip("numpy")
    for size in (numpy.int64(3), (numpy.int32(3), 3)):
        assert roiops.roi_align(FEATURES[0], torch.zeros(1, 5), size).shape == (1, 1, 3, 3)


def test_symbolic_trace_of_a_pyramid():
    module = roiops.MultiScaleRoIAlign(3, [1.0])
    traced = torch.fx.symbolic_trace(module)
    inputs = (FEATURES, torch.tensor([[0, 1.0, 1, 6, 6]]))
    torch.testing.assert_close(traced(*inputs), module(*inputs), rtol=0, atol=0)


def test_the_second_derivative_by_offsets_names_them():
    x, offset = FEATURES[0].clone().requires_grad_(), torch.zeros(1, 2, 2, 2, requires_grad=True)
    out = roiops.deform_roi_pool(x, torch.tensor([[0, 1.0, 1, 6, 6]]), offset, 2)
    (gradient,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="derivatives by `boxes` and `offset` are not"):
        torch.autograd.grad(gradient.sum(), offset)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"boxes": None}, "`boxes` must be a Tensor.*but got NoneType"),
        ({"boxes": [[1, 2, 3, 4]]}, "`boxes` must be a Tensor.*but got a list of list"),
        ({"input": [1.0]}, "`input` must be a Tensor, but got list"),
        ({"output_size": 7.0}, r"`output_size` must be an integer or two integers.*but got 7\.0"),
        ({"output_size": torch.tensor(3)}, r"`output_size` must be an .*but got tensor\(3\)\.$"),
        ({"output_size": (7,)}, r"`output_size` must be an integer or two .*but got \(7,\)"),
        ({"output_size": (7, 7, 7)}, r".*but got \(7, 7, 7\)"),
    ],
    ids=str,
)
def test_wrong_types_are_named(arguments, message):
    valid = {"input": torch.rand(1, 2, 9, 8), "boxes": torch.zeros(1, 5), "output_size": 7}
    with pytest.raises(TypeError, match=f"roi_align: {message}"):
        roiops.roi_align(**{**valid, **arguments})


def test_a_scale_beyond_the_geometry_is_an_error():
    with pytest.raises(
        RuntimeError,
        match=r"`spatial_scale` must be positive and finite in float32, but got 1e\+39",
    ):
        roiops.roi_align(torch.rand(1, 2, 9, 8), torch.zeros(1, 5), 7, 1e39)


def test_a_source_distribution_holds_what_the_build_needs(tmp_path):
    code = f"import setuptools.build_meta as b; b.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    tracked = [
        str(p.relative_to(ROOT))
        for folder, endings in (("csrc", "*.*"), ("cmake", "*"))
        for p in (ROOT / folder).rglob(endings)
    ]
    assert {"CMakeLists.txt", "setup.py", "version.txt", "pyproject.toml", *tracked} <= names
