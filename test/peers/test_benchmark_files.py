"""What the benchmark's scripts say of result files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torchvision", reason="the benchmark times torchvision too")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmark"))

import compare
import report


def row(name: str, ratio: float | None, pass_name: str = "forward") -> report.Row:
    theirs = [ratio * 1e-3] * 3 if ratio else None
    return {"workload": name, "dtype": "float32", "layout": "nchw", "pass": pass_name,
            "threads": 1, "ratio": ratio, "over_float32": None, "roiops": [1e-3] * 3, "torchvision": theirs}  # fmt: skip


def test_the_summary_is_of_rows_with_a_ratio() -> None:
    rows = [row("a", 2.0), row("b", 8.0), row("alone", None), row("a", 3.0, "backward")]
    narrow = [row(name, None) | {"dtype": "bfloat16", "threads": 2, "over_float32": share}
              for name, share in (("a", 0.5), ("b", 0.32))]  # fmt: skip
    forward, backward, beside = report.summary(rows + narrow).splitlines()
    assert forward.startswith("forward, float32, 1 thread: 4.00 times as fast")
    assert "mean of 2" in forward and "worst 2.00: a nchw" in forward
    assert backward.startswith("backward, float32, 1 thread: 3.00 times")
    assert beside.startswith("forward, bfloat16, 2 threads: 0.40 of the time of float32")
    assert "worst 0.50: a nchw" in beside


def results_file(path: Path, rows: list[report.Row]) -> str:
    report.save(path, report.describe_run("cpu", shrunk=True) | {"rows": rows})
    return str(path)


def test_compare_tells_a_gain_from_a_different_machine(tmp_path, capsys) -> None:
    """`a` is twice as fast in the second file, `b` four times, and torchvision as fast as before."""
    before = [row("a", 2.0), row("b", 2.0), row("only_before", 2.0)]
    after = [row("b", 8.0) | {"roiops": [0.25e-3] * 3, "torchvision": [2e-3] * 3},
             row("a", 4.0) | {"roiops": [0.5e-3] * 3, "torchvision": [2e-3] * 3}]  # fmt: skip
    files = [results_file(tmp_path / "1.json", before), results_file(tmp_path / "2.json", after)]
    compare.main(files)
    text = capsys.readouterr().out
    assert "only_before" not in text
    assert "the second is 2.828 times as fast (geometric mean of 2)" in text
    assert "the same code: 1.000" in text
    lines = {line.split()[0]: line.split() for line in text.splitlines()[2:4]}
    assert lines["a"][-2:] == ["2.00", "1.00"] and lines["b"][-2:] == ["4.00", "1.00"]


@pytest.mark.parametrize("condition, summed", [("hostile", False), ("torch", True)])
def test_compare_sums_up_only_the_same_work(condition, summed, tmp_path, capsys) -> None:
    files = [results_file(tmp_path / f"{i}.json", [row("a", 2.0)]) for i in (1, 2)]
    report.save(Path(files[1]), report.load(Path(files[1])) | {condition: True})
    compare.main(files)
    out = capsys.readouterr().out
    assert f"not the same {condition}: " in out
    assert ("the second is 1.000 times as fast" in out) == summed


def test_compare_refuses_files_without_a_common_row(tmp_path, capsys) -> None:
    files = [results_file(tmp_path / f"{name}.json", [row(name, 2.0)]) for name in ("a", "b")]
    with pytest.raises(SystemExit):
        compare.main(files)
    assert "must share rows" in capsys.readouterr().err


@pytest.mark.parametrize("text, got", {
    None: "No such file or directory", "{": "something else", "[]": "something else",
    '{"rows": [{"workload": "sparse"}]}': "other rows",
}.items())  # fmt: skip
def test_other_files_end_with_a_sentence(text, got, tmp_path) -> None:
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit, match=f"must be a result file of run.py, but got {got}"):
        report.load(path)


def test_files_are_read_without_torch(tmp_path) -> None:
    file = results_file(tmp_path / "r.json", [row("a", 2.0)])
    code = "import sys; sys.modules['torch'] = None; import compare; compare.main(sys.argv[1:])"
    printed = subprocess.run(
        [sys.executable, "-c", code, file, file], cwd=Path(report.__file__).parent, check=True,
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "the second is 1.000 times as fast" in printed
