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
        "end_to_end": {
            "a case": {"ratio": 1.234, "end to end, s": 2.468, "networks, s": 2.0, "windows": 7},
            "a cube of 160": {"ratio": 1.2, "end to end, s": 2.4, "networks, s": 2.0, "windows": 7},
        },
        "starts": {"shell, cold, a case": {"s": 4.25}},
        "memory": {"a run": {"MiB above the networks'": 512.0, "MiB": 1536.0, "networks, MiB": 1024.0}},
        "cuda": {"CUDA": {"not measured": "none is here"}},
    }
    for name, part in figures.items():
        (kept / f"{name}.json").write_text(json.dumps(part))
    command = [sys.executable, str(BENCH), "--parts", *figures, "--kept", str(kept), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:2] == ["1/4 end_to_end: kept", "2/4 starts: kept"]
    page = (output / "benchmarks.md").read_text()
    assert "| end to end against its networks, a case | 1.23 | | |" in page
    assert "| end to end against its networks, a cube of 160 | 1.20 | at most 1.15 | not met |" in page
    assert "| cold from the shell above the networks, s | 2.25 | at most 2.5 | met |" in page
    assert "| memory of a run above the networks', GiB | 0.50 | at most 1.5 | met |" in page
    assert page.index("| ratio |") < page.index("## End to end") < page.index("## Cuda")
    assert "none is here" in page
    told = json.loads((output / "benchmarks.json").read_text())
    assert told["parts"] == figures
    assert {"processor", "cores", "onnxruntime"} <= told["machine"].keys()
