"""Operators against each other and against torch's own: what one op promises of another."""

from __future__ import annotations

from itertools import pairwise
from math import pi

import pytest
import torch
from boxes import finite_boxes
from cases import Case, Options, features, grad_of, make_case
from op_table import (
    CROP_AND_RESIZE,
    DEFORM_ROI_POOL,
    MULTISCALE_ROI_ALIGN,
    PS_ROI_ALIGN,
    PS_ROI_POOL,
    ROI_ALIGN,
    ROI_ALIGN_ROTATED,
)
from tolerance import assert_close, assert_same_bits

import roiops

H, W = 11, 13


def case_of(op, options: Options, generator, **rest) -> Case:
    return make_case(op, options, generator, (H, W), **rest)


def assert_near(actual: torch.Tensor, expected: torch.Tensor, size: float = 8.0) -> None:
    assert_close(actual, expected.detach().cpu().double(), size)


def test_roi_align_equals_grid_sample(device, generator) -> None:
    """detectron2's oracle: bins are averages of torch's own bilinear samples."""
    x = features(generator, 1, 4, H, W).to(device)
    for ratio in (1, 2, 3):
        ph, pw = 3, 4
        for x1, y1, x2, y2 in ((2.3, 1.7, 9.1, 8.8), (1.0, 2.0, 11.5, 9.5)):
            xs = x1 + (torch.arange(pw * ratio).double() + 0.5) * (x2 - x1) / (pw * ratio)
            ys = y1 + (torch.arange(ph * ratio).double() + 0.5) * (y2 - y1) / (ph * ratio)
            y, x_ = torch.meshgrid(ys / H * 2 - 1, xs / W * 2 - 1, indexing="ij")
            grid = torch.stack([x_, y], -1)[None].to(device)
            sampled = torch.nn.functional.grid_sample(x, grid, align_corners=False)
            expected = torch.nn.functional.avg_pool2d(sampled, ratio)
            rois = torch.tensor([[0, x1, y1, x2, y2]], dtype=torch.float64, device=device)
            assert_near(roiops.roi_align(x, rois, (ph, pw), 1.0, ratio, True), expected)


@pytest.mark.parametrize("ratio", [-1, 2])
def test_deform_without_offset_is_roi_align_aligned(ratio, device, generator) -> None:
    options = Options((3, 2), 0.5, ratio, True, offset=False)
    case = case_of(DEFORM_ROI_POOL, options, generator, device=device)
    other = Case(ROI_ALIGN, options, case.maps, case.boxes)
    grad = grad_of(case, generator)
    assert_near(case(), other())
    assert_near(case.input_gradients(grad)[0], other.input_gradients(grad)[0], 1e3)
    assert_near(case.box_gradient(grad), other.box_gradient(grad), 1e4)
    zero = torch.zeros(len(case.boxes), 2, 3, 2, dtype=torch.float64, device=device)
    assert_near(Case(DEFORM_ROI_POOL, options, case.maps, case.boxes, zero)(), other())


def test_a_common_offset_moves_the_box(device, generator) -> None:
    options = Options((2, 3), 1.0, 2, True, gamma=0.25)
    boxes = {"box": (2.0, 1.0, 8.0, 6.0)}
    case = case_of(DEFORM_ROI_POOL, options, generator, boxes=boxes, device=device)
    case.extra[:, 0], case.extra[:, 1] = 0.5, -0.2
    moved = torch.tensor([0, 6, 5, 6, 5]) * torch.tensor([0, 0.5, -0.2, 0.5, -0.2]) * 0.25
    other = Case(ROI_ALIGN, options, case.maps, case.boxes + moved.to(case.boxes))
    assert_near(case(), other())


@pytest.mark.parametrize("ratio", [-1, 2])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("clockwise", [False, True])
def test_rotated_by_nothing_is_roi_align(ratio, aligned, clockwise, device, generator) -> None:
    options = Options((3, 2), 1.0, ratio, aligned, clockwise)
    names = {n: b for n, b in finite_boxes(H, W).items() if "huge" not in n and "far" not in n}
    # The minimum size grows a rotated box about its centre, a plain one from its corner.
    names = {n: b for n, b in names.items() if aligned or min(b[2] - b[0], b[3] - b[1]) >= 1}
    moved = {n: tuple(v + 0.0137 * (i + 1) for i, v in enumerate(b)) for n, b in names.items()}
    plain = case_of(ROI_ALIGN, options, generator, boxes=moved, device=device)
    boxes = ROI_ALIGN_ROTATED.boxes(moved, (H, W), options, 2).to(device)
    boxes[:, 5] = 0
    assert_near(Case(ROI_ALIGN_ROTATED, options, plain.maps, boxes)(), plain())


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, -1])
@pytest.mark.parametrize("clockwise", [False, True])
def test_rotated_by_quarters_is_rot90(quarters, clockwise, device, generator) -> None:
    """A box turned counter-clockwise shows the image turned clockwise."""
    x = features(generator, 1, 3, 9, 9).to(device)
    angle = quarters * pi / 2
    roi = torch.tensor([[0, 4.5, 4.5, 6.3, 4.1, angle]], dtype=torch.float64, device=device)
    actual = roiops.roi_align_rotated(x, roi, (4, 6), 1.0, 2, True, clockwise)
    plain = torch.tensor([[0, 4.5, 4.5, 6.3, 4.1, 0.0]], dtype=torch.float64, device=device)
    turned = torch.rot90(x, quarters if clockwise else -quarters, (2, 3))
    assert_near(actual, roiops.roi_align_rotated(turned, plain, (4, 6), 1.0, 2))


def test_angles_are_periodic_and_signed(device, generator) -> None:
    case = case_of(ROI_ALIGN_ROTATED, Options((2, 3), 1.0, 2, True), generator, device=device)
    inside = case.rows(slice(0, 7))
    expected = inside()
    other = inside.of(*inside.maps, inside.boxes * torch.tensor([1, 1, 1, 1, 1, -1.0]).to(device))
    assert_near(other.with_options(clockwise=True)(), expected)
    period = torch.tensor([0, 0, 0, 0, 0, 2 * pi], dtype=torch.float64, device=device)
    boxes = inside.boxes.clone()
    boxes[:, 1:3] += 0.0137
    first, second = inside.of(*inside.maps, boxes), inside.of(*inside.maps, boxes + period)
    assert_near(second(), first())


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3])
@pytest.mark.parametrize("aligned", [False, True])
def test_multiscale_is_a_loop_over_levels(scale, aligned, device, generator) -> None:
    options = Options((3, 2), scale, 2, aligned)
    case = case_of(MULTISCALE_ROI_ALIGN, options, generator, device=device)
    x1, y1, x2, y2 = case.boxes[:, 1:].unbind(1)
    size = ((x2 - x1) * (y2 - y1)).sqrt()
    first = round(-torch.tensor(scale).log2().item())
    exact = options.canonical_level + (size / options.canonical_scale).log2() + 1e-6
    level = exact.floor().clamp(first, first + 2) - first
    expected = torch.zeros_like(case())
    for i, (m, s) in enumerate(zip(case.maps, options.spatial_scales, strict=True)):
        chosen = level == i
        assert chosen.any()
        expected[chosen] = roiops.roi_align(m, case.boxes[chosen], (3, 2), s, 2, aligned)
    assert level.isnan().any() and not expected[level.isnan()].any()
    assert_same_bits(case(), expected)


def test_multiscale_of_one_level_is_roi_align(device, generator) -> None:
    case = case_of(ROI_ALIGN, Options((3, 2), 0.25, 2), generator, device=device)
    actual = roiops.multiscale_roi_align(list(case.maps), case.boxes, (3, 2), [0.25], 2)
    sized = (case.boxes[:, 3] - case.boxes[:, 1]) * (case.boxes[:, 4] - case.boxes[:, 2]) >= 0
    assert_same_bits(actual[sized], case()[sized])


def test_prroi_pool_of_integer_boxes_is_a_mean_of_corner_means(device, generator) -> None:
    """The integral of a bilinear cell is the mean of its corners: avg_pool2d(2, 1)."""
    x = features(generator, 2, 3, H, W).to(device)
    cells = torch.nn.functional.avg_pool2d(x, 2, 1)
    rois = torch.tensor([[0.0, 0, 0, 12, 10], [1, 2, 1, 8, 7], [1, 5, 4, 6, 5]], device=device)
    for image, x1, y1, x2, y2 in rois.int().tolist():
        size = (y2 - y1, x2 - x1)
        roi = torch.tensor([[image, x1, y1, x2, y2]], dtype=torch.float64, device=device)
        expected = cells[image : image + 1, :, y1:y2, x1:x2]
        assert_near(roiops.prroi_pool(x, roi, size), expected)
        assert_near(roiops.prroi_pool(x, roi, 1), expected.mean((2, 3), keepdim=True))


def test_prroi_pool_is_the_integral(device, generator) -> None:
    """Gauss-Legendre points in each cell of pixels and bins are exact for a bilinear surface."""
    x = features(generator, 1, 2, 5, 6)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))[0]
    nodes = torch.tensor([-1.0, 1.0]).double() / 3**0.5

    def points(low: float, high: float, bins: int, p: int) -> tuple[list[float], list[float]]:
        size = (high - low) / bins
        a, b = low + p * size, low + (p + 1) * size
        cuts = sorted({a, b, *(float(i) for i in range(-2, 9) if a < i < b)})
        at, weight = [], []
        for c, d in pairwise(cuts):
            at += ((c + d) / 2 + nodes * (d - c) / 2).tolist()
            weight += [(d - c) / 2 / size] * 2
        return at, weight

    def surface(y: float, x: float) -> torch.Tensor:
        i, j = int(y + 2), int(x + 2)
        u, v = y + 2 - i, x + 2 - j
        top = (1 - v) * padded[:, i, j] + v * padded[:, i, j + 1]
        return (1 - u) * top + u * ((1 - v) * padded[:, i + 1, j] + v * padded[:, i + 1, j + 1])

    boxes = [[0.3, 0.7, 4.4, 3.9], [-0.9, -0.6, 5.8, 4.7], [1.2, 2.4, 1.3, 2.5], [2, 1, 4, 3]]
    for x1, y1, x2, y2 in boxes:
        roi = torch.tensor([[0, x1, y1, x2, y2]], dtype=torch.float64)
        actual = roiops.prroi_pool(x.to(device), roi.to(device), (2, 3)).cpu()
        for p in range(2):
            for q in range(3):
                ys, wy = points(y1, y2, 2, p)
                xs, wx = points(x1, x2, 3, q)
                terms = [a * b * surface(y, x_) for y, a in zip(ys, wy, strict=True)
                         for x_, b in zip(xs, wx, strict=True)]  # fmt: skip
                assert_near(actual[0, :, p, q], sum(terms))


@pytest.mark.parametrize("op, options", [
    (PS_ROI_ALIGN, Options((2, 3), 0.5, 2)), (PS_ROI_POOL, Options((2, 3), 0.5)),
], ids=str)  # fmt: skip
def test_position_sensitive_is_each_bin_of_its_own_channel(op, options, device, generator) -> None:
    case = case_of(op, options, generator, device=device)
    for bin in range(6):
        p, q = divmod(bin, 3)
        one = case.map(lambda m, bin=bin: m[:, bin::6].repeat_interleave(6, 1))
        assert_same_bits(one()[:, :, p, q], case()[:, :, p, q])


def recipe(image, boxes, indices, size):
    """RoIAlign of x1, y1, x2, y2 in pixels by crop_and_resize (docs/semantics.md, section 6)."""
    height, width = image.shape[2] - 1, image.shape[3] - 1
    half = (boxes[:, 2:] - boxes[:, :2]) / torch.tensor([size[1], size[0]]).to(boxes) / 2
    first, last = boxes[:, :2] - 0.5 + half, boxes[:, 2:] - 0.5 - half
    corners = torch.cat([first, last], 1)[:, [1, 0, 3, 2]]
    normalised = corners / torch.tensor([height, width, height, width]).to(boxes)
    return roiops.crop_and_resize(image, normalised, indices, size)


@pytest.mark.parametrize("size", [(3, 4), (1, 1), (2, 7)], ids=str)
def test_crop_and_resize_recipe_is_roi_align_of_one_sample(size, device, generator) -> None:
    image = features(generator, 3, 4, H, W).to(device).requires_grad_()
    boxes = torch.tensor([[1.2, 2.1, 8.3, 9.4], [4.0, 3.0, 10.0, 8.0], [0.6, 0.7, 12.2, 10.1]])
    boxes = boxes.double().to(device).requires_grad_()
    indices = torch.tensor([2, 0, 1], device=device)
    rois = torch.cat([indices[:, None].double(), boxes], 1)
    actual = recipe(image, boxes, indices, size)
    expected = roiops.roi_align(image, rois, size, 1.0, 1, True)
    assert_near(actual, expected)
    grad = torch.randn_like(actual)
    results = [torch.autograd.grad(out, image, grad, retain_graph=True)[0]
               for out in (actual, expected)]  # fmt: skip
    assert_near(*results, 100.0)


def test_crop_of_the_whole_image_is_the_image(device, generator) -> None:
    case = case_of(CROP_AND_RESIZE, Options((H, W)), generator, device=device)
    whole = torch.tensor([[0.0, 0, 1, 1], [1, 0, 0, 1]], dtype=torch.float64, device=device)
    indices = torch.tensor([1, 1], device=device)
    for method in ("bilinear", "nearest"):
        out = roiops.crop_and_resize(case.maps[0], whole, indices, (H, W), method)
        assert_near(out[0], case.maps[0][1])
        assert_near(out[1], case.maps[0][1].flip(1))
