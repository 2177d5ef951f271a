"""The documentation's Python: the ```python blocks of a page are one program."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from build_tree import ROOT

# A page that imports one of these runs beside the peers, test/peers/test_docs_peers.py; any other
# in test/test_docs.py.
PEERS = frozenset({"torchvision", "onnx", "onnxruntime", "onnxscript", "openvino", "tensorflow"})

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def program(page: Path) -> str:
    """The page's blocks; each stays on its lines, so that a traceback names those of the page."""
    lines, inside = [], False
    for line in page.read_text().splitlines():
        fence = line.startswith("```")
        inside = line.rstrip() == "```python" if fence else inside
        lines.append(line if inside and not fence else "")
    return "\n".join(lines).rstrip()


def imports(code: str) -> set[str]:
    """Top-level packages that are imported anywhere in the code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


def needs_peers(page: Path) -> bool:
    return bool(imports(program(page)) & PEERS)


def pages(beside_peers: bool) -> pytest.MarkDecorator:
    """Those that have Python and belong to this environment."""
    chosen = [p for p in PAGES if program(p) and needs_peers(p) == beside_peers]
    return pytest.mark.parametrize("page", chosen, ids=lambda p: p.stem)


def run_page(page: Path, folder: Path) -> None:
    """In a process and an empty folder of its own: in the root Python would import the sources.

    Nor may the file have a module's name: `import torchvision` in torchvision.py imports itself.
    """
    file = folder / f"page_{page.stem}.py"
    file.write_text(program(page))
    command = [sys.executable, str(file)]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{page.name}:\n{re.sub('.*Warning.*', '', done.stderr)}"
