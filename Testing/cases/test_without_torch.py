"""Where PyTorch is not installed, cohorts are prepared of patients, and predictions scored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import phantom

from IoUSynthLib.cases.case import Case, target_image, write_case
from IoUSynthLib.cases.index import write_index
from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.preprocessing import to_intensity
from IoUSynthLib.volume import Volume

ROOT = Path(__file__).resolve().parents[2]

COMMAND = """
import sys
from importlib.machinery import PathFinder

class WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "torch" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTorch
from IoUSynthLib.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def test_prepare(tmp_path):
    images = phantom.head()
    ultrasound, _, _ = phantom.field_of_view(images)
    (tmp_path / "patients" / "P1").mkdir(parents=True)
    for name, volume in {"ioUS": ultrasound, "T2w": images["T2w"]}.items():
        write_volume(tmp_path / "patients" / "P1" / f"{name}.nrrd", volume)
    done = run("prepare", tmp_path / "patients", "-o", tmp_path / "cohort", "--no-registration")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("prepared 1 of 1 cases")


@pytest.fixture
def cohort(tmp_path):
    """One simulated case, and predictions of it that err by a tenth of the range."""
    grid = Volume(np.random.default_rng(0).integers(200, 800, (36, 36, 36)).astype(np.int16), (0.8,) * 3)
    labels = grid.with_array(np.zeros((36, 36, 36), np.uint8))
    labels.array[10:20, 10:20, 10:20] = 1
    images = dict.fromkeys(("ioUS", "T2w", "FLAIR"), grid)
    case = Case(images, labels, labels.with_array(np.ones_like(labels.array)), {"head": "h", "lesion": {"kind": "a"}})
    write_case(case, tmp_path / "cohort" / "case-0000")
    write_index(tmp_path / "cohort", [{"name": "case-0000", "head": "h", "split": "test"}], seed=0)
    (tmp_path / "predictions").mkdir()
    predicted = to_intensity(target_image(case, "T2w") + 0.2)
    write_volume(tmp_path / "predictions" / "case-0000_T2w.nii.gz", grid.with_array(predicted))
    write_volume(tmp_path / "predictions" / "case-0000_segmentation.nii.gz", labels)
    return tmp_path / "cohort"


def test_evaluate(cohort, tmp_path):
    done = run("evaluate", tmp_path / "predictions", "--reference", cohort, "-o", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    assert "LPIPS is absent" in done.stderr
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())["summary"]
    assert summary["T2w/prediction/MAE"]["mean"] == pytest.approx(0.1, abs=1e-3)
    assert summary["Dice/prediction/tumour"]["mean"] == 1.0


@pytest.mark.parametrize(
    "arguments", [("simulate", "-n", 1), ("train", "--list"), ("models", "export", "run")], ids=lambda words: words[0]
)
def test_what_needs_pytorch_says_so(tmp_path, arguments):
    done = run(*arguments, "-o", tmp_path / "output")
    assert done.returncode == 2
    name = "models export" if arguments[0] == "models" else arguments[0]
    assert done.stderr.startswith(f"error: {name}: the package torch is not installed; install PyTorch")
    assert done.stderr.endswith('pip install "iousynth[train]"\n')
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "output").exists()
