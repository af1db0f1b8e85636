"""Files of predictions against a cohort: known scores, the three results, and one line for everything that is wrong."""

import csv
import json
import re

import numpy as np
import pytest

from IoUSynthLib import cli
from IoUSynthLib.cases.case import Case, read_case, target_image, write_case
from IoUSynthLib.evaluation import perceptual
from IoUSynthLib.evaluation.fidelity import confidence_interval, score
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.preprocessing import to_intensity
from IoUSynthLib.volume import Volume

SIZE = 40
NAMES = ("case-0000", "case-0001", "case-0002")
LESIONS = ("low grade", "cavity with residual", "low grade")


@pytest.fixture
def case():
    """Returns the case of a number: a fan with a tumour and, in the odd ones, a cavity."""

    def make(number):
        rng = np.random.default_rng(number)
        z, y, x = np.mgrid[:SIZE, :SIZE, :SIZE]
        fan = (np.hypot(x - 20, y) < 36) & (z > 3) & (z < 36)
        labels = np.zeros(fan.shape, np.uint8)
        labels[14:22, 12:20, 12:20] = 1
        if number % 2:
            labels[22:30, 12:20, 20:28] = 2
        texture = rng.normal(0, 40, fan.shape)
        signals = {"T2w": 500 + texture, "FLAIR": 600 - texture, "ioUS": 90 + texture}
        direction = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        direction[:, 2] *= np.sign(np.linalg.det(direction))

        origin = tuple(rng.normal(0, 50, 3))

        def volume(array):
            return Volume(array, (0.8, 0.8, 0.8), origin, direction)

        images = {name: volume(np.where(fan, array, 0).astype(np.int16)) for name, array in signals.items()}
        parameters = {"head": "h", "lesion": {"kind": LESIONS[number]}}
        return Case(images, volume(labels), volume(fan.astype(np.uint8)), parameters)

    return make


@pytest.fixture
def cohort(case, tmp_path):
    """Three simulated cases, the last for training."""
    folder = tmp_path / "cohort"
    splits = ("test", "test", "train")
    entries = [{"name": name, "head": "h", "split": split} for name, split in zip(NAMES, splits, strict=True)]
    for number, name in enumerate(NAMES):
        write_case(case(number), folder / name)
    (folder / "dataset.json").write_text(json.dumps({"simulated": True, "seed": 0, "cases": entries}))
    return folder


def predict(case, offset):
    """What a generator that errs by ``offset`` in [-1, 1] and a segmenter that sees half of the tumour would write."""
    fan = case.fan.array > 0
    images = {t: np.where(fan, to_intensity(target_image(case, t) + offset), 0) for t in ("T2w", "FLAIR")}
    labels = np.where(np.arange(SIZE)[:, None, None] < 18, case.labels.array, 0)
    return {**{t: a.astype(np.float32) for t, a in images.items()}, "segmentation": labels.astype(np.uint8)}


@pytest.fixture
def predictions(cohort, tmp_path):
    """Predictions of the two test cases: the first in a folder of its own, as synthesize names them."""
    folder = tmp_path / "predictions"
    (folder / NAMES[0]).mkdir(parents=True)
    for number, prefix in enumerate((f"{NAMES[0]}/ioUS", NAMES[1])):
        case = read_case(cohort / NAMES[number])
        for kind, array in predict(case, 0.1 * (number + 1)).items():
            write_volume(folder / f"{prefix}_{kind}.nii.gz", case.fan.with_array(array))
    return folder


@pytest.fixture
def evaluate(cohort, predictions, tmp_path):
    """Runs the command; returns its exit code."""
    return lambda: cli.main(["evaluate", str(predictions), "--reference", str(cohort), "-o", str(tmp_path / "out")])


def test_known_errors(evaluate, tmp_path, capsys):
    assert evaluate() == 0
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["case"], r["head"], r["split"], r["lesion"]) for r in rows] == [
        (NAMES[0], "h", "test", LESIONS[0]), (NAMES[1], "h", "test", LESIONS[1]),
    ]  # fmt: skip
    for row, offset in zip(rows, (0.1, 0.2), strict=True):
        for target in ("T2w", "FLAIR"):
            assert float(row[f"{target}/prediction/MAE"]) == pytest.approx(offset / 2, abs=1e-4)
            assert float(row[f"{target}/prediction/PSNR"]) == pytest.approx(-20 * np.log10(offset / 2), abs=1e-2)
        assert float(row["Dice/prediction/tumour"]) == pytest.approx(2 / 3)
        assert row["false ml/prediction/tumour"] == ""
    assert rows[0]["Dice/prediction/cavity"] == ""
    assert rows[0]["false ml/prediction/cavity"] == "0.0"
    assert rows[1]["Dice/prediction/cavity"] == "0.0"
    assert rows[1]["Dice/prediction/residual tumour"] == rows[1]["Dice/prediction/tumour"]
    captured = capsys.readouterr()
    assert captured.out == (tmp_path / "out" / "table.md").read_text()
    assert captured.err.splitlines()[-2:] == [f"{NAMES[0]}: scored (1 of 2)", f"{NAMES[1]}: scored (2 of 2)"]


def test_means_and_intervals(evaluate, tmp_path):
    assert evaluate() == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"scores.csv", "summary.json", "table.md"}
    content = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert content["simulated"] is True
    assert content["cases"] == 2
    values = psnr(tmp_path)
    assert "low" not in content["summary"]["T2w/prediction/PSNR"], "of two cases it reached from -47 to 79 dB"
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.startswith("Accuracy on simulated data, 2 cases: mean (95 % Student-t interval, of 3 cases or more).")
    assert f"| T2w | prediction | {values.mean():.2f} (n=2) |" in table
    assert "| prediction | 0.667 (n=2) | 0.667 (n=1) | 0.667 (n=1) | 0.000 (n=1) |" in table
    assert "held out" not in table


def psnr(tmp_path):
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        return np.array([float(row["T2w/prediction/PSNR"]) for row in csv.DictReader(file)])


def test_cases_without_a_prediction_are_said(evaluate, tmp_path, capsys):
    assert evaluate() == 0
    said = f"1 of 3 cases have no prediction and are not scored: {NAMES[2]}."
    assert said in capsys.readouterr().err
    assert said in (tmp_path / "out" / "table.md").read_text()
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["not_predicted"] == [NAMES[2]]


def test_scores_are_those_of_the_arrays(cohort, predictions, evaluate, tmp_path):
    case = read_case(cohort / NAMES[1])
    fan = case.fan.array > 0
    written = read_volume(predictions / f"{NAMES[1]}_FLAIR.nii.gz").array
    expected = score(np.where(fan, written / 500 - 1, -1), np.where(fan, target_image(case, "FLAIR"), -1), fan)
    assert evaluate() == 0
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[1]
    for metric, value in expected.items():
        if np.isfinite(value):
            assert float(row[f"FLAIR/prediction/{metric}"]) == pytest.approx(value, abs=1e-5)


def test_without_weights_lpips_is_said_to_be_absent(evaluate, monkeypatch, tmp_path):
    monkeypatch.setattr(perceptual, "load", lambda: None)
    assert evaluate() == 0
    assert "LPIPS is absent" in (tmp_path / "out" / "table.md").read_text()
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        assert [row["T2w/prediction/LPIPS"] for row in csv.DictReader(file)] == ["", ""]


def test_the_only_case_of_a_cohort_needs_no_folder(cohort, predictions, evaluate, tmp_path):
    """What synthesize makes of a cohort of one."""
    index(lambda content: content.update(cases=content["cases"][:1]))(cohort, predictions)
    for file in (predictions / NAMES[0]).iterdir():
        file.rename(predictions / file.name)
    assert evaluate() == 0
    assert len(psnr(tmp_path)) == 1


def test_heads_of_training_are_pointed_out(cohort, predictions, evaluate, tmp_path):
    case = read_case(cohort / NAMES[2])
    for kind, array in predict(case, 0.1).items():
        write_volume(predictions / f"{NAMES[2]}_{kind}.nii.gz", case.fan.with_array(array))
    assert evaluate() == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert "Not all of these heads were held out from training (split train)." in table
    assert "no prediction" not in table
    values = psnr(tmp_path)
    low, high = confidence_interval(values)
    assert f"| T2w | prediction | {values.mean():.2f} ({low:.2f} to {high:.2f}) |" in table


def index(change):
    def spoil(cohort, predictions):
        file = cohort / "dataset.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return spoil


def image(kind, change):
    def spoil(cohort, predictions):
        file = predictions / f"{NAMES[1]}_{kind}.nii.gz"
        write_volume(file, change(read_volume(file)))

    return spoil


def cut_off(file):
    """As an interrupted copy leaves it; what is missing was read as 0 and scored."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 7 // 10])


def shifted(volume):
    return Volume(volume.array, volume.spacing, (volume.origin[0] + 1, *volume.origin[1:]), volume.direction)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c, p: (c / "dataset.json").unlink(), "dataset.json: cannot be read .* give the folder of a cohort"),
        (lambda c, p: (c / "dataset.json").write_text("{"), "dataset.json: is not the index of a cohort; simulate"),
        (index(lambda content: content.update(simulated=False)), "does not say that it is simulated"),
        (index(lambda content: content.update(cases=[])), "lists no cases"),
        (index(lambda content: [entry.pop("head") for entry in content["cases"]]), "lists no cases with name, head"),
        (index(lambda content: content.update(cases=content["cases"][2:])), "predictions: holds no prediction of"),
        (lambda c, p: (p / f"{NAMES[1]}_FLAIR.nii.gz").unlink(), f"has no FLAIR of {NAMES[1]}, but of other cases"),
        (lambda c, p: (p / f"{NAMES[1]}_T2w.nii.gz").write_bytes(b"x"), f"{NAMES[1]}_T2w.nii.gz: "),
        (lambda c, p: cut_off(p / f"{NAMES[1]}_T2w.nii.gz"), f"{NAMES[1]}_T2w.nii.gz: is damaged"),
        (lambda c, p: cut_off(p / f"{NAMES[1]}_segmentation.nii.gz"), "_segmentation.nii.gz: is damaged"),
        (lambda c, p: cut_off(c / NAMES[1] / "T2w.mha"), f"{NAMES[1]}: is not a complete case .*T2w.mha: is damaged"),
        (lambda c, p: (c / NAMES[1] / "fan.mha").unlink(), f"{NAMES[1]}: is not a complete case .*fan.mha.* simulate"),
        (lambda c, p: (c / NAMES[1] / "case.json").write_text("{}"), f"{NAMES[1]}: is not a complete case"),
        (image("T2w", shifted), "T2w.nii.gz: lies on another grid than the reference; synthesize the cohort's own"),
        (image("T2w", lambda v: v.with_array(v.array / 500 - 1)), "T2w.nii.gz: ranges from -1 to .* 1 to 1000; give"),
        (image("FLAIR", lambda v: v.with_array(v.array / 1000)), "FLAIR.nii.gz: ranges from 0 to 0"),
        (image("segmentation", lambda v: v.with_array(v.array + 2)), "segmentation.nii.gz: holds other values than"),
    ],
)
def test_bad_input_is_named_with_its_remedy(cohort, predictions, evaluate, tmp_path, capsys, spoil, message):
    spoil(cohort, predictions)
    assert evaluate() == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()
