"""examples/detector trains, by one process and by two, is exported, and runs in C++."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from build_tree import ROOT
from few_pictures import Few
from torch import Tensor

sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "examples" / "detector")]

import deploy
import export
from data import KINDS, Shapes, backgrounds, load_picture, save_picture
from draw import COLOURS, outline
from model import MODES, Detector, load, save
from train import evaluate, train


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Training


@pytest.fixture(scope="module")
def trained() -> Callable[[str], tuple[Detector, Few, list[Tensor]]]:
    models: dict[str, tuple[Detector, Few, list[Tensor]]] = {}

    def of(mode: str) -> tuple[Detector, Few, list[Tensor]]:
        if mode not in models:
            torch.manual_seed(0)
            shapes = Few(mode == "rotated", 8)
            model = Detector(mode)
            losses = train(model, shapes, steps=60, batch=4, rate=2e-3, shown=False)
            models[mode] = model.eval(), shapes, losses
        return models[mode]

    return of


@pytest.mark.parametrize("mode", MODES)
def test_training_learns_a_few_pictures(mode: str, trained) -> None:
    model, shapes, losses = trained(mode)
    first, last = torch.stack(losses[:5]).mean(0), torch.stack(losses[-5:]).mean(0)
    assert last.sum() < first.sum() / 2
    results = evaluate(model, shapes, 8)
    assert results["box AP50"] > 0.5 and results["mask AP50"] > 0.5


def test_a_saved_model_is_the_same_model(trained, tmp_path: Path) -> None:
    model, shapes, _ = trained("rotated")
    save(model, tmp_path / "model.pt")
    again = load(tmp_path / "model.pt")
    images = shapes[0].image[None]
    for a, b in zip(again(images), model(images), strict=True):
        assert torch.equal(a, b)


def torchrun(*command: object) -> str:
    run = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    return deploy.run_command(*run, *command)


@pytest.mark.parametrize("alone", [False, True], ids=("together", "alone"))
def test_two_processes_have_the_same_weights(alone: bool) -> None:
    """Of different pictures: if each trains alone, they have not."""
    printed = torchrun(ROOT / "test" / "detector_ranks.py", *(["alone"] if alone else []))
    weights = re.findall("weights (.*)", printed)
    assert len(weights) == 2 and len(set(weights)) == (2 if alone else 1)


def test_torchrun_trains_one_model_in_two_processes(tmp_path: Path) -> None:
    script = ROOT / "examples" / "detector" / "train.py"
    rest = ("--steps", "2", "--batch", "4", "--pictures", "2", "--output", tmp_path)
    printed = torchrun(script, *rest)
    assert printed.count("trained in") == 1  # by one process alone
    assert "2/2" in printed and "box AP" in printed
    model = load(tmp_path / "align.pt")
    torch.manual_seed(0)
    before = Detector("align").state_dict()
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert moved == [name for name, _ in model.named_parameters()]


# The ways out of Python

SIZES = ((128, 128), (200, 144), (97, 131))


def pictures(model: Detector) -> list[Tensor]:
    photographs = backgrounds(None, held_out=False)
    return [Shapes(photographs, 0, model.mode == "rotated", s)[0].image for s in SIZES]


@torch.no_grad()
def check(run: Callable[[Tensor], export.Result], model: Detector) -> None:
    """Finds the same objects in any number of pictures of any size."""
    count = 0
    for n, image in enumerate(pictures(model)):
        images = torch.stack([image, image.flip(2), image.flip(1)][: n + 1])
        expected = model(images)
        assert [part.shape[:2] for part in expected] == [(n + 1, model.detections)] * 4
        objects, boxes, scores, masks = export.differences(run(images), expected)
        assert boxes < 0.01 and scores < 1e-3 and masks < 1e-2
        count += objects
    assert count > 0


@pytest.mark.parametrize("mode", MODES)
def test_torchscript_finds_the_same_objects(mode: str, trained, tmp_path: Path) -> None:
    model, *_ = trained(mode)
    export.save_torchscript(model, tmp_path / "model.pt")
    check(torch.jit.load(tmp_path / "model.pt"), model)


@pytest.mark.parametrize("mode", MODES)
def test_exported_program_finds_the_same_objects(mode: str, trained, tmp_path: Path) -> None:
    model, *_ = trained(mode)
    export.save_exported(model, tmp_path / "model.pt2")
    check(torch.export.load(tmp_path / "model.pt2").module(), model)


def test_a_difference_is_noticed(trained) -> None:
    model, *_ = trained("align")
    with torch.no_grad():
        expected = model(pictures(model)[0][None])
    moved = (expected[0] + 1, *expected[1:])
    assert export.differences(moved, expected)[1] == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match="other scores"):
        export.differences((expected[0], expected[1] * 0, *expected[2:]), expected)
    with pytest.raises(ValueError, match="other labels"):
        export.differences((*expected[:2], expected[2] + 1, expected[3]), expected)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = ROOT / "examples" / "detector" / "cpp"
    return deploy.build_consumer(tmp_path_factory.mktemp("detect"), source=source) / "detect"


def run_program(program: Path, file: Path, model: Detector, folder: Path) -> None:
    """Prints Python's boxes, and draws them."""
    save_picture(pictures(model)[0][:, :112], folder / "picture.ppm")  # no square
    image = load_picture(folder / "picture.ppm")  # 8 bits
    printed = deploy.run_command(program, file, folder / "picture.ppm", folder / "out.ppm", "0.3")
    rows = [line.split("\t") for line in printed.splitlines()]
    with torch.no_grad():
        boxes, scores, labels, _ = (part[0] for part in model(image[None]))
    meant = scores >= 0.3
    assert len(rows) == meant.sum() > 0
    assert [row[0] for row in rows] == [KINDS[label] for label in labels[meant]]
    numbers = torch.tensor([[float(v) for v in row[1:]] for row in rows])
    torch.testing.assert_close(numbers[:, 0], scores[meant], atol=1e-4, rtol=0)
    torch.testing.assert_close(numbers[:, 1:], boxes[meant], atol=0.01, rtol=0)

    drawn = load_picture(folder / "out.ppm")
    expected = outline(image, model.boxes.corners(boxes[meant]), labels[meant])
    assert (expected != image).any(0).sum() > 100
    other = ((drawn - expected).abs() > 0.01).any(0)
    assert other.sum() <= 4  # a line may fall on the other side of a half


@pytest.mark.parametrize("mode", ["align", "rotated"])
def test_cpp_program_draws_what_python_finds(mode: str, trained, program, tmp_path: Path) -> None:
    model, *_ = trained(mode)
    export.save_torchscript(model, tmp_path / "model.pt")
    run_program(program, tmp_path / "model.pt", model, tmp_path)


def test_cpp_program_runs_a_compiled_package(trained, program, tmp_path: Path) -> None:
    model, *_ = trained("psroi")
    export.save_exported(model, tmp_path / "exported.pt2")
    # Quick to compile, where the default is quick to run.
    configs = {"aot_inductor.compile_wrapper_opt_level": "O0", "cpp.simdlen": 1}
    export.save_package(tmp_path / "exported.pt2", tmp_path / "package.pt2", **configs)
    check(torch._inductor.aoti_load_package(str(tmp_path / "package.pt2")), model)
    run_program(program, tmp_path / "package.pt2", model, tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "there is no file"),
        (b"P5\n2 2\n255\n1234", "is no binary PPM with 8 bits"),
        (b"P6\n2 2\n65535\n", "is no binary PPM with 8 bits"),
        (b"P6\n99999 99999\n255\n", "is no binary PPM with 8 bits"),
        (b"P6\n2 -2\n255\n", "is no binary PPM with 8 bits"),
        (b"P6 # comment\n2 2\n255\n12345678901", "ends too early"),
    ],
)
def test_cpp_program_refuses_other_files(program, tmp_path: Path, content, message) -> None:
    if content is not None:
        (tmp_path / "picture.ppm").write_bytes(content)
    with pytest.raises(RuntimeError, match=message):
        deploy.run_command(program, "no.pt", tmp_path / "picture.ppm", tmp_path / "out.ppm")


def test_colours_and_names_are_those_of_the_program() -> None:
    source = (ROOT / "examples" / "detector" / "cpp" / "detect.cpp").read_text()
    for name, colour in zip(KINDS, (COLOURS * 255).round().int().tolist(), strict=True):
        assert f'{{"{name}", {{{", ".join(map(str, colour))}}}}}' in source
