"""``iousynth prepare --pairs``: two contrasts of BraTS become a cohort that training reads, and bad input is named."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from IoUSynthLib.cases.case import UNLABELLED, read_case, target_image
from IoUSynthLib.cases.index import read_index
from IoUSynthLib.cli import main
from IoUSynthLib.cohort.exclusions import EXCLUSIONS
from IoUSynthLib.files.names import BRATS_ROLES, brats_role_of_name
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.training.data import SliceBatches, generator_volume, segmenter_volume
from IoUSynthLib.training.presets import PRESETS
from IoUSynthLib.volume import InputError, Volume

#: What this project tests on.
HELD_OUT = {"BraTS2021_01481", "BraTS2021_01482", "BraTS2021_01483"}
#: Axes as BraTS has them: to the left and to the back, 1 mm.
PLACE = {"spacing": (1.0, 1.0, 1.0), "origin": (0.0, -30.0, 0.0), "direction": np.diag((1.0, 1.0, 1.0))}


def brain(seed: int, shape: tuple[int, int, int] = (22, 26, 24)) -> dict[str, Volume]:
    """Four contrasts and an outline of a ball of noise, 0 outside."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) // 2
    ball = x**2 + y**2 + z**2 < 81
    arrays = {name: np.where(ball, rng.integers(50, 255, shape), 0).astype(np.uint8) for name in ("t1", "t1ce", "t2")}
    arrays["seg"] = np.where(x**2 + y**2 + (z - 4) ** 2 < 9, np.where(x > 0, 4, 2), 0).astype(np.uint8)
    return {name: Volume(array, **PLACE) for name, array in arrays.items()}


@pytest.fixture
def write_patient(tmp_path: Path) -> Callable[..., dict[str, Volume]]:
    """Write a patient as BraTS does, without what is left out."""

    def write(name: str, *left_out: str, seed: int = 0) -> dict[str, Volume]:
        images = brain(seed)
        (tmp_path / "BraTS" / name).mkdir(parents=True)
        for ending, volume in images.items():
            if ending not in left_out:
                write_volume(tmp_path / "BraTS" / name / f"{name}_{ending}.nii.gz", volume)
        return images

    return write


def prepare(folder: Path, *options: str) -> int:
    return main(["prepare", str(folder / "BraTS"), "-o", str(folder / "out"), "--pairs", "T1w:T2w", *options])


def test_training_reads_a_pair_as_eq_2_of_its_files(write_patient: Callable, tmp_path: Path) -> None:
    images = write_patient("BraTS2021_00001")
    assert prepare(tmp_path) == 0
    folder = tmp_path / "out" / "BraTS2021_00001"
    case = read_case(folder)
    assert (case.input, case.parameters["targets"], case.parameters["simulated"]) == ("T1w", ["T2w"], False)
    ball = images["t1"].array > 0
    corner = tuple(int(places.min()) - 1 for places in np.nonzero(ball))  # the box has a margin of a voxel
    box = tuple(slice(start, start + size) for start, size in zip(corner, case.fan.array.shape, strict=True))
    np.testing.assert_array_equal(case.fan.array, ball[box])
    np.testing.assert_allclose(case.fan.origin, np.add(PLACE["origin"], corner[::-1]), atol=1e-5)
    np.testing.assert_array_equal(case.labels.array, images["seg"].array[box] > 0)
    volume = generator_volume(folder, ["T2w"], source="T1w")
    for name, got in (("t1", volume.image[0]), ("t2", volume.target[0])):
        values = images[name].array[ball].astype(float)  # eq. 2, written out
        expected = np.full(ball.shape, -1.0)
        expected[ball] = np.clip((values - values.mean()) / values.std(), -3, 3) / 3
        np.testing.assert_allclose(got.astype(float), expected[box], atol=2e-3)
    batch = SliceBatches([volume], 2, 16, seed=0, augment=False).draw(0)
    assert tuple(batch.image.shape) == (2, 3, 16, 16)


def test_a_network_of_ultrasound_does_not_take_a_pair_for_one(write_patient: Callable, tmp_path: Path) -> None:
    write_patient("BraTS2021_00001", "seg")
    assert prepare(tmp_path) == 0
    folder = tmp_path / "out" / "BraTS2021_00001"
    assert (read_case(folder).labels.array == UNLABELLED).all()
    stage = PRESETS["ious2mr-2.5d"].first
    for load in (stage.load, lambda case: segmenter_volume(case, ["ioUS"])):
        with pytest.raises(InputError, match="its input is T1w, and ioUS is learned from"):
            load(folder)


def test_patients_are_split_and_those_held_out_are_for_testing(
    write_patient: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for number, name in enumerate(["BraTS2021_00001", "BraTS2021_00002", "BraTS2021_00003", *sorted(HELD_OUT)]):
        write_patient(name, "t1ce", seed=number)
    file = tmp_path / "split.csv"
    rows = "".join(f"{name},train\n" for name in ("BraTS2021_00001", "BraTS2021_00002", "BraTS2021_01482"))
    file.write_text(f"patient,split\n{rows}BraTS2021_00003,validation\n", encoding="utf-8")
    for split in ("random", "published", str(file)):
        assert prepare(tmp_path, "--split", split) == 0  # the cases are kept
        tested = {folder.name for folder in read_index(tmp_path / "out", "test")}
        assert tested >= HELD_OUT
        others = [*read_index(tmp_path / "out", "train"), *read_index(tmp_path / "out", "validation")]
        assert others
        assert not HELD_OUT & {folder.name for folder in others}
    assert "split.csv says: BraTS2021_01482" in capsys.readouterr().err
    assert (tmp_path / "out" / "contact_sheet.png").is_file()


def test_what_is_missing_doubtful_or_of_another_grid_is_left_out(
    write_patient: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_patient("good")
    write_patient("lacking", "t2")
    images = write_patient("double")
    write_volume(tmp_path / "BraTS" / "double" / "other_t1n.nii.gz", images["t1"])
    write_patient("shifted", "t2")
    moved = Volume(images["t2"].array, (1.0, 1.0, 1.0), (5.0, 0.0, 0.0))
    write_volume(tmp_path / "BraTS" / "shifted" / "shifted_t2.nii.gz", moved)
    write_patient("empty", "t1")
    black = images["t1"].with_array(np.zeros_like(images["t1"].array))
    write_volume(tmp_path / "BraTS" / "empty" / "empty_t1.nii.gz", black)
    assert prepare(tmp_path) == 2
    with (tmp_path / "out" / EXCLUSIONS).open(encoding="utf-8") as stream:
        found = {row["study"]: (row["reason"], row["detail"]) for row in csv.DictReader(stream)}
    assert {name: reason for name, (reason, _) in found.items()} | {"empty": ""} == {
        "lacking": "no MRI of the phase", "double": "in doubt", "shifted": "not on one grid", "empty": "",
    }
    assert "holds no T2w; end file names as BraTS does" in found["lacking"][1]
    assert "resample both onto one" in found["shifted"][1]
    assert "empty" in found
    capsys.readouterr()
    assert main(["prepare", str(tmp_path / "BraTS"), "-o", str(tmp_path / "out"), "--pairs", "ceT1:T2w"]) == 2
    assert "is of other files" in capsys.readouterr().err  # cases of two pairs do not mix


@pytest.mark.parametrize("text", ["T1w", "T1w:T1w", "T2w:T2w", "ioUS:T2w", "T1w:"])
def test_what_is_no_pair_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", str(tmp_path), "-o", str(tmp_path / "out"), "--pairs", text])
    assert f"{text} is no pair; write INPUT:TARGET" in capsys.readouterr().err


def test_every_ending_of_brats_is_known() -> None:
    assert {brats_role_of_name(f"BraTS-GLI-00001-000-{ending}") for ending in BRATS_ROLES} == set(BRATS_ROLES.values())
    assert brats_role_of_name("BraTS2021_00001") == "none"


def test_a_real_patient(brats: Path, tmp_path: Path) -> None:
    """The brain, not its box, is the foreground, and the tumour lies in it."""
    (tmp_path / "BraTS").mkdir()
    (tmp_path / "BraTS" / "BraTS2021_01481").symlink_to(brats / "BraTS2021_01481")
    assert prepare(tmp_path) == 0
    case = read_case(tmp_path / "out" / "BraTS2021_01481")
    given = read_volume(brats / "BraTS2021_01481" / "t1.nii.gz")
    assert case.parameters["fan_ml"] == pytest.approx((given.array > 0).sum() * given.voxel_volume_ml, rel=0.06)
    assert (case.fan.array[case.labels.array == 1] == 1).mean() > 0.99
    assert target_image(case, "T2w").max() <= 1
    assert [folder.name for folder in read_index(tmp_path / "out", "test")] == ["BraTS2021_01481"]


def test_slices_can_be_split_and_those_held_out_stay_whole(
    write_patient: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for number, name in enumerate(["BraTS2021_00001", sorted(HELD_OUT)[0]]):
        write_patient(name, seed=number)
    assert prepare(tmp_path, "--split", "slices", "--shares", "0.3", "0.3") == 0
    assert "slices of one patient are in several splits" in capsys.readouterr().out
    folders = {split: read_index(tmp_path / "out", split) for split in ("train", "validation", "test")}
    whole = read_case(tmp_path / "out" / "BraTS2021_00001")
    taken = []
    for split, found in folders.items():
        case = read_case(next(folder for folder in found if folder.name == f"BraTS2021_00001-{split}"))
        chosen = case.parameters["slices"]
        np.testing.assert_array_equal(case.images["T2w"].array, whole.images["T2w"].array[chosen])
        np.testing.assert_array_equal(case.labels.array, whole.labels.array[chosen])
        taken += chosen
    assert sorted(taken) == list(range(whole.fan.array.shape[0])), "each slice once"
    held_out = [folder.name for found in folders.values() for folder in found if "0148" in folder.name]
    assert held_out == [f"{sorted(HELD_OUT)[0]}-test"]


def test_min_max_scaling(write_patient: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    images = write_patient("BraTS2021_00001")
    assert prepare(tmp_path, "--scaling", "min-max") == 0
    case = read_case(tmp_path / "out" / "BraTS2021_00001")
    got, given = target_image(case, "T2w"), images["t2"].array.astype(float)
    inside = case.fan.array > 0
    np.testing.assert_allclose(np.sort(got[inside]), np.sort(2 * given[given > 0] / given.max() - 1), atol=2e-3)
    assert case.parameters["scaling"] == "min-max"
    assert prepare(tmp_path) == 2
    assert "was registered or scaled otherwise" in capsys.readouterr().err


def test_voxels_of_the_mean_size(write_patient: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Of 1 and 2 mm along z it is 1.5 mm; brain, tumour and grey values stay what they were, and a third file counts
    for nothing where its patient lacks a contrast."""
    images = write_patient("BraTS2021_00001")
    write_patient("BraTS2021_00003", "t1")
    folder = tmp_path / "BraTS" / "BraTS2021_00002"
    folder.mkdir()
    for ending, volume in images.items():
        thick = Volume(volume.array, (1.0, 1.0, 2.0), PLACE["origin"], PLACE["direction"])
        write_volume(folder / f"{folder.name}_{ending}.nii.gz", thick)
    assert prepare(tmp_path, "--voxels", "mean") == 2, "the third one could not be prepared"
    ball, tumour = ((images[name].array > 0).sum() / 1000 for name in ("t1", "seg"))
    for name, length in (("BraTS2021_00001", 1), ("BraTS2021_00002", 2)):
        case = read_case(tmp_path / "out" / name)
        volume_ml = case.fan.voxel_volume_ml
        np.testing.assert_allclose(case.fan.spacing, (1, 1, 1.5), atol=1e-6)
        np.testing.assert_allclose(case.parameters["spacing_mm"], (1, 1, 1.5), atol=1e-6)
        inside = case.fan.array > 0
        assert inside.sum() * volume_ml == pytest.approx(length * ball, rel=0.1)
        assert (case.labels.array == 1).sum() * volume_ml == pytest.approx(length * tumour, rel=0.3)
        for contrast in ("T1w", "T2w"):
            image = target_image(case, contrast)
            assert image[inside].mean() == pytest.approx(0, abs=0.03), "eq. 2 has the mean of the brain at 0"
            assert (image[~inside] == -1).all()
    capsys.readouterr()
    assert prepare(tmp_path) == 2
    assert "on another grid" in capsys.readouterr().err


@pytest.mark.parametrize("options", [("--split", "slices"), ("--scaling", "min-max"), ("--voxels", "mean")])
def test_what_is_for_mri_alone_needs_pairs(options: tuple, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["prepare", str(tmp_path), "-o", str(tmp_path / "out"), *options]) == 2
    assert "are for MRI alone; give --pairs" in capsys.readouterr().err


def test_what_is_no_share_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", str(tmp_path), "-o", str(tmp_path / "out"), "--shares", "0.25", "1"])
    assert "1 is no share; write a number between 0 and 1" in capsys.readouterr().err
