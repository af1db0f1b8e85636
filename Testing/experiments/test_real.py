"""The benchmark on real patients: known figures on made-up patients, what they lack, and going on where it stopped."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support.tiny_models import write_kind

from IoUSynthLib.cases.case import Case, write_case
from IoUSynthLib.cases.index import write_index
from IoUSynthLib.evaluation import perceptual
from IoUSynthLib.experiments.__main__ import main
from IoUSynthLib.experiments.real import command, measures, starts, tables
from IoUSynthLib.experiments.real.models import Model
from IoUSynthLib.experiments.real.patients import find_patients
from IoUSynthLib.experiments.real.report import BEGIN, END, Report
from IoUSynthLib.files.parts import Parts
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.preprocessing import field_of_view, normalize_ultrasound, resample_to_spacing
from IoUSynthLib.registration.landmarks import fit_rigid
from IoUSynthLib.registration.rigid import about
from IoUSynthLib.volume import InputError, Volume

SHIFT = about(np.array([10.0, -20.0, 30.0]), np.array([0.03, -0.02, 0.05, 1.0, -2.0, 0.5]))


@pytest.fixture(autouse=True)
def without_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights may be here or not."""
    monkeypatch.setattr(perceptual, "load", lambda: None)


@pytest.fixture(scope="module")
def sweep(ultrasound: Volume) -> Volume:
    """The ultrasound of the tests on few cubic voxels, all of them integers as RESECT stores them."""
    coarse = resample_to_spacing(ultrasound, (1.2,) * 3)
    inside = field_of_view(coarse.array)
    return coarse.with_array(np.where(inside, coarse.array.clip(1, 255), 0).round().astype(np.uint8))


def points_in(volume: Volume, number: int = 12) -> np.ndarray:
    index = np.argwhere(field_of_view(volume.array))[:, ::-1]
    index = index[np.random.default_rng(0).choice(len(index), number, replace=False)]
    return index @ volume.ijk_to_lps[:3, :3].T + volume.ijk_to_lps[:3, 3]


def write_tag(path: Path, moving: np.ndarray, fixed: np.ndarray) -> None:
    pairs = np.hstack([moving, fixed]) * (-1, -1, 1, -1, -1, 1)  # in RAS
    rows = (" ".join(f"{value:.6f}" for value in pair) for pair in pairs)
    points = "\n".join(f' {row} ""' for row in rows)
    path.write_text(f"MNI Tag Point File\nVolumes = 2;\n\nPoints =\n{points};\n", encoding="utf-8")


def moved(volume: Volume, array: np.ndarray) -> Volume:
    """Voxels of the ultrasound's grid in another frame, where SHIFT takes the ultrasound's points to the MRI's."""
    matrix = SHIFT @ volume.ijk_to_lps
    linear = matrix[:3, :3] / volume.spacing
    return Volume(array, volume.spacing, tuple(matrix[:3, 3]), linear)


@pytest.fixture
def cohort(sweep: Volume, tmp_path: Path) -> Path:
    """Three patients: one with all, one with a T1w and one with the ultrasound alone, and a deformed T1w."""
    fixed = points_in(sweep)
    moving = fixed @ SHIFT[:3, :3].T + SHIFT[:3, 3]
    acquired = (2.5 * sweep.array + 40).astype(np.float32)  # follows the ultrasound, as the tiny model's FLAIR does
    for name in ("case1", "case2", "case3"):
        (tmp_path / "data" / name).mkdir(parents=True)
        write_volume(tmp_path / "data" / name / "us_before.nii.gz", sweep)
    for name, contrast in (("case1", "flair"), ("case2", "t1")):
        write_volume(tmp_path / "data" / name / f"{contrast}.nii.gz", moved(sweep, acquired))
        write_tag(tmp_path / "data" / name / f"{name}-MRI-beforeUS.tag", moving, fixed)
    write_volume(tmp_path / "data" / "case3" / "t1_prewarped.nii.gz", sweep.with_array(acquired))
    return tmp_path / "data"


# Reading --------------------------------------------------------------------------------------------------------------


def test_the_mri_is_brought_to_the_ultrasound_by_its_landmarks(cohort: Path, sweep: Volume) -> None:
    patient = find_patients(cohort)["case1"]()
    assert patient.rigid_error_mm() < 1e-3
    assert list(patient.mri) == ["FLAIR"]
    assert patient.before_resection
    assert patient.reference.aligned_by == "a rigid fit of 12 landmarks"
    where = measures.inside(patient)
    found, echo = patient.reference.images["FLAIR"][where], sweep.array[where]
    unclipped = np.abs(found) < 1
    assert np.corrcoef(found[unclipped], echo[unclipped])[0, 1] > 0.999


def test_landmarks_of_a_known_motion_give_it_back() -> None:
    fixed = np.random.default_rng(1).uniform(-40, 40, (9, 3))
    noisy = fixed @ SHIFT[:3, :3].T + SHIFT[:3, 3]
    np.testing.assert_allclose(fit_rigid(noisy, fixed), SHIFT, atol=1e-6)
    noisy += np.random.default_rng(2).normal(0, 1, noisy.shape)
    np.testing.assert_allclose(fit_rigid(noisy, fixed), kabsch(noisy, fixed), atol=1e-6)


def kabsch(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Another way to the same fit: by the singular values of the covariance (Kabsch 1976)."""
    left, _, right = np.linalg.svd((fixed - fixed.mean(0)).T @ (moving - moving.mean(0)))
    turn = right.T @ np.diag([1, 1, np.sign(np.linalg.det(right.T @ left.T))]) @ left.T
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, moving.mean(0) - turn @ fixed.mean(0)
    return matrix


def test_what_a_patient_lacks_is_said_by_name(cohort: Path) -> None:
    missing = "\n".join(find_patients(cohort)["case3"]().missing)
    assert "t1_prewarped.nii.gz: was deformed by others" in missing
    assert "holds no MRI of the names asked for" in missing
    assert "landmarks: one .tag of MRI and ultrasound landmarks is needed, found none" in missing
    assert "Dice: nobody has outlined the tumour" in missing


def test_resect_as_released_with_the_masks_of_resect_seg(sweep: Volume, tmp_path: Path) -> None:
    """The mask's file does not say where it lies, and its name begins with the patient's, not with that of another."""
    fixed = points_in(sweep)
    tumour = np.zeros(sweep.array.shape, np.uint8)
    tumour[10:20, 10:20, 14:24] = 1
    for case in ("Case1", "Case12"):
        folder = tmp_path / "NIFTI" / case
        for part in ("US", "MRI", "Landmarks"):
            (folder / part).mkdir(parents=True)
        write_volume(folder / "US" / f"{case}-US-before.nii.gz", sweep)
        write_volume(folder / "US" / f"{case}-US-after.nii.gz", sweep)
        write_volume(folder / "MRI" / f"{case}-FLAIR.nii.gz", moved(sweep, sweep.array))
        write_volume(folder / "MRI" / f"{case}-T1.nii.gz", moved(sweep, sweep.array))
        write_tag(folder / "Landmarks" / f"{case}-MRI-beforeUS.tag", fixed @ SHIFT[:3, :3].T + SHIFT[:3, 3], fixed)
    shutil.copytree(tmp_path / "NIFTI" / "Case1" / "Landmarks", tmp_path / "MINC" / "Case1" / "Landmarks")
    masks = tmp_path / "RESECT_segmentation" / "Case1"
    masks.mkdir(parents=True)
    write_volume(masks / "Case1-US-before-tumor.nii.gz", Volume(tumour, sweep.spacing))
    write_volume(masks / "Case1-US-during-resection.nii.gz", Volume(tumour, sweep.spacing))
    patients = find_patients(tmp_path)
    assert list(patients) == ["Case1", "Case12"]
    first, second = (read() for read in patients.values())
    assert list(first.mri) == ["FLAIR"]
    assert first.missing == ()
    np.testing.assert_array_equal(first.tumour, tumour > 0)
    assert second.tumour is None


def test_an_outline_on_the_mri_comes_along_with_it(cohort: Path, sweep: Volume) -> None:
    tumour = np.zeros(sweep.array.shape, np.uint8)
    tumour[10:20, 10:20, 14:24] = 1
    write_volume(cohort / "case1" / "tumour-seg.nii.gz", moved(sweep, tumour))
    found = find_patients(cohort)["case1"]().tumour
    assert 2 * (found & (tumour > 0)).sum() / (found.sum() + tumour.sum()) > 0.98


def test_ultrasound_is_measured_on_cubic_voxels_no_finer_than_half_a_millimetre(tmp_path: Path) -> None:
    array = np.pad(np.full((40, 40, 40), 90, np.uint8), 4)
    for name, spacing in (("fine", 0.25), ("flat", (0.8, 1.0, 0.7)), ("cubic", 0.8)):
        (tmp_path / name).mkdir()
        write_volume(tmp_path / name / "ious.nii.gz", Volume(array, np.broadcast_to(spacing, 3)))
    spacings = {name: read().ultrasound.spacing for name, read in find_patients(tmp_path).items()}
    assert spacings["fine"] == pytest.approx((0.5,) * 3)
    assert spacings["flat"] == pytest.approx((0.56 ** (1 / 3),) * 3)
    assert spacings["cubic"] == pytest.approx((0.8,) * 3)


def test_a_prepared_cohort_needs_no_landmarks(sweep: Volume, tmp_path: Path) -> None:
    fan = field_of_view(sweep.array)
    flair = sweep.with_array((4 * sweep.array.astype(np.int16)).clip(0, 1100))
    labels = np.where(fan & (sweep.array > 200), 1, 0).astype(np.uint8)
    parameters = {
        "simulated": False, "targets": ["FLAIR"], "registration": {"matrix": []},
        "source": {"ultrasound": "P1/USpredura/us.nrrd"},
    }
    for name, split in (("P1", "test"), ("P2", "train")):
        case = Case({"ioUS": sweep, "FLAIR": flair}, sweep.with_array(labels), sweep.with_array(fan), parameters)
        write_case(replace(case, fan=sweep.with_array(fan.astype(np.uint8))), tmp_path / "cohort" / name)
        entries = [{"name": "P1", "head": "P1", "split": "test"}, {"name": "P2", "head": "P2", "split": split}]
    write_index(tmp_path / "cohort", entries, simulated=False)
    patients = find_patients(tmp_path / "cohort")
    assert list(patients) == ["P1"]  # those that may have been trained on are left out
    patient = patients["P1"]()
    assert patient.before_resection
    assert patient.reference.aligned_by == "iousynth prepare (LC2)"
    np.testing.assert_array_equal(patient.tumour, labels == 1)
    assert patient.missing == ("registration: a prepared cohort has no landmarks",)


def test_simulated_cases_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_index(tmp_path, [{"name": "case-0000", "head": "h", "split": "test"}])
    assert main(["real", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "holds simulated cases; give real patients" in capsys.readouterr().err


def test_a_missing_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["real", str(tmp_path / "none"), "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.endswith("none: no such folder; give one with a folder for each patient\n")


# Measures -------------------------------------------------------------------------------------------------------------


def test_correlation_and_psnr_of_an_image_of_known_error() -> None:
    """Target t = 0.4 z, image of correlation 0.6 with it: after the best line the error is 0.4 sqrt(1 - 0.36)."""
    noise = np.random.default_rng(3).standard_normal((2, 40, 40, 40))
    where = np.ones(noise.shape[1:], bool)
    where[:4] = False
    one, other = (image - image[where].mean() for image in noise)
    other -= one * (one * other)[where].mean() / (one**2)[where].mean()
    one, other = (image / image[where].std() for image in (one, other))
    scores = measures.fidelity(-7 * (0.6 * one + 0.8 * other) + 300, 0.4 * one, where)
    assert scores["r"] == pytest.approx(-0.6)
    assert scores["PSNR"] == pytest.approx(-10 * np.log10((0.4 * 0.8 / 2) ** 2))
    constant = measures.fidelity(np.full(where.shape, 0.3), 0.4 * one, where)
    assert "r" not in constant
    assert constant["PSNR"] == pytest.approx(-10 * np.log10(0.2**2))


def test_lpips_sees_both_images_after_the_line_and_nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    target = np.random.default_rng(5).uniform(-0.8, 0.8, (4, 40, 40))
    where = np.zeros(target.shape, bool)
    where[:, 5:-5, 5:-5] = True
    monkeypatch.setattr(perceptual, "load", lambda: lambda true, seen: np.abs(true - seen).max((1, 2)))
    scores = measures.fidelity(50 * target - 7, np.where(where, target, 0.5), where)
    assert scores["LPIPS"] == pytest.approx(0, abs=1e-6)


def test_the_monotone_map_undoes_any_monotone_change(sweep: Volume) -> None:
    fan = field_of_view(sweep.array)
    echo = normalize_ultrasound(sweep.array)
    images = measures.baselines(sweep, fan, target=-np.tanh(2 * echo), where=fan)
    scores = {name: measures.fidelity(image, -np.tanh(2 * echo), fan) for name, image in images.items()}
    assert scores[measures.MONOTONE]["r"] > 0.999
    assert scores[measures.SMOOTHED]["r"] < 0
    names = (measures.MONOTONE, measures.SMOOTHED, measures.CONSTANT)
    monotone, smoothed, constant = (scores[name]["PSNR"] for name in names)
    assert monotone > 40 > smoothed > constant


def test_smoothing_does_not_darken_the_rim() -> None:
    bright = Volume(np.pad(np.full((30, 30, 30), 200.0), 6), (0.8,) * 3)
    bright.array[6:9] = 100  # two grey values, or nothing can be normalised
    fan = bright.array > 0
    smoothed = measures.baselines(bright, fan, target=bright.array, where=fan)[measures.SMOOTHED]
    assert smoothed[20][fan[20]] == pytest.approx(1.0)


def test_the_standard_score_of_what_is_outlined() -> None:
    image = np.random.default_rng(4).standard_normal((20, 20, 20))
    fan, chosen = np.ones(image.shape, bool), np.zeros(image.shape, bool)
    chosen[5:8] = True
    image[chosen] += 3
    expected = (image[chosen].mean() - image[~chosen].mean()) / image[~chosen].std()
    assert measures.standard_score(image, chosen, fan) == pytest.approx(expected)
    assert measures.standard_score(image, np.zeros_like(fan), fan) is None


def test_an_outline_is_compared_with_what_somebody_drew_and_with_flair(cohort: Path) -> None:
    """Two boxes inside the fan that share half of their voxels, and one voxel drawn outside it."""
    patient = find_patients(cohort)["case1"]()
    fan = patient.fan.array > 0
    low = [int(value) for value in np.argwhere(fan).mean(axis=0)]
    drawn, found = np.zeros(fan.shape, bool), np.zeros(fan.shape, np.uint8)
    drawn[low[0] : low[0] + 4, low[1] : low[1] + 4, low[2] : low[2] + 4] = True
    found[low[0] + 2 : low[0] + 6, low[1] : low[1] + 4, low[2] : low[2] + 4] = 1
    assert fan[drawn | (found > 0)].all()
    drawn[~fan & (np.cumsum(~fan.ravel()).reshape(fan.shape) == 1)] = True
    report = {
        "volumes_ml": {"tumour": 0.1}, "doubtful": ["tumour"], "expected_dice": {"tumour": 0.2}, "companion": None,
        "segmenter": {"name": "lesion-3d", "version": "1.0"},
    }
    result = SimpleNamespace(report=report, segmentation=patient.fan.with_array(found))
    scores = measures.outlined(replace(patient, tumour=drawn), result)
    assert scores["Dice"] == pytest.approx(0.5)
    assert (scores["ml"], scores["expected Dice"], scores["doubtful"]) == (0.1, 0.2, True)
    assert scores["on"] == "lesion-3d 1.0"
    flair, rest = patient.reference.images["FLAIR"], fan & patient.reference.seen & (found == 0)
    assert scores["z"]["FLAIR"] == pytest.approx((flair[found > 0].mean() - flair[rest].mean()) / flair[rest].std())


def test_medians_are_taken_over_the_patients_of_one_kind() -> None:
    rows = [
        {"patient": name, "MRI": "FLAIR", "by": "LC2", "model": model, "from it": value, "its verdict": "failed"}
        for name, model, value in (("a", "m", 1.0), ("b", "m", 2.0), ("c", "m", 6.0), ("c", "n", 9.0))
    ]
    assert tables.medians(rows, ("patient", "MRI", "by", "model")) == [
        {"patient": "median of 3", "MRI": "-", "by": "LC2", "model": "m", "from it": 2.0}
    ]


# Registration ---------------------------------------------------------------------------------------------------------


def test_starts_are_those_of_curious_and_lie_in_their_range(cohort: Path) -> None:
    patient = find_patients(cohort)["case1"]()
    given, *random = starts.starts(patient, 3, 7)
    np.testing.assert_array_equal(given, np.eye(4))
    middle = patient.landmarks[1].mean(axis=0)
    assert all(3 <= np.linalg.norm((start @ [*middle, 1])[:3] - middle) <= 10 for start in random)
    np.testing.assert_array_equal(random, starts.starts(patient, 3, 7)[1:])


def test_a_registration_that_is_refused_leaves_the_mri_at_its_start(cohort: Path) -> None:
    patient = find_patients(cohort)["case1"]()
    far = np.eye(4)
    far[:3, 3] = 900
    found = starts.registered(patient, starts.ULTRASOUND, far, result=None)
    assert found["refused"]
    assert found["after_mm"] == found["before_mm"] > 900


# Going on -------------------------------------------------------------------------------------------------------------


def test_parts_are_measured_once_and_anew_for_other_data(tmp_path: Path) -> None:
    made = []

    def make() -> float:
        made.append(1)
        return 2.5

    for of in ("a", "a", "b", "b"):
        assert Parts(tmp_path / "case1.json", of).get("edges", make) == 2.5
    assert len(made) == 2


def test_a_damaged_file_of_parts_is_named(tmp_path: Path) -> None:
    (tmp_path / "case1.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"case1\.json: is damaged .* remove it and repeat"):
        Parts(tmp_path / "case1.json", "a")


def test_the_fingerprint_changes_with_any_voxel_and_landmark(cohort: Path) -> None:
    read = find_patients(cohort)["case1"]
    patient = read()
    assert read().fingerprint == patient.fingerprint
    array = patient.ultrasound.array.copy()
    array.flat[array.argmax()] -= 1
    others = [
        replace(patient, ultrasound=patient.ultrasound.with_array(array)), replace(patient, tumour=array > 100),
        replace(patient, landmarks=(patient.landmarks[0] + 1, patient.landmarks[1])),
    ]
    assert len({patient.fingerprint, *(other.fingerprint for other in others)}) == 4


# The whole command ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny_models")
def test_the_command_measures_draws_and_goes_on(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The tiny generator's FLAIR follows the ultrasound as the made-up FLAIR does, its T2w inverts it."""
    shutil.rmtree(cohort / "case3")
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{BEGIN}\nold\n{END}\n\nLast words.\n", encoding="utf-8")
    arguments = ["real", str(cohort), "-o", str(tmp_path / "out"), "--starts", "1", "--page", str(page)]
    monkeypatch.setattr(command, "registered", lambda patient, by, start, result: {
        "before_mm": 5.0, "after_mm": 1.0, "seconds": 1.0, **({"verdict": "agrees"} if by == starts.BOTH else {}),
    })
    assert main(arguments) == 0
    figures = json.loads((tmp_path / "out" / "real.json").read_text())
    assert figures["real"] is True
    model = next(iter(figures["models"]))
    first, second = (figures["patients"][name] for name in ("case1", "case2"))
    assert first["models"][model]["fidelity"]["FLAIR"]["synthetic"]["FLAIR"]["r"] > 0.9
    assert set(first["models"][model]["fidelity"]["FLAIR"]["synthetic"]) == {"FLAIR"}
    assert second["models"][model]["fidelity"]["T1w"]["synthetic"]["T2w"]["r"] < -0.9
    assert all(found["models"][model]["edges"]["FLAIR against ultrasound"] > 0.9 for found in (first, second))
    text = (tmp_path / "out" / "real.md").read_text()
    assert "| case1 | FLAIR | both: register | ious2mr-2.5d 0.0.1 | 0.00 | 5.00 | 1.00 | agrees |" in text
    assert "- case1, case2: LPIPS: its weights are not here" in text
    assert page.read_text().startswith(f"# Page\n\n{BEGIN}\n\n2 real patients, with ious2mr-2.5d 0.0.1")
    assert page.read_text().endswith(f"{END}\n\nLast words.\n")
    with Image.open(tmp_path / "out" / "real.png") as sheet, Image.open(tmp_path / "page.jpg") as picture:
        assert sheet.width <= 2000
        assert picture.size == sheet.size
    monkeypatch.setattr(Model, "synthesize", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(command, "registered", lambda *_, **__: pytest.fail("registered again"))
    capsys.readouterr()
    assert main(arguments) == 0
    assert json.loads((tmp_path / "out" / "real.json").read_text()) == figures
    assert capsys.readouterr().out.strip() in text


@pytest.mark.usefixtures("tiny_models")
def test_two_models_stand_side_by_side(cohort: Path, tmp_path: Path) -> None:
    """The other model's FLAIR inverts the ultrasound."""
    for name in ("case2", "case3"):
        shutil.rmtree(cohort / name)
    ultrasound = read_volume(cohort / "case1" / "us_before.nii.gz")
    write_volume(cohort / "case1" / "us_before_tumor.nii.gz", ultrasound.with_array(ultrasound.array > 150))
    other = write_kind(tmp_path / "models" / "inverted", "2.5D", ["FLAIR"])
    arguments = ["real", str(cohort), "-o", str(tmp_path / "out"), "--no-registration"]
    assert main([*arguments, "--baseline-model", str(other)]) == 0
    figures = json.loads((tmp_path / "out" / "real.json").read_text())
    assert list(figures["models"]) == ["ious2mr-2.5d 0.0.1", "inverted 0.0.1, baseline"]
    first, second = figures["patients"]["case1"]["models"].values()
    assert first["fidelity"]["FLAIR"]["synthetic"]["FLAIR"]["r"] > 0.9
    assert second["fidelity"]["FLAIR"]["synthetic"]["FLAIR"]["r"] < -0.9
    assert 0 < first["outline"]["Dice"] <= 1
    assert "uncertainty" not in second["fidelity"]["FLAIR"]
    text = (tmp_path / "out" / "real.md").read_text()
    assert "| case1 | FLAIR | synthetic FLAIR | inverted 0.0.1, baseline | -" in text
    assert "- case1: edges and sheets: inverted 0.0.1, baseline does not make both T2w and FLAIR" in text
    assert "Registration" not in text


@pytest.mark.usefixtures("tiny_models")
def test_a_segmenter_beside_a_model_goes_with_it(tmp_path: Path, tiny_bundles: Path) -> None:
    shutil.copytree(tiny_bundles / "ious2mr-2.5d", tmp_path / "ious2mr-2.5d")
    described = Model.of(str(tmp_path / "ious2mr-2.5d")).described
    shutil.copytree(tiny_bundles / "lesion-3d", tmp_path / "lesion-3d")
    metadata = tmp_path / "lesion-3d" / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"0.0.1"', '"0.0.2"'))
    assert described["segmenter"]["version"] == "0.0.1"
    assert Model.of(str(tmp_path / "ious2mr-2.5d")).described["segmenter"]["version"] == "0.0.2"
    assert Model.of(None).described["segmenter"]["version"] == "0.0.1"


@pytest.mark.usefixtures("tiny_models")
def test_one_bad_patient_does_not_stop_the_others(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.rmtree(cohort / "case1")
    (cohort / "case2" / "us_before.nii.gz").write_bytes(b"no image")
    assert main(["real", str(cohort), "-o", str(tmp_path / "out")]) == 0
    figures = json.loads((tmp_path / "out" / "real.json").read_text())
    assert list(figures["patients"]) == ["case3"]
    (measured,) = figures["patients"]["case3"]["models"].values()
    assert set(measured) == {"outline", "edges"}
    assert "registration" not in figures["patients"]["case3"]
    assert "- case3: t1_prewarped.nii.gz: was deformed by others" in (tmp_path / "out" / "real.md").read_text()
    assert "us_before.nii.gz" in figures["left out"]["case2"]
    assert "case2: left out: " in capsys.readouterr().err


def test_a_page_without_a_place_for_the_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Page\n", encoding="utf-8")
    with pytest.raises(InputError, match="lacks the lines"):
        Report("data", [], {}).renew(tmp_path / "page.md")
    with pytest.raises(InputError, match="cannot be read"):
        Report("data", [], {}).renew(tmp_path / "other.md")
