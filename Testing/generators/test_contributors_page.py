"""The family that the contributors' page adds in one file: built, listed, trained and exported, with nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxscript")

from support.noise_cohort import write_noise_cohort

from IoUSynthLib.models.bundle import load

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
#: What somebody does who has written the file, in one process.
SESSION = """
import sys
import torch
from IoUSynthLib import cli
from IoUSynthLib.generators import build

cohort, run, bundle = sys.argv[1:]
assert build("tiny", "2.5D", ("T2w", "FLAIR"))(torch.zeros(2, 3, 16, 24)).shape == (2, 2, 16, 24)
try:
    build("tiny", "3D")
except ValueError as error:
    print(error)
assert cli.main(["train", "--list"]) == 0
assert cli.main(["train", "tiny-2.5d-t2w", "--data", cohort, "-o", run, "--steps", "2", "--device", "cpu"]) == 0
assert cli.main(["models", "export", run, "-o", bundle]) == 0
"""


@pytest.fixture
def library(tmp_path):
    """A copy of the library with the page's file in it."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    shutil.copytree(ROOT / "IoUSynthLib", tmp_path / "IoUSynthLib", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "IoUSynthLib" / "generators" / "tiny.py").write_text(code, encoding="utf-8")
    return tmp_path


def test_the_example_of_a_generator_in_one_file_is_trained_and_exported(library, tmp_path):
    write_noise_cohort(tmp_path / "cohort")
    environment = {**os.environ, "PYTHONPATH": str(library), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SESSION, *(str(tmp_path / name) for name in ("cohort", "run", "bundle"))]
    session = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert session.returncode == 0, session.stderr
    assert "the family tiny works in 2D and 2.5D, not in 3D" in session.stdout
    listed = set(re.findall(r"^tiny\S*", session.stdout, re.MULTILINE))
    assert listed == {f"tiny-{regime}-{targets}" for regime in ("2d", "2.5d") for targets in ("t2w", "t2w-flair")}
    assert "step 2/2" in session.stdout
    model = load(tmp_path / "bundle")
    model.verify()
    assert (model.regime, model.outputs) == ("2.5D", ("T2w",))
