"""Wrong arguments of every operator and function: see schema_calls.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_wrong_arguments_raise_a_sentence_and_end_nothing(tmp_path: Path) -> None:
    folder, log = Path(__file__).parent, tmp_path / "call.txt"
    command = [sys.executable, "schema_calls.py", str(log)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"status {run.returncode} at {log.read_text()}{run.stderr[-3000:]}"
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["calls"] > 3000
    assert result["bad"] == []
