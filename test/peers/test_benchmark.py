"""The benchmark harness on shrunk workloads: every row runs, and nothing wrong is timed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import roiops

pytest.importorskip("torchvision", reason="the benchmark times torchvision too")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmark"))

import compare
import memory
import report
import run
import timing
import traffic
from problems import DTYPES, LAYOUTS, Variant, boxes_of, build, random_rois
from verify import WrongResult
from workloads import WORKLOADS, named, shrink

WITH_PEER = [name for name, workload in WORKLOADS.items() if workload.has_peer]


def make_copies_small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(traffic, "COPY_BYTES", 2**20)
    patch.setattr(traffic, "COPY_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bandwidth is not what these tests are about; the number of threads comes back."""
    make_copies_small(monkeypatch)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run_shrunk(*arguments: str) -> dict[str, Any]:
    return run.run(run.parse(["--shrink", "--seconds", "0", *arguments]))


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        make_copies_small(patch)
        return run_shrunk("--threads", "1", "2")


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_row_of(name, results) -> None:
    rows = [row for row in results["rows"] if row["workload"] == name]
    keys = {tuple(row[k] for k in report.KEY[1:]) for row in rows}
    assert len(keys) == len(rows)
    passes = WORKLOADS[name].passes
    assert keys == {(d, x, p, t) for d in DTYPES for x in LAYOUTS for p in passes for t in (1, 2)}
    for row in rows:
        low, median, high = row["roiops"]
        assert 0 < low <= median <= high
        assert row["bytes"] > 0 and row["repeats"] == timing.LEAST_REPEATS
        assert row["floor"] == row["bytes"] / results["bandwidth"][str(row["threads"])]
        assert (row["ratio"] is not None) == WORKLOADS[name].has_peer
        if row["ratio"]:
            assert row["ratio"] == row["torchvision"][1] / median


def test_results_survive_their_file(results, tmp_path) -> None:
    path = tmp_path / "folder" / "results.json"
    report.save(path, results)
    assert {**report.load(path)} == json.loads(json.dumps(results))
    assert results["shrunk"] and results["torch"] == torch.__version__


def test_the_table_has_a_line_for_each_row(results) -> None:
    lines = report.rows_table(results["rows"]).splitlines()
    assert len(lines) == len(results["rows"]) + 2
    assert len({len(line) for line in lines}) == 1


def test_compare_reads_what_run_writes(results, tmp_path, capsys) -> None:
    report.save(tmp_path / "r.json", results)
    compare.main([str(tmp_path / "r.json")] * 2)
    out = capsys.readouterr().out
    assert out.count("\n") == len(results["rows"]) + 5
    assert "both: the second is 1.000 times" in out


def test_plot_draws_the_rows_of_the_most_threads(results, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="draws")
    import plot

    rows = plot.chosen(results, "float32", None)
    assert {r["workload"] for r in rows} == set(WITH_PEER) and {r["threads"] for r in rows} == {2}
    report.save(tmp_path / "r.json", results)
    plot.main([str(tmp_path / "r.json"), "--output", str(tmp_path / "chart.png")])
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_hostile_boxes_have_no_summary_but_a_reason() -> None:
    rows = run_shrunk("--hostile", "--only", "tiny", "--dtype", "float32", "--threads", "1")["rows"]
    assert report.summary(rows) == "no row that torchvision can run"


def one_row_off(output: torch.Tensor) -> torch.Tensor:
    rows = torch.arange(len(output)).view(-1, 1, 1, 1)
    return output + 0.1 * (rows == 3)


BROKEN = {
    "one_roi": (lambda f: lambda x, *a, **o: one_row_off(f(x, *a, **o)), "the output must"),
    "nan": (lambda f: lambda x, *a, **o: f(x, *a, **o) * torch.nan, "the output must"),
    "shape": (lambda f: lambda x, *a, **o: f(x, *a, **o)[:-1], "the output must have shape"),
    "gradient": (
        lambda f: lambda x, *a, **o: f(x.detach(), *a, **o) + 0 * x.sum(),
        "gradient 0 must",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_result_is_not_timed(name, monkeypatch) -> None:
    breaks, message = BROKEN[name]
    monkeypatch.setattr(roiops, "roi_align", breaks(roiops.roi_align))
    with pytest.raises(WrongResult, match=f"fpn_p2: {message}"):
        run_shrunk("--only", "fpn_p2", "--dtype", "float32", "--layout", "nchw")


@pytest.mark.parametrize("name", ["rotated", "align_max"])
def test_a_variant_that_differs_from_the_plain_one_is_not_timed(name, monkeypatch) -> None:
    """Where torchvision has no such operator."""
    op = WORKLOADS[name].op
    right = getattr(roiops, op)

    def wrong_for_channels_last(x, *args, **options):
        is_last = x.is_contiguous(memory_format=torch.channels_last)
        return right(x, *args, **options) + 0.1 * is_last

    monkeypatch.setattr(roiops, op, wrong_for_channels_last)
    arguments = ("--only", name, "--dtype", "float32", "--layout")
    run_shrunk(*arguments, "nchw")
    with pytest.raises(WrongResult, match="the output"):
        run_shrunk(*arguments, "channels_last")


def test_every_workload_with_hostile_boxes(tmp_path, capsys) -> None:
    """They are verified too, beside the contiguous float32 kernel."""
    results = run_shrunk("--hostile", "--threads", "1")
    assert {row["workload"] for row in results["rows"]} == set(WORKLOADS)
    assert all(row["ratio"] is None and row["roiops"][0] > 0 for row in results["rows"])
    for boxes in (boxes_of(named(name, True, True)) for name in WORKLOADS):
        assert (boxes.abs() > 1e20).any()  # the first of them
        assert len(boxes) == 1 or boxes.isnan().any()
    files = [tmp_path / name for name in ("ordinary.json", "hostile.json")]
    for path, description in zip(files, ({"hostile": False}, {}), strict=True):
        report.save(path, results | description)
    compare.main([str(path) for path in files])
    assert "not the same hostile: False, True" in capsys.readouterr().out


def test_calls_take_turns() -> None:
    order: list[str] = []
    calls = [lambda n=name: order.append(n) or () for name in "AB"]
    clock = iter(range(100))
    times = timing.take_turns(calls, lambda call: (call(), next(clock))[1], 0.0)
    assert order == ["A", "A", "B", "B"] * timing.LEAST_REPEATS
    assert times == [[1, 5, 9], [3, 7, 11]]
    assert timing.quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == [2, 3, 4]


@pytest.mark.parametrize("name", [n for n in WITH_PEER if WORKLOADS[n].op != "roi_pool"])
def test_touched_pixels_are_those_of_torchvisions_gradient(name) -> None:
    workload = shrink(WORKLOADS[name])
    problem = build(workload, "torchvision", Variant())
    gradients = torch.autograd.grad(problem.forward().sum(), problem.by)
    expected = sum(int((g != 0).sum()) for g in gradients) / sum(g.numel() for g in gradients)
    # a weight of 1e-7 may be zero in one library
    assert traffic.touched_share(workload) == pytest.approx(expected, rel=0.01)


def test_roi_pool_touches_its_boxes() -> None:
    """Losing pixels are read too, but have no gradient."""
    workload = replace(shrink(WORKLOADS["fast_rcnn_pool"]), maps=((2, 1, 37, 50),), rois=4)
    touched = torch.zeros(2, 37, 50)
    rois = random_rois(workload)
    corners = (rois[:, 1:] / 16 + 0.5).floor().int().tolist()
    for image, (x1, y1, x2, y2) in zip(rois[:, 0].int().tolist(), corners, strict=True):
        touched[image, y1 : y2 + 1, x1 : x2 + 1] = 1
    assert 0.1 < touched.mean() < 0.6
    assert traffic.touched_share(workload) == pytest.approx(float(touched.mean()), rel=0.1)


def test_bytes_of_the_passes() -> None:
    """A map of 8 x 8 pixels and 3 channels, of which half is read; 2 RoIs of 4 bins."""
    workload = replace(shrink(WORKLOADS["tiny"]), rois=2, bins=(2, 2))
    assert workload.maps == ((1, 3, 8, 8),)
    problem = build(workload, "roiops", Variant())
    features, output = 3 * 64 * 4, 2 * 3 * 4 * 4
    forward, backward = output + features // 2, output + features
    assert traffic.least_bytes(workload, "float32", problem, 0.5) == {
        "forward": forward, "backward": backward, "both": forward + backward
    }  # fmt: skip
    by_boxes = replace(workload, gradients_by=("boxes",))
    assert traffic.least_bytes(by_boxes, "bfloat16", problem, 0.5)["backward"] == forward // 2


def test_extra_memory_leaves_out_the_results() -> None:
    def call() -> tuple[torch.Tensor, ...]:
        torch.ones(96 * 2**20, dtype=torch.uint8)
        return (torch.ones(32 * 2**20, dtype=torch.uint8),)

    # The temporary is gone before the result comes: the peak is 96, and 64 of it are extra.
    assert memory.cpu_extra_bytes(call) / 2**20 == pytest.approx(64, abs=8)


def test_memory_is_measured_in_a_child(monkeypatch) -> None:
    rows = run_shrunk("--memory", "--only", "tiny", "--dtype", "float32", "--layout", "nchw",
                      "--pass", "forward", "--threads", "1")["rows"]  # fmt: skip
    assert rows[0]["extra_bytes"].keys() == {"roiops", "torchvision"}
    assert all(0 <= count < 2**30 for count in rows[0]["extra_bytes"].values())


@pytest.mark.parametrize("is_terminal", [False, True], ids=("log", "terminal"))
def test_progress(is_terminal, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    progress = report.Progress(2)
    progress.step("first", "1 ms")
    progress.step("second", "2 ms")
    err = capsys.readouterr().err
    assert ("\r[###############...............] 1/2" in err) == is_terminal
    assert ("[2/2] second: 2 ms\n" in err) != is_terminal
    assert err.endswith("\n")


@pytest.mark.parametrize(
    "arguments, message",
    [(("--threads", "0"), "`--threads` must be positive"),
     (("--device", "cuda", "--threads", "1"), "`--threads` must be left out"),
     (("--only", "fpn_p9"), "invalid choice: 'fpn_p9'"),
     (("--seconds", "-1"), "`--seconds` must not be negative"),
     (("--only", "box_gradient", "--pass", "forward"), "`--pass` must be one that `--only` has")],
    ids=("no_threads", "cuda_threads", "unknown_workload", "negative_seconds", "no_row"),
)  # fmt: skip
def test_wrong_arguments(arguments, message, capsys) -> None:
    with pytest.raises(SystemExit):
        run.parse(arguments)
    assert message in capsys.readouterr().err
