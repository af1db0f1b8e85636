"""The bench itself: what it keeps, and its page. What it measures is run by `make bench` alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).with_name("bench.py")


def test_what_was_measured_is_kept_and_ratios_come_first(tmp_path):
    kept, output = tmp_path / "kept", tmp_path / "page"
    kept.mkdir()
    figures = {
        "end_to_end": {"a case": {"ratio": 1.234, "end to end, s": 2.468, "networks, s": 2.0, "windows": 7}},
        "cuda": {"CUDA": {"not measured": "none is here"}},
    }
    for name, part in figures.items():
        (kept / f"{name}.json").write_text(json.dumps(part))
    command = [sys.executable, str(BENCH), "--parts", *figures, "--kept", str(kept), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:2] == ["1/2 end_to_end: kept", "2/2 cuda: kept"]
    page = (output / "benchmarks.md").read_text()
    assert "| end to end against its networks, a case | 1.23 |" in page
    assert page.index("| ratio |") < page.index("## End to end") < page.index("## Cuda")
    assert "none is here" in page
    told = json.loads((output / "benchmarks.json").read_text())
    assert told["parts"] == figures
    assert {"processor", "cores", "onnxruntime"} <= told["machine"].keys()
