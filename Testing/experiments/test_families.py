"""Families side by side, and on two cases by heart, on tiny cases: tables, picture, going on, and bad input."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import SimpleITK as sitk
from support.toy_presets import toy
from support.training import NoBoard

from IoUSynthLib.cases.case import UNLABELLED, Case, write_case
from IoUSynthLib.evaluation.baselines import Baselines
from IoUSynthLib.experiments import families, overfit, trials
from IoUSynthLib.experiments.__main__ import main
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.training import preset, trainer
from IoUSynthLib.volume import Volume

#: The window is rounded up to 64 voxels, which the discriminators need.
EDGE = 40


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two cases for training, one for validation and two for testing, of noise whose T2w is the ultrasound inverted."""
    folder, rng = tmp_path_factory.mktemp("cohort"), np.random.default_rng(0)
    fan = np.zeros((EDGE,) * 3, np.uint8)
    fan[2:-2, 2:-2, 2:-2] = 1
    entries = []
    for number, (split, lesion) in enumerate(
        [("train", "tumour"), ("train", "cavity"), ("validation", "tumour"), ("test", "tumour"), ("test", "cavity")]
    ):
        ultrasound = rng.integers(20, 255, fan.shape)
        images = {
            "ioUS": Volume((ultrasound * fan).astype(np.uint8)),
            "T2w": Volume(((255 - ultrasound) * 4).astype(np.int16)),
            "FLAIR": Volume((ultrasound * 2).astype(np.int16)),
        }
        name = f"case-{number:04d}"
        parameters = {"simulated": True, "head": "noise", "lesion": {"kind": lesion}}
        write_case(Case(images, Volume(0 * fan), Volume(fan), parameters), folder / name)
        entries.append({"name": name, "head": "noise", "split": split})
    (folder / "dataset.json").write_text(json.dumps({"simulated": True, "seed": 0, "cases": entries}))
    return folder


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(trials, "reduced", toy)
    monkeypatch.setattr(preset, "perceptual_score", lambda batches: None)
    monkeypatch.setattr(trainer, "Board", NoBoard)


def run(cohort, output, *arguments):
    chosen = ("--data", cohort, "-o", output, "--families", "pix2pix", "--steps", 2, "--cases", 2, *arguments)
    return main(["families", *map(str, chosen)])


def test_a_family_is_scored_beside_the_baselines_and_kept(cohort, tmp_path, monkeypatch, capsys):
    assert run(cohort, tmp_path) == 0
    text = (tmp_path / "comparison.md").read_text()
    assert capsys.readouterr().out == text
    assert text.startswith("Simulated: 2 cases of heads that training never saw; narrow networks")
    assert "| T2w | pix2pix |" in text
    content = json.loads((tmp_path / "comparison.json").read_text())
    summary, about = content["summary"], content["families"]["pix2pix"]
    # FLAIR is the ultrasound but for its scale: no two voxels' order differs, so the map is all but exact.
    assert summary["FLAIR/monotone map/MAE"]["mean"] < 0.01 < summary["FLAIR/pix2pix/MAE"]["mean"]
    assert summary["T2w/pix2pix/PSNR"]["n"] == 2
    assert about["parameters"] > 1000
    assert about["seconds"] > 0
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "comparison.png")))
    assert 2 + 3 * (EDGE + 2) <= picture.shape[1] < 2 + 4 * (EDGE + 2)  # ultrasound, a family, the truth
    before = (tmp_path / "pix2pix-2d-t2w-flair" / "scores.json").read_text()
    monkeypatch.setattr(families, "fidelity_scores", None)  # nothing is scored again
    assert run(cohort, tmp_path) == 0
    assert (tmp_path / "comparison.md").read_text() == text
    assert (tmp_path / "pix2pix-2d-t2w-flair" / "scores.json").read_text() == before
    capsys.readouterr()
    assert run(cohort, tmp_path, "--steps", 3) == 2  # would else show the scores of 2 steps as those of 3
    assert "is of another setting (2 steps of batches" in capsys.readouterr().err


def test_patients_are_called_real_and_scored_as_far_as_they_go(cohort, tmp_path):
    """Nobody has outlined them, and the last one lacks T2w."""
    patients = tmp_path / "patients"
    shutil.copytree(cohort, patients)
    index = json.loads((patients / "dataset.json").read_text())
    (patients / "dataset.json").write_text(json.dumps({**index, "simulated": False}))
    for folder in patients.glob("case-*"):
        targets = ["FLAIR"] if folder.name == "case-0004" else ["T2w", "FLAIR"]
        about = {"simulated": False, "head": folder.name, "targets": targets}
        (folder / "case.json").write_text(json.dumps(about))
        labels = read_volume(folder / "labels.mha")
        write_volume(folder / "labels.mha", labels.with_array(np.full_like(labels.array, UNLABELLED)))
    (patients / "case-0004" / "T2w.mha").unlink()
    assert run(patients, tmp_path / "out") == 0
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert text.startswith("Real patients: 2 studies of patients that training never saw; narrow")
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["simulated"] is False
    assert [row["lesion"] for row in content["cases"]] == ["unknown", "unknown"]
    numbers = [content["summary"][f"{target}/pix2pix/PSNR"]["n"] for target in ("T2w", "FLAIR")]
    assert numbers == [1, 2]
    assert (tmp_path / "out" / "comparison.png").exists()


def test_bad_input(tmp_path, capsys):
    assert run(tmp_path, tmp_path / "out") == 2
    assert "no cohort can be read" in capsys.readouterr().err
    (tmp_path / "dataset.json").write_text('{"cases": [{"name": "a", "split": "train"}]}')
    assert run(tmp_path, tmp_path / "out") == 2
    assert "has no cases for training or none for testing; make a cohort" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        run(tmp_path, tmp_path / "out", "--cases", 0)


def test_two_cases_by_heart(cohort, tmp_path, monkeypatch, capsys):
    """The map is all but exact here, so a network that has hardly learned must lose to it, and a poor map to both."""
    arguments = ["overfit", "--data", str(cohort), "--families", "pix2pix", "--steps", "2", "-o"]
    assert main([*arguments, str(tmp_path / "short")]) == 1
    assert "| no |" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "short" / "overfit.json").read_text())["families"]
    assert row["T2w monotone map"] < 0.01 < row["T2w"]
    poor = Baselines(0.0, np.full(200, 5.0), np.linspace(0, 1, 201))
    monkeypatch.setattr(overfit, "fit_baselines", lambda folders: {"T2w": poor, "FLAIR": poor})
    assert main([*arguments, str(tmp_path / "short")]) == 0
    assert "| yes |" in (tmp_path / "short" / "overfit.md").read_text()


def test_systems_of_other_papers_and_models_as_they_are_stand_beside_them(cohort, tmp_path):
    """In regimes of their own, for T2w alone; a model is run as it is."""
    assert run(cohort, tmp_path / "one") == 0
    model = tmp_path / "one" / "pix2pix-2d-t2w-flair" / "bundle"
    others = ("--families", "vae", "mdaunet", "--steps", 2, "vae=3", "--models", model)
    assert run(cohort, tmp_path / "two", *others) == 0
    content = json.loads((tmp_path / "two" / "comparison.json").read_text())
    about = content["families"]
    assert [(name, entry["regime"], entry.get("steps")) for name, entry in about.items()] == [
        ("mdaunet", "3D", 2), ("vae", "2D", 3), ("bundle", "2D", None)
    ]  # fmt: skip
    assert all(entry["MiB"] > 0 for entry in about.values())
    assert content["summary"]["T2w/vae/PSNR"]["n"] == 2
    assert "FLAIR/vae/PSNR" not in content["summary"]
    first = json.loads((tmp_path / "one" / "comparison.json").read_text())
    for name in ("T2w", "FLAIR"):
        was, now = (one["summary"][f"{name}/{m}/PSNR"]["mean"] for one, m in ((first, "pix2pix"), (content, "bundle")))
        assert now == was
    with pytest.raises(SystemExit):
        run(cohort, tmp_path / "two", "--steps", "unet=3")


def test_pairs_of_mri_pass_through_it(cohort, tmp_path):
    """T1w, which is T2w inverted here, in the place of the ultrasound; cases differ in size."""
    pairs = tmp_path / "pairs"
    shutil.copytree(cohort, pairs)
    index = json.loads((pairs / "dataset.json").read_text())
    (pairs / "dataset.json").write_text(json.dumps({**index, "simulated": False}))
    for number, folder in enumerate(sorted(pairs.glob("case-*"))):
        about = {
            "simulated": False, "head": folder.name, "input": "T1w", "targets": ["T2w"], "spacing_mm": [1, 1, 1],
            "scaling": "z-score",
        }  # fmt: skip
        (folder / "case.json").write_text(json.dumps(about))
        for name in ("T2w", "fan", "labels"):
            volume = read_volume(folder / f"{name}.mha")
            volume = Volume(volume.array[:, : EDGE - number])
            write_volume(folder / f"{name}.mha", volume)
            if name == "T2w":
                write_volume(folder / "T1w.mha", volume.with_array(1100 - volume.array))
        for name in ("ioUS", "FLAIR"):
            (folder / f"{name}.mha").unlink()
    assert run(pairs, tmp_path / "out", "--families", "pix2pix", "unet_pix2pix") == 0
    summary = json.loads((tmp_path / "out" / "comparison.json").read_text())["summary"]
    assert summary["T2w/monotone map/MAE"]["mean"] < 0.01 < summary["T2w/unet_pix2pix/MAE"]["mean"]
    assert "T2w/T1w as it is/PSNR" in summary
    assert "| MSE | NMSE |" in (tmp_path / "out" / "comparison.md").read_text()
    assert not any(key.startswith("FLAIR") or "ioUS" in key for key in summary)
