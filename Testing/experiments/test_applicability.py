"""What segmenters learn from synthetic MRI and see on it, by the tiny one: a cavity where T2w is above 0.45."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from IoUSynthLib.cases.case import Case, read_case, target_image, write_case
from IoUSynthLib.experiments import applicability
from IoUSynthLib.experiments.__main__ import main
from IoUSynthLib.models.bundle import load
from IoUSynthLib.volume import Volume

EDGE = 32
MODEL = "ious2mr-2.5d"


@pytest.fixture
def cohort(tmp_path):
    """Cases whose cavity is bright in T2w."""
    folder, entries = tmp_path / "cohort", []
    fan = np.zeros((EDGE,) * 3, np.uint8)
    fan[2:-2, 2:-2, 2:-2] = 1
    for number, split in enumerate(("train", "validation", "test", "test")):
        labels = np.zeros_like(fan)
        labels[8:24, 8 : 20 + number, 8:24] = 2
        bright = (300 + 700 * (labels > 0)).astype(np.int16)
        echo = np.random.default_rng(number).integers(20, 255, fan.shape)
        images = {"ioUS": (echo * fan).astype(np.uint8), "T2w": bright, "FLAIR": bright}
        volumes = {name: Volume(image, (0.8,) * 3) for name, image in images.items()}
        about = {"simulated": True, "head": "noise", "lesion": {"kind": "cavity"}}
        write_case(Case(volumes, Volume(labels, (0.8,) * 3), Volume(fan, (0.8,) * 3), about), folder / f"case-{number}")
        entries.append({"name": f"case-{number}", "head": f"head {number}", "split": split})
    (folder / "dataset.json").write_text(json.dumps({"simulated": True, "seed": 0, "cases": entries}))
    return folder


def write_made(cohort, output, shown):
    """What the generator has made of each case: the true MRI, changed."""
    made = output / "predictions" / MODEL
    made.mkdir(parents=True)
    for folder in sorted(cohort.glob("case-*")):
        for target in load(MODEL).images:
            np.save(made / f"{folder.name}_{target}.npy", shown(target_image(read_case(folder), target)))


def half(image):
    """Without what lies in the lower half."""
    image = image.copy()
    image[EDGE // 2 :] = -1
    return image


@pytest.mark.parametrize(
    ("shown", "agreement"), [(lambda image: image, 1.0), (half, 2 / 3), (lambda image: 0 * image, 0)]
)
def test_known_answers(cohort, tiny_models, tmp_path, monkeypatch, capsys, shown, agreement):
    learned = []

    def learn(study, images, generator=None):
        learned.append((images, generator and generator.name))
        return load("lesion-3d")

    monkeypatch.setattr(applicability.Study, "learned", learn)
    output = tmp_path / "out"
    write_made(cohort, output, shown)
    assert main(["applicability", "--data", str(cohort), "--models", MODEL, "-o", str(output)]) == 0
    assert learned == [(("T2w", "FLAIR"), None), (("T2w", "FLAIR"), MODEL)]
    text = (output / "applicability.md").read_text()
    assert capsys.readouterr().out == text
    assert text.startswith("Simulated cases that no segmenter has learned from")
    rows = json.loads((output / "applicability.json").read_text())["cases"]
    assert len(rows) == 2
    for row in rows:
        dice = row["Dice/acquired MRI, T2w and FLAIR/cavity"]
        assert row[f"Dice/{MODEL}/cavity"] == dice > 0.7, "both outline the acquired MRI, on voxels of 1.6 mm"
        assert row[f"agreement/{MODEL}/cavity"] == pytest.approx(agreement, abs=0.1)
        assert np.isnan(row[f"agreement/{MODEL}/tumour"])


def test_a_segmenter_learns_from_what_the_generator_has_made(cohort, tiny_models, tmp_path, monkeypatch):
    """That of the bound learns from acquired MRI; neither reads the ultrasound, and each has its own folder."""
    calls = []

    def learn(preset, cohort, output, *, predictions, **_):
        calls.append((preset.last.inputs, preset.last.recipe.steps, output, predictions))

    monkeypatch.setattr(applicability, "train", learn)
    monkeypatch.setattr(applicability, "export_run", lambda run, bundle, preset: bundle.mkdir(parents=True))
    monkeypatch.setattr(applicability, "load", lambda folder: folder)
    generator = load(MODEL)
    study = applicability.Study(cohort=cohort, output=tmp_path, generators=[generator], steps=7)
    write_made(cohort, tmp_path, half)
    learned = [study.learned(("T2w", "FLAIR")), study.learned(("T2w", "FLAIR"), generator)]
    assert learned == [tmp_path / "acquired-t2w-flair" / "bundle", tmp_path / f"{MODEL}-t2w-flair" / "bundle"]
    assert calls == [
        (("T2w", "FLAIR"), 7, tmp_path / "acquired-t2w-flair" / "run", None),
        (("T2w", "FLAIR"), 7, tmp_path / f"{MODEL}-t2w-flair" / "run", tmp_path / "predictions" / MODEL),
    ]


def test_bad_input(cohort, tiny_models, tmp_path, capsys):
    twice = ["--models", "ious2mr-2.5d", "ious2mr-2.5d"]
    assert main(["applicability", "--data", str(cohort), *twice, "-o", str(tmp_path / "out")]) == 2
    assert "two models are called the same" in capsys.readouterr().err
