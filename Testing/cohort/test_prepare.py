"""``iousynth prepare``: a displaced MRI is put right, training reads what is written, and bad input is named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support import phantom
from support.tiny_models import SHARED

pytest.importorskip("torch")

from IoUSynthLib.cases.case import UNLABELLED, read_case, target_image
from IoUSynthLib.cases.contact_sheet import ContactSheet
from IoUSynthLib.cases.index import read_index
from IoUSynthLib.cli import main
from IoUSynthLib.cohort import command
from IoUSynthLib.cohort.command import prepare_cohort
from IoUSynthLib.cohort.preparation import prepare_case
from IoUSynthLib.cohort.readers import Files, Study
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.preprocessing import field_of_view, normalize_mri, resample_like
from IoUSynthLib.registration import search
from IoUSynthLib.registration.rigid import mean_distance, to_sitk
from IoUSynthLib.training.data import SliceBatches, generator_volume, load_volumes, segmenter_volume
from IoUSynthLib.training.losses import generator_loss
from IoUSynthLib.training.presets import PRESETS
from IoUSynthLib.training.selection import perceptual_score
from IoUSynthLib.volume import InputError, Volume

TRUTH = phantom.displacement(4, 7)


@pytest.fixture(scope="module", autouse=True)
def _few_voxels() -> Iterator[None]:
    """How exact a registration is, is tested where it stands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_VOXELS", phantom.FEW_VOXELS)
        yield


@pytest.fixture(scope="module")
def scene() -> dict:
    images = phantom.head()
    ultrasound, _, fan = phantom.field_of_view(images)
    return {"images": images, "ultrasound": ultrasound, "fan": fan, "moving": phantom.displaced(images, TRUTH)}


@pytest.fixture
def write_patient(scene: dict) -> Callable[..., Path]:
    """Write ultrasound and displaced MRI, except for what is left out, into a patient's folder."""

    def write(folder: Path, *left_out: str) -> Path:
        folder.mkdir(parents=True)
        for name, volume in {"ioUS": scene["ultrasound"], **scene["moving"]}.items():
            if name not in left_out:
                write_volume(folder / f"{folder.name}_{name}.nrrd", volume)
        return folder

    return write


@pytest.fixture(scope="module")
def prepared(scene: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of three patients, of whom the second has no FLAIR and the third an outline, prepared once."""
    cohort, output = tmp_path_factory.mktemp("patients"), tmp_path_factory.mktemp("out") / "prepared"
    outline = np.digitize(scene["moving"]["T2w"].array, (560, 800)).astype(np.uint8)
    for number in range(1, 4):
        folder = cohort / f"P{number}"
        folder.mkdir()
        for name, volume in {"ioUS": scene["ultrasound"], **scene["moving"]}.items():
            if (number, name) != (2, "FLAIR"):
                write_volume(folder / f"P{number}_{name}.nrrd", volume)
    write_volume(cohort / "P3" / "P3_labels.nrrd", scene["moving"]["T2w"].with_array(outline))
    assert main(["prepare", str(cohort), "-o", str(output)]) == 0
    return output


def test_a_known_displacement_is_undone(prepared: Path, scene: dict) -> None:
    points = phantom.points_of(scene["fan"])
    for name in ("P1", "P2"):
        case = read_case(prepared / name)
        done = case.parameters["registration"]
        assert mean_distance(np.eye(4), TRUTH, points) > 5
        assert mean_distance(np.array(done["matrix_lps"]), TRUTH, points) < 1.0
        assert done["similarity"]["after"] > done["similarity"]["before"]
        assert done["warnings"] == []


def test_the_written_mri_is_that_of_the_ultrasound_voxel_by_voxel(prepared: Path, scene: dict) -> None:
    """Against the head before it was displaced, which the preparation never saw."""
    case = read_case(prepared / "P1")
    inside = case.fan.array > 0
    for name in ("T2w", "FLAIR"):
        expected = normalize_mri(resample_like(scene["images"][name], case.fan).array)
        unmoved = normalize_mri(resample_like(scene["moving"][name], case.fan).array)
        image = target_image(case, name)
        correlation = [np.corrcoef(image[inside], other[inside])[0, 1] for other in (expected, unmoved)]
        assert correlation[0] > 0.97
        assert correlation[1] < 0.8
        assert image.min() >= -1
        assert image.max() <= 1


def test_grid_fan_and_header(prepared: Path, scene: dict) -> None:
    case = read_case(prepared / "P1")
    assert case.fan.spacing == pytest.approx((0.8,) * 3)
    np.testing.assert_allclose(case.fan.direction, scene["ultrasound"].direction, atol=1e-6)
    fan = scene["ultrasound"].with_array(field_of_view(scene["ultrasound"].array).astype(np.uint8))
    expected = resample_like(fan, case.fan, nearest=True).array
    overlap = 2 * (expected * case.fan.array).sum() / (expected.sum() + case.fan.array.sum())
    assert overlap > 0.97
    assert all(volume.same_grid(case.fan) for volume in (*case.images.values(), case.labels))
    header = sitk.ImageFileReader()
    header.SetFileName(str(prepared / "P1" / "T2w.mha"))
    header.ReadImageInformation()
    assert header.GetMetaData("Synthetic") == "false"
    assert case.parameters["source"] == {
        "ultrasound": "P1/P1_ioUS.nrrd", "T2w": "P1/P1_T2w.nrrd", "FLAIR": "P1/P1_FLAIR.nrrd",
    }


def test_index_and_picture(prepared: Path) -> None:
    index = json.loads((prepared / "dataset.json").read_text())
    assert index["simulated"] is False
    assert index["failed"] == {}
    assert sorted(case["split"] for case in index["cases"]) == ["test", "train", "validation"]
    assert [len(read_index(prepared, split)) for split in ("train", "validation", "test")] == [1, 1, 1]
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(prepared / "contact_sheet.png")))
    assert picture.shape[0] > 3 * 200
    assert picture.std() > 20


def test_training_reads_it_and_masks_what_a_patient_lacks(prepared: Path) -> None:
    import torch

    folders = [prepared / name for name in ("P1", "P2", "P3")]
    volumes = load_volumes(folders, generator_volume)
    assert [np.isnan(volume.target).any(axis=(1, 2, 3)).tolist() for volume in volumes] == [
        [False, False], [False, True], [False, False],
    ]
    network = PRESETS["ious2mr-2.5d"].last.network()
    batches = SliceBatches(volumes[1:2], 2, 64, seed=0, augment=False)
    batch = batches.draw(0)
    output = network(batch.image)
    losses = generator_loss(output, batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    without = generator_loss(torch.cat([output[:, :1], output[:, 1:2] + 9, output[:, 2:]], 1), batch)
    assert float(without["absolute"]) == pytest.approx(float(losses["absolute"]))


def test_a_missing_target_does_not_spoil_the_score_of_a_checkpoint(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean absolute difference in the place of LPIPS, over the contrast that there is."""
    import torch

    monkeypatch.setattr(
        "IoUSynthLib.evaluation.perceptual.load", lambda: lambda a, b: np.abs(a - b).mean(axis=(1, 2))
    )
    batches = SliceBatches([generator_volume(prepared / "P2")], 2, 64, seed=0, augment=False)
    network = torch.nn.Conv2d(3, 3, 1)
    torch.nn.init.zeros_(network.weight)
    torch.nn.init.zeros_(network.bias)
    drawn = [batches.draw(number) for number in range(6)]
    expected = np.mean([float((batch.target[:, :1].abs() * batch.fan).mean()) for batch in drawn])
    assert perceptual_score(batches)(network) == pytest.approx(expected, rel=1e-3)


def test_outlines_follow_the_mri_and_are_asked_for(prepared: Path, scene: dict) -> None:
    case = read_case(prepared / "P3")
    truth = np.digitize(resample_like(scene["images"]["T2w"], case.fan).array, (560, 800))
    inside = case.fan.array > 0
    assert (case.labels.array[inside] == truth[inside]).mean() > 0.9
    assert set(np.unique(segmenter_volume(prepared / "P3", ("ioUS", "T2w")).target)) == {0, 1, 2}
    assert (read_case(prepared / "P1").labels.array == UNLABELLED).all()
    with pytest.raises(InputError, match="not outlined"):
        segmenter_volume(prepared / "P1", ("ioUS",))


def test_finished_cases_are_kept_and_bad_ones_do_not_stop_the_rest(
    tmp_path: Path, write_patient: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_patient(tmp_path / "in" / "A", "FLAIR")
    write_patient(tmp_path / "in" / "B", "T2w", "FLAIR")
    damaged = write_patient(tmp_path / "in" / "C") / "C_T2w.nrrd"
    damaged.write_bytes(damaged.read_bytes()[:400])
    cut_off = write_patient(tmp_path / "in" / "E", "T2w") / "E_labels.nii.gz"
    write_volume(cut_off, read_volume(tmp_path / "in" / "A" / "A_T2w.nrrd"))
    cut_off.write_bytes(cut_off.read_bytes()[: cut_off.stat().st_size // 2])
    arguments = ["prepare", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--no-registration"]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("prepared 1 of 4 cases")
    assert ("none is for validation" in printed.out) == ("0 for validation" in printed.out)
    assert "not prepared: B, C, E (1 no MRI of the phase, 2 cannot be used; exclusions.csv says why)" in printed.out
    assert "B: holds neither T2w nor FLAIR" in printed.err
    assert "C_T2w.nrrd: is damaged" in printed.err
    assert "E_labels.nii.gz: is damaged" in printed.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "A", "contact_sheet.png", "dataset.json", "exclusions.csv", "review.csv",
    ]  # fmt: skip
    assert json.loads((tmp_path / "out" / "A" / "case.json").read_text())["registration"] is None
    written = (tmp_path / "out" / "A" / "ioUS.mha").stat().st_mtime_ns
    write_patient(tmp_path / "in" / "D")
    assert main(arguments) == 2
    assert "A: kept" in capsys.readouterr().err
    assert (tmp_path / "out" / "A" / "ioUS.mha").stat().st_mtime_ns == written
    assert main(arguments[:-1]) == 2
    assert "or was registered or scaled otherwise; choose another output folder" in capsys.readouterr().err
    assert main([*arguments, "--grid", "mri"]) == 2
    assert "on another grid" in capsys.readouterr().err


def write_tag(path: Path, moving: np.ndarray, fixed: np.ndarray) -> None:
    """Landmarks of MRI and ultrasound, LPS mm, as an MNI .tag has them."""
    rows = (" ".join(f"{value:.6f}" for value in row) for row in np.hstack([moving, fixed]) * [-1, -1, 1, -1, -1, 1])
    path.write_text("MNI Tag Point File\nVolumes = 2;\nPoints =\n" + "\n".join(rows) + ";\n")


def test_landmarks_put_the_mri_where_they_say(
    tmp_path: Path, write_patient: Callable[..., Path], scene: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    """Landmarks without error, of which LC2 knows nothing, and a patient without any."""
    folder = write_patient(tmp_path / "in" / "A", "FLAIR")
    write_patient(tmp_path / "in" / "B", "FLAIR")
    fixed = phantom.points_of(scene["fan"], 12)
    write_tag(folder / "A.tag", fixed @ TRUTH[:3, :3].T + TRUTH[:3, 3], fixed)
    arguments = ["prepare", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--register", "landmarks"]
    assert main(arguments) == 2
    assert "B: one .tag of MRI and ultrasound landmarks is needed, found none" in capsys.readouterr().err
    case = read_case(tmp_path / "out" / "A")
    done = case.parameters["registration"]
    np.testing.assert_allclose(done["matrix_lps"], TRUTH, atol=1e-4)
    assert (done["landmarks"], done["warnings"]) == (len(fixed), [])
    assert done["before"]["mean_mm"] > 5
    assert max(done["after"]["mean_mm"], done["TRE"]["mean_mm"], done["FLE_rms_mm"]) <= 0.001
    assert case.parameters["source"]["landmarks"] == "A/A.tag"
    inside, expected = case.fan.array > 0, resample_like(scene["images"]["T2w"], case.fan).array
    assert np.corrcoef(case.images["T2w"].array[inside], expected[inside])[0, 1] > 0.97
    with (tmp_path / "out" / "review.csv").open() as file:
        assert [(row["tre_mm"], row["lc2_after"]) for row in csv.DictReader(file)] == [("0.0", "")]
    assert main(arguments) == 2
    assert "A: kept" in capsys.readouterr().err
    assert main(arguments[:-2]) == 2
    assert "or was registered or scaled otherwise; choose another output folder" in capsys.readouterr().err
    assert main([*arguments, "--pairs", "T1w:T2w"]) == 2
    assert "--register landmarks: is of MRI and ultrasound" in capsys.readouterr().err


def test_landmarks_that_cannot_register_are_a_failed_registration(
    tmp_path: Path, write_patient: Callable[..., Path]
) -> None:
    folder = write_patient(tmp_path / "A", "FLAIR")
    line = np.outer(np.arange(5.0), [4.0, 3.0, 0.0])
    write_tag(folder / "A.tag", line, line)
    files = Files(folder / "A_ioUS.nrrd", {"T2w": folder / "A_T2w.nrrd"}, landmarks=folder / "A.tag")
    with pytest.raises(InputError, match=r"A\.tag: the landmarks lie on a line"):
        prepare_case(files, register="landmarks")


def test_case_24_of_resect_by_its_landmarks(tmp_path: Path) -> None:
    """Its first distance is the published one; FLAIR alone is a target, T1w is not."""
    cohort = SHARED / "data" / "resect_us"
    if not cohort.exists():
        pytest.skip("RESECT is not here")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "case24").symlink_to(cohort / "case24")
    prepare_cohort(tmp_path / "in", tmp_path / "out", command.Choices(register="landmarks"))
    parameters = read_case(tmp_path / "out" / "case24").parameters
    done = parameters["registration"]
    assert (parameters["targets"], done["landmarks"], done["warnings"]) == (["FLAIR"], 16, [])
    assert done["before"]["mean_mm"] == pytest.approx(1.10, abs=0.01)
    assert done["after"]["mean_mm"] < done["TRE"]["mean_mm"] < done["before"]["mean_mm"]


def test_phases_of_a_patient_share_its_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies = [Study(f"P{n}-{phase}", f"P{n}", (), phase) for n in range(5) for phase in ("post", "pre")]
    monkeypatch.setattr(command, "find_studies", lambda cohort: studies)
    monkeypatch.setattr(command, "_prepare", lambda *arguments: "done")
    monkeypatch.setattr(command, "_check_case", lambda *arguments: None)
    monkeypatch.setattr(ContactSheet, "write", lambda *arguments: None)
    (tmp_path / "out").mkdir()
    prepare_cohort(tmp_path / "in", tmp_path / "out")
    cases = json.loads((tmp_path / "out" / "dataset.json").read_text())["cases"]
    assert len({(case["head"], case["split"]) for case in cases}) == 5
    assert [case["phase"] for case in cases] == ["post", "pre"] * 5


@pytest.mark.parametrize("names", [("Case2", "Case24"), ("case02", "case24")])
@pytest.mark.parametrize("split", ["random", "published", "file"])
def test_what_this_project_tests_on_of_resect_is_never_trained_on(
    split: str, names: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the names of RESECT's files, of which the reader makes patients, and of folders."""
    patients = [f"Case{number}" for number in (4, 6, 12, 21, 25)] + list(names)
    monkeypatch.setattr(command, "find_studies", lambda cohort: [Study(name, name, ()) for name in patients])
    monkeypatch.setattr(command, "_prepare", lambda *arguments: "done")
    monkeypatch.setattr(command, "_check_case", lambda *arguments: None)
    monkeypatch.setattr(ContactSheet, "write", lambda *arguments: None)
    given = tmp_path / "split.csv"
    given.write_text("patient,split\n" + "".join(f"{name},train\n" for name in patients))
    for seed in range(6 if split == "random" else 1):
        choices = command.Choices(split=str(given) if split == "file" else split, seed=seed)
        output = tmp_path / f"out{seed}"
        output.mkdir()
        prepare_cohort(tmp_path / "in", output, choices)
        cases = json.loads((output / "dataset.json").read_text())["cases"]
        splits = {case["name"]: case["split"] for case in cases}
        assert [splits.pop(name) for name in names] == ["test", "test"]
        assert {"train", "validation"} <= set(splits.values())


def test_mri_of_another_place_and_files_under_wrong_names_are_named(tmp_path: Path, scene: dict) -> None:
    us, t2 = tmp_path / "us.nrrd", tmp_path / "t2.nrrd"
    write_volume(us, scene["ultrasound"])
    volume = scene["moving"]["T2w"]
    write_volume(t2, Volume(volume.array, volume.spacing, (900.0, 0.0, 0.0), volume.direction))
    with pytest.raises(InputError, match=r"us\.nrrd: the MRI and the ultrasound do not overlap"):
        prepare_case(Files(us, {"T2w": t2}))
    with pytest.raises(InputError, match=r"t2\.nrrd: the MRI covers only 0% of the ultrasound"):
        prepare_case(Files(us, {"T2w": t2}), register="none")
    with pytest.raises(InputError, match=r"t2\.nrrd: does not look like ultrasound"):
        prepare_case(Files(t2, {"T2w": us}))
    labels = tmp_path / "labels.nrrd"
    write_volume(labels, volume)
    write_volume(t2, volume)
    with pytest.raises(InputError, match=r"labels\.nrrd: holds other values than 0"):
        prepare_case(Files(us, {"T2w": t2}, {"labels": labels}), register="none")


@pytest.mark.parametrize(("cohort", "output", "message"), [
    ("nowhere", "out", "no such folder"), ("in", "out", "holds no patients"), ("in", "in/out", "lies in the cohort"),
])
def test_bad_folders_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cohort: str, output: str, message: str
) -> None:
    (tmp_path / "in").mkdir()
    assert main(["prepare", str(tmp_path / cohort), "-o", str(tmp_path / output)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / output).exists()


def test_real_ultrasound_without_its_mri_is_said_so(
    resect_case_4: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(resect_case_4.parent), "-o", str(tmp_path / "out")]) == 2
    assert "Case4: holds neither T2w nor FLAIR" in capsys.readouterr().err


def test_real_ultrasound_with_a_made_flair(resect_case_4: Path, tmp_path: Path) -> None:
    """The real sweep, blurred and inverted, stands in for RESECT's FLAIR, which is not at hand: 6 mm are undone."""
    ultrasound = read_volume(resect_case_4)
    array = sitk.GetArrayFromImage(sitk.Shrink(sitk.DiscreteGaussian(ultrasound.to_sitk(), 4.0), [3] * 3))
    coarse = sitk.Shrink(ultrasound.to_sitk(), [3] * 3)
    made = Volume.from_sitk(coarse).with_array(np.maximum(300 - array, 1).astype(np.float32))
    fan = ultrasound.with_array((ultrasound.array > 0).astype(np.uint8))
    points = phantom.points_of(fan)
    shift = np.eye(4)
    shift[:3, 3] = (4.0, -3.0, 3.3)
    origin = tuple(np.asarray(made.origin) + shift[:3, 3])
    cohort = tmp_path / "RESECT" / "Case4"
    cohort.mkdir(parents=True)
    (cohort / "Case4-US-before.nii.gz").symlink_to(resect_case_4)
    write_volume(cohort / "Case4-FLAIR.nii.gz", Volume(made.array, made.spacing, origin, made.direction))
    prepare_cohort(tmp_path / "RESECT", tmp_path / "out")
    case = read_case(tmp_path / "out" / "Case4")
    found = np.array(case.parameters["registration"]["matrix_lps"])
    assert mean_distance(found, shift, points) < 1.0
    assert list(case.images) == ["ioUS", "FLAIR"]
    assert case.parameters["fan_ml"] == pytest.approx(83, abs=5)
    resampled = resample_like(made, case.fan, transform=to_sitk(np.eye(4))).array
    inside = case.fan.array > 0
    assert np.corrcoef(resampled[inside], case.images["FLAIR"].array[inside])[0, 1] > 0.95
