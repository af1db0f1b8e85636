"""Files of predictions against a cohort: known scores, the three results, and one line for everything that is wrong."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from IoUSynthLib import cli
from IoUSynthLib.cases.case import UNLABELLED, Case, read_case, target_image, write_case
from IoUSynthLib.evaluation import perceptual, results
from IoUSynthLib.evaluation.fidelity import confidence_interval, score
from IoUSynthLib.evaluation.regions import region_score
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
def _no_lpips(monkeypatch):
    """As where its weights are missing, which is quicker."""
    monkeypatch.setattr(perceptual, "load", lambda: None)


@pytest.fixture
def evaluate(cohort, predictions, tmp_path):
    """Runs the command; returns its exit code."""
    arguments = ["evaluate", str(predictions), "--reference", str(cohort), "-o", str(tmp_path / "out")]
    return lambda *options: cli.main([*arguments, *options])


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
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "scores.csv", "summary.json", "table.md", "pictures.npz",
    }  # fmt: skip
    content = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert content["simulated"] is True
    assert content["cases"] == 2
    values = psnr(tmp_path)
    assert "low" not in content["summary"]["T2w/prediction/PSNR"], "of two cases it reached from -47 to 79 dB"
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.startswith("Accuracy on simulated data, 2 cases: mean ± SD (95 % Student-t interval), both of 3 or ")
    assert f"| T2w | prediction | {values.mean():.2f} (n=2) |" in table
    before, after, both = table.split("\n## ")[1:]
    for phase, title, value in ((before, "Before", values[0]), (after, "After", values[1])):
        assert phase.startswith(f"{title} resection, 1 case\n")
        assert f"| T2w | prediction | {value:.2f} (n=1) |" in phase
        assert "| tumour | prediction | 0.667 (n=1) |" in phase
    assert both.startswith("All phases, 2 cases\n")
    assert "| cavity | prediction | - | - | - | - | 0.00 (n=1) |" in before
    assert "| cavity | prediction | 0.000 (n=1) | 0.000 (n=1) | - | 1 of 1 | - |" in after
    assert content["phases"]["after resection"]["Dice/prediction/cavity"]["mean"] == 0
    assert "held out" not in table
    assert "| region |" not in table


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
    assert f"| T2w | prediction | {values.mean():.2f} ± {values.std(ddof=1):.2f} ({low:.2f} to {high:.2f}) |" in table


@pytest.fixture
def patients(case, cohort, predictions):
    """The cohort as one of two patients: the first without T2w and not outlined, the second after a resection."""
    index(lambda content: content.update(simulated=False))(cohort, predictions)
    about = {"head": "P2", "phase": "after resection", "clinical": {"grade": "4"}}
    index(lambda content: content["cases"][1].update(about))(cohort, predictions)
    about = {
        "simulated": False, "targets": ["FLAIR"], "source": {"ultrasound": "P1/P1-US-before.nii"},
        "registration": {"warnings": ["hardly any structure"]},
    }  # fmt: skip
    first = case(0)
    labels = first.labels.with_array(np.full_like(first.labels.array, UNLABELLED))
    images = {name: first.images[name] for name in ("ioUS", "FLAIR")}
    write_case(replace(first, images=images, labels=labels, parameters=about), cohort / NAMES[0])
    write_case(replace(case(1), parameters={"simulated": False, "registration": None}), cohort / NAMES[1])
    return cohort


@pytest.mark.usefixtures("patients", "_no_lpips")
def test_patients_are_scored_as_far_as_they_are_known(evaluate, tmp_path):
    assert evaluate() == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.startswith("Accuracy on real patients, 2 studies of 2 patients: ")
    assert "imulated data" not in table
    for line in (
        f"Nobody has outlined tumour and cavity, which are not scored: {NAMES[0]} (1 of 2).",
        f"T2w is predicted, but was not acquired: {NAMES[0]} (1 of 2).",
        f"The registration is doubtful, the MRI may lie elsewhere: {NAMES[0]} (1 of 2).",
        "## Before resection, 1 study of 1 patient", "## After resection, 1 study of 1 patient",
    ):  # fmt: skip
        assert line in table.splitlines()
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["head"], row["phase"], row["grade"], row["lesion"]) for row in rows] == [
        ("h", "before resection", "", "unknown"), ("P2", "after resection", "4", "tumour and cavity"),
    ]  # fmt: skip
    assert (rows[0]["T2w/prediction/PSNR"], rows[0]["Dice/prediction/tumour"]) == ("", "")
    assert float(rows[0]["FLAIR/prediction/MAE"]) == pytest.approx(0.05, abs=1e-4)
    assert float(rows[1]["Dice/prediction/residual tumour"]) == pytest.approx(2 / 3)
    content = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (content["simulated"], content["cases"], content["patients"]) == (False, 2, 2)


@pytest.mark.usefixtures("patients", "_no_lpips", "tiny_models")
def test_of_a_structure_that_nobody_has_outlined_nothing_is_an_error(cohort, predictions, evaluate, tmp_path):
    """The tumour of the second patient alone, and a cavity that the segmenter finds where the first has none."""
    case = read_case(cohort / NAMES[1])
    tumour = case.labels.with_array(np.where(case.labels.array == 1, 1, 0).astype(np.uint8))
    write_case(replace(case, labels=tumour, parameters={**case.parameters, "labelled": ["tumour"]}), cohort / NAMES[1])
    file = predictions / f"{NAMES[1]}_segmentation.nii.gz"
    write_volume(file, case.labels)  # a cavity is found, too
    assert evaluate("--roi", "--baselines") == 0
    with (tmp_path / "out" / "scores.csv").open(newline="") as written:
        row = list(csv.DictReader(written))[1]
    assert (row["lesion"], float(row["Dice/prediction/tumour"])) == ("tumour", 1)
    scored = {name for name, value in row.items() if name.count("/") > 1 and value}
    assert "tumour 5 mm/FLAIR/prediction/PSNR" in scored
    assert not [name for name in scored if name.endswith(("/cavity", "/lesion")) or name.startswith(("cav", "lesion "))]
    said = "Only the tumour is outlined; the other structure, and both together as the lesion, are not scored"
    assert f"{said}: {NAMES[1]} (1 of 2)." in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.usefixtures("patients", "_no_lpips")
def test_without_outlines_and_segmentations_fidelity_is_left(cohort, predictions, evaluate, tmp_path):
    index(lambda content: content.update(cases=content["cases"][:1]))(cohort, predictions)
    index(lambda content: content["cases"][0].update(split="train"))(cohort, predictions)  # its answer is not learned
    (predictions / NAMES[0] / "ioUS_segmentation.nii.gz").unlink()
    assert evaluate("--baselines", "--roi") == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert "No segmentation is predicted, no Dice:" in table
    assert "No baselines that learn of FLAIR: no case for training has it that is not scored here." in table
    assert "| FLAIR | ioUS as it is |" in table
    assert "| structure |" not in table
    assert "| region |" not in table
    assert "In and around" not in table


@pytest.mark.usefixtures("_no_lpips", "tiny_models")
def test_baselines_stand_beside(evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FEWEST_PAIRS", 2)
    assert evaluate("--baselines") == 0
    table = (tmp_path / "out" / "table.md").read_text()
    for method in ("ioUS as it is", "ioUS, histogram matched", "mean of training", "monotone map"):
        assert f"| FLAIR | {method} |" in table
    assert "| tumour | nothing | 0.000 (n=2) | 0.000 (n=2) | - | 2 of 2 | - |" in table
    for method in ("ioUS as it is", "ioUS, histogram matched", "mean of training"):
        assert f"| lesion | {method} |" in table
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["summary"]
    # T2w is the ultrasound but for its scale, FLAIR the reverse of it: a map may fall, a matched histogram cannot.
    assert summary["T2w/ioUS, histogram matched/MAE"]["mean"] < 0.01 < summary["T2w/ioUS as it is/MAE"]["mean"]
    assert summary["FLAIR/monotone map/MAE"]["mean"] < 0.01 < summary["FLAIR/ioUS, histogram matched/MAE"]["mean"]
    both = table.partition("## All phases")[2]
    assert "| FLAIR | ioUS as it is | PSNR dB | +" in both
    assert "less each baseline" not in table.partition("## All phases")[0], "a single case is not compared"


@pytest.mark.usefixtures("_no_lpips")
def test_the_crop_and_the_regions_are_scored_where_they_are_asked_for(cohort, predictions, evaluate, tmp_path):
    case = read_case(cohort / NAMES[1])
    written = read_volume(predictions / f"{NAMES[1]}_T2w.nii.gz").array
    prediction = np.where(written > 0, written / 500 - 1, -1)
    target = target_image(case, "T2w")
    assert evaluate("--region", "crop", "--roi", "masked") == 0
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[1]
    expected = score(prediction, target, region="crop")
    assert float(row["T2w/prediction/SSIM"]) == pytest.approx(expected["SSIM"], abs=1e-5)
    expected = region_score(prediction, target, case.labels.array == 2, outside="masked")
    for metric in ("SSIM", "PSNR", "NMSE"):
        assert float(row[f"cavity 0 mm/T2w/prediction/{metric}"]) == pytest.approx(expected[metric], abs=1e-5)
    table = (tmp_path / "out" / "table.md").read_text()
    assert "The whole crop is scored, as published" in table
    assert "| lesion 5 mm | FLAIR | prediction |" in table
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["protocol"] == {
        "region": "crop", "roi": "masked", "as_released": False,
    }  # fmt: skip


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
        (index(lambda content: content.pop("simulated")), "does not say whether it is simulated; simulate or prepare"),
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
