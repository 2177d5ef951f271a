"""The documentation's pages that compare with another library."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from page_runner import PEERS, imports, pages, program, run_page


@pages(beside_peers=True)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    for peer in sorted(imports(program(page)) & PEERS):
        if not os.environ.get("ROIOPS_REQUIRE_PEERS"):
            pytest.importorskip(peer, reason=f"{page.name} imports it")
    run_page(page, tmp_path)
