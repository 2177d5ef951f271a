"""One test per bug that a review or a user found, named after what must hold."""

from __future__ import annotations

import subprocess
import sys
import tarfile
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


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"boxes": None}, "`boxes` must be a Tensor.*but got NoneType"),
        ({"boxes": [[1, 2, 3, 4]]}, "`boxes` must be a Tensor.*but got a list of list"),
        ({"input": [1.0]}, "`input` must be a Tensor, but got list"),
        ({"output_size": 7.0}, r"`output_size` must be an integer or two integers.*but got 7\.0"),
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
        RuntimeError, match=r"`spatial_scale` must be positive and finite, but got 1e\+39"
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
        for folder, endings in (("csrc", "*.cpp"), ("csrc", "*.h"), ("cmake", "*"))
        for p in (ROOT / folder).rglob(endings)
    ]
    assert {"CMakeLists.txt", "setup.py", "version.txt", "pyproject.toml", *tracked} <= names
