"""roiops.visualize.draw: what is on the axes; arguments that are wrong; no matplotlib."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from cases import Case, Options, make_case
from op_table import CROP_AND_RESIZE, OPS, ROI_ALIGN, Op, few_options
from torch import Tensor

import roiops
from roiops import visualize

ROOT = Path(__file__).resolve().parent.parent
H, W = 7, 9
BOXES = {"other": (0.0, 0.0, 3.0, 3.0), "box": (1.7, 1.3, 7.9, 5.6)}
MAP, ROIS = torch.rand(1, 3, H, W), torch.tensor([[0, *BOXES["box"]]])


@pytest.fixture
def axes():
    figure = pytest.importorskip("matplotlib.figure", reason="draws")
    return figure.Figure().subplots()  # on the Agg backend


def call(function, case: Case, **rest):
    leading = case.leading(list(case.maps))
    return function(case.op.function, *leading, *case.op.python_args(case.options), **rest)


def only(axes, gid: str):
    (artist,) = axes.findobj(lambda a: a.get_gid() == gid)
    return artist


def polygons(artist) -> Tensor:
    """[N, 4, 2]: the corners' (y, x)."""
    return torch.tensor([p.vertices[:4].tolist() for p in artist.get_paths()]).flip(-1).double()


def points(artist) -> Tensor:
    """[N, 2]: (y, x)."""
    return torch.tensor(artist.get_offsets().tolist(), dtype=torch.float64).view(-1, 2).flip(-1)


def as_drawn(positions: Tensor) -> Tensor:
    """Without those that are nowhere."""
    return positions[~positions.isnan().any(-1)]


@few_options
def test_draw_shows_bins_samples_and_weights(op: Op, options: Options, generator, axes) -> None:
    case = make_case(op, options, generator, (H, W), BOXES)
    if case.has_offset:
        case.extra.clamp_(-0.3, 0.3)
    (height, width), (p, q) = options.output_size, (options.output_size[0] - 1, 0)
    assert call(visualize.draw, case, box=1, bin=(p, q), channel=1, ax=axes) is axes
    axes.figure.canvas.draw()

    bins = call(visualize.bins, case)[1]
    assert len(bins.flatten(0, 1)) == height * width
    torch.testing.assert_close(polygons(only(axes, "bins")), bins.flatten(0, 1), check_dtype=False)
    torch.testing.assert_close(polygons(only(axes, "bin")), bins[p, q][None], check_dtype=False)

    samples = call(visualize.samples, case)[1]
    assert op.samples is (samples.shape[2] > 0) or op is CROP_AND_RESIZE
    torch.testing.assert_close(points(only(axes, "samples")), samples.flatten(0, 2))
    torch.testing.assert_close(points(only(axes, "samples of bin")), samples[p, q])

    weights = call(visualize.weights, case, channel=1)
    levels = weights if isinstance(weights, list) else [weights]
    of_bin = max(levels, key=lambda w: float(w[1].sum()))[1, p, q]
    shades = torch.tensor(only(axes, "weights").get_array().tolist())
    assert torch.equal(shades[..., 3] > 0, of_bin > 0)
    labels = axes.findobj(lambda a: a.get_gid() == "weight")
    assert len(labels) == int((of_bin >= 0.005).sum())
    for label in labels:
        x, y = label.get_position()
        assert label.get_text() == f"{100 * of_bin[int(y), int(x)]:.0f}"


def test_features_are_those_of_the_image_and_the_channel(axes) -> None:
    x = torch.rand(2, 3, H, W)
    visualize.draw(roiops.roi_align, x, [ROIS[:0, 1:], ROIS[:, 1:]], 2, channel=2, ax=axes)
    assert torch.equal(torch.tensor(axes.images[0].get_array().tolist()), x[1, 2])


def test_features_of_a_position_sensitive_bin_are_its_channel(axes) -> None:
    x = torch.rand(1, 8, H, W)
    visualize.draw(roiops.ps_roi_pool, x, ROIS, 2, bin=(1, 0), channel=1, ax=axes)
    assert torch.equal(torch.tensor(axes.images[0].get_array().tolist()), x[0, 4 + 2])


@pytest.mark.parametrize(
    "box", [(1e6, 0.0, 2e6, 5), (float("nan"), 0, 4, 5), (3.0, 3, 3, 3)], ids=str
)
def test_a_box_that_reads_nothing_draws_no_samples(box, axes) -> None:
    rois = torch.tensor([[0.0, *box]])
    visualize.draw(roiops.roi_align, MAP, rois, 2, aligned=True, ax=axes)
    axes.figure.canvas.draw()
    assert len(points(only(axes, "samples"))) == 0
    assert axes.findobj(lambda a: a.get_gid() == "weight") == []


def test_many_weights_have_no_numbers(axes) -> None:
    rois = torch.tensor([[0, 0.0, 0, W, H]])
    visualize.draw(roiops.prroi_pool, MAP, rois, 1, ax=axes)
    assert axes.findobj(lambda a: a.get_gid() == "weight") == []


def test_new_axes_without_any() -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="draws")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    axes = visualize.draw(roiops.roi_align, MAP, ROIS, 2)
    assert axes is pyplot.gca() and only(axes, "bins")
    pyplot.close(axes.figure)


@pytest.mark.parametrize("name, wrong, count", [
    ("box", 1, 1), ("box", -1, 1), ("bin", (2, 0), 2), ("bin", (0, 3), 3), ("channel", 3, 3),
])  # fmt: skip
def test_an_index_that_is_not_there(name, wrong, count, axes) -> None:
    index = max(wrong) if isinstance(wrong, tuple) else wrong
    with pytest.raises(IndexError) as error:
        visualize.draw(roiops.roi_align, MAP, ROIS, (2, 3), ax=axes, **{name: wrong})
    assert str(error.value) == f"visualize: `{name}` must be in [0, {count}), but got {index}."


@pytest.mark.parametrize("wrong", [1, (1,), (0, 0, 0), (0, 1.5), "ab"], ids=str)
def test_a_bin_that_is_not_two_integers(wrong, axes) -> None:
    with pytest.raises(TypeError) as error:
        visualize.draw(roiops.roi_align, MAP, ROIS, (2, 3), ax=axes, bin=wrong)
    rule = "must be two integers (row, column)"
    assert str(error.value) == f"visualize: `bin` {rule}, but got {wrong!r}."


FUNCTIONS = [visualize.weights, visualize.bins, visualize.samples, visualize.draw]
each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)


@each_function
def test_an_operator_that_is_none_of_ours(function) -> None:
    pytest.importorskip("matplotlib", reason="draws")
    with pytest.raises(TypeError, match="`op` must be an operator of roiops.*but got"):
        function(torch.relu, MAP, ROIS, 2)


@each_function
def test_wrong_arguments_are_the_operators_errors(function) -> None:
    pytest.importorskip("matplotlib", reason="draws")
    with pytest.raises(RuntimeError, match="roi_align: `boxes` must"):
        function(ROI_ALIGN.function, MAP, ROIS[:, :3], 2)
    with pytest.raises(TypeError, match="missing a required argument: 'output_size'"):
        function(ROI_ALIGN.function, MAP, ROIS)


def test_matplotlib_is_imported_by_draw_alone_and_missed_by_name(tmp_path) -> None:
    """In a process of its own, where it cannot be imported."""
    script = """if True:
        import sys
        sys.modules["matplotlib"] = None
        import torch, roiops
        call = (roiops.roi_align, torch.rand(1, 1, 7, 9), torch.tensor([[0, 1.0, 1, 5, 5]]), 2)
        roiops.visualize.weights(*call), roiops.visualize.bins(*call), roiops.visualize.samples(*call)
        try:
            roiops.visualize.draw(*call)
        except ImportError as error:
            print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == (
        "visualize: `draw` needs matplotlib: install it with `pip install matplotlib`."
    )


def test_the_picture_of_the_operators_shows_each(tmp_path, monkeypatch) -> None:
    pytest.importorskip("matplotlib", reason="draws")
    monkeypatch.syspath_prepend(ROOT / "examples")
    script = import_module("operators_picture")
    assert {panel.op for panel in script.panels()} == {op.function for op in OPS}
    picture = tmp_path / "operators.png"
    monkeypatch.setattr(sys, "argv", ["operators_picture.py", "--output", str(picture)])
    script.main()
    assert 50_000 < picture.stat().st_size < 300_000


def test_the_axes_show_the_box_and_its_surroundings() -> None:
    pytest.importorskip("matplotlib", reason="draws")
    box = torch.tensor([[0, 40.0, 20, 60, 50], [0, -9.0, 0, 4, 9]])
    call = (roiops.roi_align, torch.zeros(1, 1, 90, 120), box, 2, 1.0, 2, True)
    inside, outside = (visualize.draw(*call, box=number) for number in (0, 1))
    assert inside.get_xlim() == (36.5, 62.5) and inside.get_ylim() == (52.5, 16.5)
    assert outside.get_xlim() == (-9.5, 6.5) and outside.get_ylim() == (11.5, -0.5)
