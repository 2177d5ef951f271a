"""Programs and torchvision's detection models, made before or after patching, run on our kernels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from peer_tools import H, W, random_rois
from tolerance import assert_same_bits
from torch import Tensor, nn

import roiops

torchvision = pytest.importorskip("torchvision", reason="patches it")
ops = torchvision.ops


class Pools(nn.Module):
    """Every operator that is replaced."""

    def forward(self, x: Tensor, rois: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            ops.roi_align(x, rois, (3, 2), 0.5, 2, True),
            ops.ps_roi_align(x, rois, 3, 0.5, 2),  # torchvision scripts one number only
            ops.roi_pool(x, rois, (3, 2), 0.5),
        )


def trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return torch.jit.trace(module, inputs, check_trace=False)


MAKERS: dict[str, Callable[[nn.Module, tuple[Tensor, ...]], Any]] = {
    "scripted": lambda module, inputs: torch.jit.script(module),
    "traced": trace,
    "exported": lambda module, inputs: torch.export.export(module, inputs).module(),
    "aot_eager": lambda module, inputs: torch.compile(module, backend="aot_eager", fullgraph=True),
    "inductor": lambda module, inputs: torch.compile(module, fullgraph=True),
}


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    torch.compiler.reset()
    with warnings.catch_warnings():  # TorchScript is deprecated
        warnings.simplefilter("ignore")
        yield
    roiops.unpatch_torchvision()


def run(program: Any, x: Tensor, rois: Tensor) -> list[Tensor]:
    """The results, and the gradient of their sum."""
    x = x.detach().requires_grad_()
    results = program(x, rois)
    gradient = torch.autograd.grad(sum(r.sin().sum() for r in results), x)
    return [r.detach() for r in (*results, *gradient)]


def assert_same_run(actual: list[Tensor], expected: list[Tensor]) -> None:
    for got, wanted in zip(actual, expected, strict=True):
        assert_same_bits(got, wanted)
        assert got.stride() == wanted.stride()


@pytest.mark.parametrize("made", ["before", "after"])
@pytest.mark.parametrize("name", MAKERS)
def test_programs_follow_the_switch(name, made, generator) -> None:
    x = torch.randn(2, 18, H, W, generator=generator).to(memory_format=torch.channels_last)
    rois = random_rois(generator, 20, 0.5, torch.float32)
    theirs = run(Pools(), x, rois)
    with roiops.torchvision_patched():
        ours = run(Pools(), x, rois)
    same = [torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)]
    assert same == [False, False, True, False]  # means are rounded differently, maxima are not
    if made == "after":
        roiops.patch_torchvision()
    program = MAKERS[name](Pools(), (x, rois))
    assert_same_run(run(program, x, rois), ours if made == "after" else theirs)
    roiops.patch_torchvision()
    assert_same_run(run(program, x, rois), ours)
    roiops.unpatch_torchvision()
    assert_same_run(run(program, x, rois), theirs)


# torchvision's detection models. Random weights give detections with spread-out scores; proposals
# are few, so that the tests are quick.

SMALL = {
    "weights": None, "weights_backbone": None, "num_classes": 5, "min_size": 128, "max_size": 160,
    "rpn_pre_nms_top_n_train": 200, "rpn_post_nms_top_n_train": 60, "rpn_pre_nms_top_n_test": 200,
    "rpn_post_nms_top_n_test": 60, "box_detections_per_img": 8, "box_batch_size_per_image": 32,
}  # fmt: skip
SIZES = ((100, 130), (120, 96))
MODELS = ["fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn"]
each_model = pytest.mark.parametrize("name", MODELS)
ALLOWED = {"boxes": 1e-3, "labels": 0, "scores": 1e-4, "masks": 1e-3, "keypoints": 1e-3,
           "keypoints_scores": 1e-2}  # fmt: skip
Detections = list[dict[str, Tensor]]


def make_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = getattr(torchvision.models.detection, name)(**SMALL)
    return model


def make_images(generator: torch.Generator) -> list[Tensor]:
    return [torch.rand(3, *size, generator=generator) for size in SIZES]


def make_targets(generator: torch.Generator) -> Detections:
    targets = []
    for height, width in SIZES:
        boxes = torch.tensor([[10.0, 10, 60, 70], [20, 5, 90, 95]])
        masks = torch.zeros(2, height, width, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        places = torch.rand(2, 17, 2, generator=generator)
        places = boxes[:, None, :2] + places * (boxes[:, None, 2:] - boxes[:, None, :2])
        keypoints = torch.cat([places, torch.ones(2, 17, 1)], 2)
        targets.append({"boxes": boxes, "labels": torch.tensor([1, 3]), "masks": masks,
                        "keypoints": keypoints})  # fmt: skip
    return targets


def assert_same_detections(actual: Detections, expected: Detections) -> None:
    assert len(actual) == len(expected) == len(SIZES)
    for got, wanted in zip(actual, expected, strict=True):
        assert (
            got.keys() == wanted.keys() and len(wanted["boxes"]) == SMALL["box_detections_per_img"]
        )
        for key, value in wanted.items():
            assert got[key].shape == value.shape
            difference = (got[key].double() - value.double()).abs().max()
            assert difference <= ALLOWED[key], f"{key} differ by {difference}"


@each_model
@torch.no_grad()
def test_models_detect_the_same(name, generator) -> None:
    model, images = make_model(name).eval(), make_images(generator)
    theirs = model(images)
    with roiops.torchvision_patched():
        ours = model(images)
    assert_same_detections(ours, theirs)
    assert not all(torch.equal(a["boxes"], b["boxes"]) for a, b in zip(ours, theirs, strict=True))


@each_model
@torch.no_grad()
def test_a_scripted_model_detects_the_same(name, generator) -> None:
    model, images = make_model(name).eval(), make_images(generator)
    theirs = model(images)
    scripted = torch.jit.script(model)
    with roiops.torchvision_patched():
        ours = model(images)
        detections = scripted(images)[1]
    assert_same_detections(detections, theirs)
    for got, wanted in zip(detections, ours, strict=True):
        assert_same_bits(got["boxes"], wanted["boxes"])


@torch.no_grad()
def test_a_model_with_compiled_heads_detects_the_same(generator) -> None:
    """Compiled before patching; RPN and backbone, which take longest to compile, stay eager."""
    model, images = make_model(MODELS[0]).eval(), make_images(generator)
    theirs = model(images)
    with roiops.torchvision_patched():
        ours = model(images)
    compiled: list[str] = []

    def recording_backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        compiled.extend(str(node.target) for node in graph.graph.nodes)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    model.roi_heads.compile(backend=recording_backend)
    assert_same_detections(model(images), theirs)
    assert "torchvision.roi_align" in {target.removesuffix(".default") for target in compiled}
    with roiops.torchvision_patched():
        detections = model(images)
    assert_same_detections(detections, theirs)
    for got, wanted in zip(detections, ours, strict=True):
        assert_same_bits(got["boxes"], wanted["boxes"])


@each_model
def test_models_learn_the_same(name, generator) -> None:
    """Losses and gradients of a training step; models take random samples of their proposals."""
    model, images, targets = (
        make_model(name).train(),
        make_images(generator),
        make_targets(generator),
    )

    def step() -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(1)
        losses = model(images, targets)
        parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(sum(losses.values()), list(parameters.values()))
        values = torch.stack([loss.detach() for loss in losses.values()])
        return values, dict(zip(parameters, gradients, strict=True))

    losses, gradients = step()
    with roiops.torchvision_patched():
        own_losses, own_gradients = step()
    assert losses.isfinite().all() and losses.all()
    assert ((own_losses - losses).abs() <= 1e-5 * losses).all()
    largest = max(float(g.norm()) for g in gradients.values())
    for parameter, gradient in gradients.items():
        error = float((own_gradients[parameter] - gradient).norm())
        # Rounding may flip a ReLU below. Some gradients are zero but for rounding: that of a bias
        # before a softmax over places.
        assert error <= 1e-2 * float(gradient.norm()) + 1e-6 * largest, parameter
