"""What nnU-Net is given: folders, folds, images and commands; and its outlines, back in the evaluation."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.tiny_models import SHARED

from IoUSynthLib import cli
from IoUSynthLib.cases.case import UNLABELLED, Case, read_case, target_image, write_case
from IoUSynthLib.cases.index import write_index
from IoUSynthLib.evaluation import perceptual
from IoUSynthLib.evaluation.downstream import folds_by_patient
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.outputs.case_files import is_synthetic
from IoUSynthLib.preprocessing import to_intensity
from IoUSynthLib.volume import Volume

SPLIT = SHARED / "oracles" / "results" / "subject_split.json"
#: Case and split, by patient; P4 has no FLAIR, and nobody has outlined P5's second study.
CASES = {
    "P1-pre": "train", "P1-post": "train", "P2-pre": "validation", "P3-pre": "train",
    "P4-pre": "test", "P4-post": "test", "P5-pre": "test", "P5-post": "test",
}  # fmt: skip
MODEL = "nnUNetTrainer_500epochs__nnUNetPlans__3d_fullres"
#: In the place of nnU-Net's programs: writes down what they are called with, and what the next one waits for.
PRETENDER = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0")" in
    nnUNetv2_train) fold="$nnUNet_results/Dataset501_T2/$5__nnUNetPlans__3d_fullres/fold_$3"
        mkdir -p "$fold"
        touch "$fold/checkpoint_final.pth";;
esac
"""


def make_case(number: int) -> Case:
    """A fan of 12 x 16 x 20 voxels, oblique, with a tumour inside and a label outside the fan."""
    rng = np.random.default_rng(number)
    fan = np.zeros((12, 16, 20), np.uint8)
    fan[1:-1, 2:-2, 3:-3] = 1
    labels = np.zeros_like(fan)
    labels[4:8, 5:9, 6:12], labels[0, 0, 0] = 1, 2
    direction = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    direction[:, 2] *= np.sign(np.linalg.det(direction))
    grid = Volume(fan, (0.8, 0.8, 2.0), tuple(rng.normal(0, 50, 3)), direction)
    images = {
        "ioUS": grid.with_array((rng.uniform(20, 255, fan.shape) * fan).astype(np.int16)),
        "T2w": grid.with_array(rng.integers(0, 1000, fan.shape).astype(np.int16)),
        "FLAIR": grid.with_array(rng.integers(0, 1000, fan.shape).astype(np.int16)),
    }
    return Case(images, grid.with_array(labels), grid, {"simulated": False, "registration": None})


@pytest.fixture
def cohort(tmp_path):
    folder = tmp_path / "cohort"
    for number, name in enumerate(CASES):
        case = make_case(number)
        if name == "P4-pre":
            parameters = {**case.parameters, "targets": ["T2w"]}
            case = replace(case, images={key: case.images[key] for key in ("ioUS", "T2w")}, parameters=parameters)
        if name == "P5-post":
            case = replace(case, labels=case.labels.with_array(np.full_like(case.labels.array, UNLABELLED)))
        write_case(case, folder / name)
    entries = [{"name": name, "head": name[:2], "split": split} for name, split in CASES.items()]
    write_index(folder, entries, simulated=False)
    return folder


@pytest.fixture
def predictions(cohort, tmp_path):
    """T2w of P4, off by a tenth, and of P5 before resection not."""
    folder = tmp_path / "resvit-2d-t2w"
    for name in ("P4-pre", "P4-post"):
        case = read_case(cohort / name)
        image = np.where(case.fan.array > 0, to_intensity(target_image(case, "T2w") + 0.2), 0).astype(np.float32)
        (folder / name).mkdir(parents=True)
        write_volume(folder / name / "ioUS_T2w.nii.gz", case.fan.with_array(image))
    return folder


@pytest.fixture
def downstream(cohort, tmp_path):
    """Runs the command."""
    return lambda *more: cli.main(["downstream", str(cohort), "-o", str(tmp_path / "out"), *map(str, more)])


def test_the_folds_are_those_of_the_benchmark():
    """Of ``Dataset501_T2/splits_final.json``: the patients of the first and last validation folds, and all sizes."""
    if not SPLIT.exists():
        pytest.skip("the benchmark's split is not here")
    patients = json.loads(SPLIT.read_text())["train_subjects"]
    folds = folds_by_patient({f"{name}-{phase}": name for name in patients for phase in ("pre", "post")})
    found = [sorted({case[7:10] for case in fold["val"]}) for fold in folds]
    assert found[0] == ["014", "016", "033", "038", "048", "051", "052", "070", "081", "097", "106", "111", "114"]
    assert found[4] == ["006", "011", "019", "024", "025", "027", "062", "066", "080", "082", "092", "113"]
    assert [len(fold) for fold in found] == [13, 12, 12, 12, 12]
    for fold in folds:
        assert fold["train"] == sorted(fold["train"])
        assert len(fold["train"]) + len(fold["val"]) == 2 * len(patients)


def test_folders_are_those_of_nnunet(downstream, cohort, predictions, tmp_path, capsys):
    assert downstream("--predictions", predictions) == 2
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "left out: P5-post: nobody has outlined tumour and cavity",
        "left out: resvit-2d-t2w: predicts no T2w of P5-pre",
    ]  # fmt: skip
    assert "wrote 4 cases to train on and test cases by set: acquired 3, ioUS 3, ioUS-matched 3, resvit" in said.out
    raw = tmp_path / "out" / "nnUNet_raw" / "Dataset501_T2"
    found = sorted(str(path.relative_to(raw)) for path in raw.rglob("*") if path.is_file())
    trained = ["P1-post", "P1-pre", "P2-pre", "P3-pre"]
    assert found == [
        "dataset.json", *(f"imagesTr/{name}_0000.nii.gz" for name in trained),
        *(f"imagesTs/{name}_0000.nii.gz" for name in ("P4-post", "P4-pre", "P5-pre")),
        *(f"labelsTr/{name}.nii.gz" for name in trained),
    ]  # fmt: skip
    assert json.loads((raw / "dataset.json").read_text()) == {
        "channel_names": {"0": "T2"}, "labels": {"background": 0, "tumor": 1, "cavity": 2}, "numTraining": 4,
        "file_ending": ".nii.gz",
    }  # fmt: skip
    folds = json.loads((tmp_path / "out/nnUNet_preprocessed/Dataset501_T2/splits_final.json").read_text())
    assert len(folds) == 3
    assert {"train": ["P2-pre", "P3-pre"], "val": ["P1-post", "P1-pre"]} in folds
    image = sitk.ReadImage(str(raw / "imagesTr" / "P1-pre_0000.nii.gz"))
    labels = sitk.ReadImage(str(raw / "labelsTr" / "P1-pre.nii.gz"))
    assert labels.GetPixelID() == sitk.sitkUInt8
    for part in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(image, part)() == getattr(labels, part)()


def test_images_are_blank_outside_the_fan_or_the_whole_crop(downstream, cohort, tmp_path):
    case = read_case(cohort / "P1-pre")
    fan, whole = case.fan.array > 0, to_intensity(target_image(case, "T2w"))
    raw = tmp_path / "out" / "nnUNet_raw" / "Dataset501_T2"

    def written():
        names = ("imagesTr/P1-pre_0000.nii.gz", "labelsTr/P1-pre.nii.gz")
        return [read_volume(raw / name).array for name in names]

    downstream()
    image, labels = written()
    np.testing.assert_allclose(image, np.where(fan, whole, 0))
    assert np.unique(labels).tolist() == [0, 1]
    downstream("--region", "crop")
    image, labels = written()
    np.testing.assert_allclose(image, whole)
    np.testing.assert_array_equal(labels, case.labels.array)


def test_predictions_and_floors_are_inputs_of_their_own(downstream, cohort, predictions, tmp_path):
    downstream("--predictions", f"ours={predictions}")
    inputs = tmp_path / "out" / "inputs"
    assert sorted(path.name for path in inputs.iterdir()) == ["ioUS", "ioUS-matched", "ours"]
    case = read_case(cohort / "P4-pre")
    given = read_volume(predictions / "P4-pre" / "ioUS_T2w.nii.gz")
    image = read_volume(inputs / "ours" / "P4-pre_0000.nii.gz")
    np.testing.assert_array_equal(image.array, given.array)
    assert image.same_grid(case.fan, 1e-3)
    assert is_synthetic(inputs / "ours" / "P4-pre_0000.nii.gz")
    fan, ultrasound = case.fan.array > 0, case.images["ioUS"].array
    raw, matched = (read_volume(inputs / name / "P4-pre_0000.nii.gz").array for name in ("ioUS", "ioUS-matched"))
    low, high = np.percentile(ultrasound[fan], [2, 98])
    middle = fan & (ultrasound > low + 5) & (ultrasound < high - 5)
    assert np.corrcoef(raw[middle], ultrasound[middle])[0, 1] > 0.999
    assert not raw[~fan].any()
    assert not matched[~fan].any()
    trained = [read_case(cohort / name) for name in CASES if CASES[name] != "test"]
    pooled = np.concatenate([to_intensity(target_image(one, "T2w"))[one.fan.array > 0] for one in trained])
    for share in (10, 50, 90):
        assert np.percentile(matched[fan], share) == pytest.approx(np.percentile(pooled, share), abs=15)


def test_what_was_not_acquired_is_left_out(downstream, tmp_path, capsys):
    assert downstream("--input", "FLAIR") == 2
    assert "left out: P4-pre: FLAIR was not acquired" in capsys.readouterr().err
    tests = tmp_path / "out" / "nnUNet_raw" / "Dataset502_FLAIR" / "imagesTs"
    assert sorted(path.name for path in tests.iterdir()) == ["P4-post_0000.nii.gz", "P5-pre_0000.nii.gz"]


def test_the_segmenter_of_the_ultrasound_learns_from_it(downstream, cohort, tmp_path):
    downstream("--input", "ioUS")
    raw = tmp_path / "out" / "nnUNet_raw" / "Dataset503_US"
    assert json.loads((raw / "dataset.json").read_text())["channel_names"] == {"0": "US"}
    case = read_case(cohort / "P3-pre")
    image, ultrasound = read_volume(raw / "imagesTr" / "P3-pre_0000.nii.gz").array, case.images["ioUS"].array
    inside = (case.fan.array > 0) & (ultrasound > 30) & (ultrasound < 240)
    assert np.corrcoef(image[inside], ultrasound[inside])[0, 1] > 0.999
    assert not (tmp_path / "out" / "inputs").exists()


@pytest.fixture
def nnunet(tmp_path):
    """Runs the script with programs that only write down their calls, which it returns."""
    if sys.platform == "win32":
        pytest.skip("a shell script")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("plan_and_preprocess", "train", "predict_from_modelfolder"):
        program = programs / f"nnUNetv2_{name}"
        program.write_text(PRETENDER)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def run() -> list[str]:
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        paths = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls)}
        subprocess.run(["sh", str(tmp_path / "out" / "run.sh")], env={**os.environ, **paths}, check=True, cwd="/")
        return calls.read_text().splitlines()

    return run


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell")
@pytest.mark.parametrize(
    ("options", "trainer", "device"),
    [
        ([], "nnUNetTrainer_500epochs", "cuda"),
        (["--trainer", "nnUNetTrainer_1epoch", "--device", "cpu"], "nnUNetTrainer_1epoch", "cpu"),
    ],
    ids=["as published", "as a trial"],
)
def test_the_script_trains_and_predicts_and_goes_on(
    downstream, predictions, nnunet, tmp_path, options, trainer, device
):
    downstream("--predictions", f"our own={predictions}", *options)
    results = f"nnUNet_results/Dataset501_T2/{trainer}__nnUNetPlans__3d_fullres"
    outlined = [
        f"nnUNetv2_predict_from_modelfolder -i {inputs} -o predictions/{name} -m {results} -f 0 1 2 "
        f"-chk checkpoint_best.pth -step_size 0.5 -device {device} --continue_prediction"
        for inputs, name in (
            ("nnUNet_raw/Dataset501_T2/imagesTs", "acquired"), ("inputs/ioUS", "ioUS"),
            ("inputs/ioUS-matched", "ioUS-matched"), ("inputs/our own", "our own"),
        )
    ]  # fmt: skip
    assert nnunet() == [
        "nnUNetv2_plan_and_preprocess -d 501 -c 3d_fullres --verify_dataset_integrity",
        *(f"nnUNetv2_train 501 3d_fullres {fold} -tr {trainer} -device {device} --c" for fold in range(3)), *outlined,
    ]  # fmt: skip
    (tmp_path / "out" / results / "fold_1" / "checkpoint_final.pth").unlink()
    assert nnunet() == [f"nnUNetv2_train 501 3d_fullres 1 -tr {trainer} -device {device} --c", *outlined]


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell")
def test_outlines_of_other_images_are_made_again(downstream, nnunet, tmp_path):
    """nnU-Net skips what is there."""
    folder, written = tmp_path / "out" / "predictions" / "ioUS", tmp_path / "out" / "inputs" / "ioUS"
    folder.mkdir(parents=True)
    downstream()
    times = {"P4-pre": -10, "P4-post": 10}
    for name, seconds in times.items():
        (folder / f"{name}.nii.gz").touch()
        made = (written / f"{name}_0000.nii.gz").stat().st_mtime + seconds
        os.utime(folder / f"{name}.nii.gz", (made, made))
    nnunet()
    assert [path.name for path in folder.iterdir()] == ["P4-post.nii.gz"]


@pytest.fixture
def weights(tmp_path):
    """The benchmark's archive, unpacked, of Seg-T2, without what is in the checkpoints."""
    folder = tmp_path / "weights" / "nnunet" / "Dataset501_T2" / MODEL
    for fold in range(5):
        (folder / f"fold_{fold}").mkdir(parents=True)
        (folder / f"fold_{fold}" / "checkpoint_best.pth").touch()
    (folder / "plans.json").write_text("{}")
    (folder / "dataset.json").write_text('{"labels": {"background": 0, "tumor": 1, "cavity": 2}}')
    return folder


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell")
def test_released_folds_are_used_without_a_training(downstream, weights, nnunet, tmp_path):
    downstream("--weights", tmp_path / "weights")
    calls = nnunet()
    assert len(calls) == 3
    assert all(f" -m {weights} -f 0 1 2 3 4 -chk checkpoint_best.pth " in call for call in calls)
    assert not (tmp_path / "out" / "nnUNet_raw" / "Dataset501_T2" / "imagesTr").exists()


def scores(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_outlines_of_nnunet_are_scored_with_the_images_or_alone(cohort, predictions, tmp_path, monkeypatch, capsys):
    """The upper half of the tumour has a Dice of two thirds; a segmentation beside the images does not count."""
    monkeypatch.setattr(perceptual, "load", lambda: None)
    outlines = tmp_path / "outlines"
    outlines.mkdir()
    for name in ("P4-pre", "P4-post"):
        case = read_case(cohort / name)
        half = np.where(np.arange(12)[:, None, None] < 6, case.labels.array, 0).astype(np.uint8)
        write_volume(outlines / f"{name}.nii.gz", case.fan.with_array(half))
        write_volume(predictions / name / "ioUS_segmentation.nii.gz", case.fan.with_array(0 * half))
    shared = ["--reference", str(cohort), "-o"]
    both = ["evaluate", str(predictions), "--outlines", str(outlines), *shared]
    assert cli.main([*both, str(tmp_path / "both")]) == 0
    assert cli.main(["evaluate", str(outlines), *shared, str(tmp_path / "alone")]) == 0
    for folder in ("both", "alone"):
        for row in scores(tmp_path / folder):
            assert float(row["Dice/prediction/tumour"]) == pytest.approx(2 / 3)
    assert "T2w/prediction/MAE" in scores(tmp_path / "both")[0]
    assert "T2w/prediction/MAE" not in scores(tmp_path / "alone")[0]
    (outlines / "P4-pre.nii.gz").unlink()
    assert cli.main([*both, str(tmp_path / "one")]) == 0
    assert "No segmentation is predicted, no Dice: P4-pre (1 of 2)." in (tmp_path / "one" / "table.md").read_text()
    (outlines / "P4-post.nii.gz").unlink()
    assert cli.main([*both, str(tmp_path / "none")]) == 2
    assert "holds no outline of a case of the cohort, such as P1-pre.nii.gz; give" in capsys.readouterr().err


def one_patient(cohort: Path, weights: Path) -> None:
    write_index(cohort, [{"name": name, "head": "P1", "split": CASES[name]} for name in CASES], simulated=False)


def no_tests(cohort: Path, weights: Path) -> None:
    write_index(cohort, [{"name": name, "head": name[:2], "split": "train"} for name in CASES], simulated=False)


def other_labels(cohort: Path, weights: Path) -> None:
    (weights / "dataset.json").write_text('{"labels": {"background": 0, "cavity": 1}}')


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (one_patient, [], "1 patient .* to train on; folds by patient need two or more"),
        (no_tests, [], "has no outlined test case with T2w; prepare or simulate one"),
        (None, ["--predictions", "acquired=x"], "acquired: cannot be the name of an experiment here"),
        (None, ["--input", "ioUS", "--predictions", "a=x"], "a: a segmenter of the ultrasound outlines no"),
        (None, ["--predictions", "a=x", "a=y"], "two experiments have one name; name them"),
        (None, ["--trainer", "5 epochs; ls"], "5 epochs; ls: cannot be the name of a trainer; give one of nnU-Net's"),
        (None, ["--weights", "nowhere", "--trainer", "nnUNetTrainer"], "Dataset501_T2/nnUNetTrainer__nnUNetPlans__3d"),
        (None, ["--weights", "nowhere"], "nowhere: holds no model of Dataset501_T2; give the folder with"),
        (other_labels, ["--weights", "{weights}"], "outlines .*'cavity': 1.*; give a model of background 0, tumour 1"),
        (lambda _, weights: (weights / "dataset.json").unlink(), ["--weights", "{weights}"], "copy the model again"),
    ],
)
def test_bad_input_is_named_with_its_remedy(downstream, cohort, weights, capsys, spoil, options, message):
    if spoil:
        spoil(cohort, weights)
    assert downstream(*(option.format(weights=weights) for option in options)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(message, error), error


def test_a_folder_of_other_folds_is_not_overwritten(downstream, cohort, capsys):
    downstream()
    names = list(CASES)[1:]
    write_index(cohort, [{"name": name, "head": name[:2], "split": CASES[name]} for name in names], simulated=False)
    assert downstream() == 2
    assert "is of another cohort, or this one has changed; choose another output folder" in capsys.readouterr().err
