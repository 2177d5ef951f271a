"""The documentation's snippets run, and there is a page for every topic."""

from __future__ import annotations

from pathlib import Path

import pytest
from build_tree import ROOT
from page_runner import PAGES, imports, pages, program, run_page

# What a page must show: names that its program has to use.
TOPICS = {
    "autograd": ("torch.autograd.grad", "jvp", "vmap", "checkpoint", "autocast"),
    "compile": ("torch.compile", "torch.export.export", "aoti_compile_and_package"),
    "torchscript": ("torch.jit.script", "torch.jit.trace", "torch.jit.freeze", "torch.jit.load"),
    "cpp": ("cmake_prefix_path",),
    "onnx": ("torch.onnx.export", "translation_table"),
    "distributed": ("DistributedDataParallel", "fully_shard", "distribute_tensor"),
    "torchvision": ("patch_torchvision", "torchvision_patched"),
    "operators": ("roiops.visualize",),
    "migration": ("roiops.roi_align",),
    "robustness": ("os.fork", "IndexError"),
    "nms": ("roiops.nms_padded", "roiops.batched_nms", "roiops.box_iou_rotated"),
    "detector": ("roiops.nms_padded", "roiops.multiscale_roi_align"),
}


@pages(beside_peers=False)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.parametrize("topic", TOPICS)
def test_there_is_a_page_for(topic: str) -> None:
    page = ROOT / "docs" / f"{topic}.md"
    code = program(page)
    assert [name for name in TOPICS[topic] if name not in code] == []
    assert f"docs/{topic}.md" in (ROOT / "README.md").read_text()


def test_only_pages_beside_peers_import_them() -> None:
    """The two lists of pages are one condition and its negation: no page runs in neither."""
    assert {p.name for p in PAGES} >= {"README.md", *(f"{t}.md" for t in TOPICS)}
    here, beside_peers = (set(pages(beside_peers=b).args[1]) for b in (False, True))
    assert not here & beside_peers
    assert here | beside_peers == {page for page in PAGES if "```python" in page.read_text()}
    assert imports("import a.b, torchvision.ops\ndef f():\n    from onnx import c") == {
        "a", "torchvision", "onnx",
    }  # fmt: skip


def test_a_page_that_fails_is_noticed(tmp_path: Path) -> None:
    page = ROOT / "docs" / "never_written.md"
    text = "Text.\n\n```python\nx = 1\n```\n\n```sh\nexit 1\n```\n\n```python\nassert x == 2\n```\n"
    (tmp_path / page.name).write_text(text)
    with pytest.raises(AssertionError, match=r"(?s)never_written.*line 12.*assert x == 2"):
        run_page(tmp_path / page.name, tmp_path)
