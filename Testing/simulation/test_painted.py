"""Cavities in real volumes: what changes, what does not, and where the probe was."""

import numpy as np
import pytest

from IoUSynthLib.cases.case import UNLABELLED, read_case
from IoUSynthLib.cases.contact_sheet import CONTACT_SHEET
from IoUSynthLib.cases.index import read_index
from IoUSynthLib.cli import main
from IoUSynthLib.constants import LABELS, VOXEL_MM
from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.simulation.face import find_face
from IoUSynthLib.simulation.painted import Curve, paint_cavity
from IoUSynthLib.training.data import segmenter_volume
from IoUSynthLib.volume import InputError, Volume

SHAPE = (56, 60, 64)


@pytest.fixture(scope="module")
def real():
    """Speckle of level 30 in a box, with a bright band at the face, which looks along +y."""
    rng = np.random.default_rng(0)
    inside = np.zeros(SHAPE, bool)
    inside[6:50, 8:56, 6:58] = True
    image = np.clip(30 * rng.gamma(20, 1 / 20, SHAPE), 1, 200)
    image[:, 8:10] = 180
    return Volume((image * inside).astype(np.uint8), (0.8,) * 3), inside


def test_the_face_is_the_bright_side(real):
    volume, inside = real
    face = find_face(volume.array, inside, 0.8)
    assert face.direction == pytest.approx([0, 1, 0], abs=0.02)
    assert face.depth(SHAPE, 0.8)[:, 8].mean() == pytest.approx(0, abs=0.8)
    with pytest.raises(ValueError, match="no bright band"):
        find_face(np.zeros(SHAPE), inside, voxel=0.8)


def test_the_scanners_curve_is_undone():
    import torch

    curve = Curve(dynamic_range=70.0, tissue=0.5, gamma=2.5, white=200.0)
    grey = torch.tensor([1.0, 30.0, 120.0, 200.0])
    assert curve.grey(curve.decibel(grey)).tolist() == pytest.approx(grey.tolist(), rel=1e-4)
    assert curve.decibel(torch.tensor([200 * 0.5**2.5])).item() == pytest.approx(0, abs=1e-4)


def test_a_cavity_is_dark_with_a_bright_wall_and_enhancement_behind(real):
    volume, inside = real
    cases = (paint_cavity(volume, inside, seed=seed) for seed in range(30))
    case = next(case for case in cases if (case.labels.array > 0).sum() > 4000)
    before, after = volume.array.astype(float), case.images["ioUS"].array.astype(float)
    hollow = case.labels.array == 2
    assert np.median(after[hollow]) < 0.85 * np.median(before[hollow])
    assert not after[~inside].any()
    assert (after[inside] > 0).all()
    depth = np.indices(SHAPE)[1]
    columns = hollow.any(1)
    deepest = np.where(hollow, depth, -1).max(1)
    behind = inside & columns[:, None] & (depth > deepest[:, None] + 5)
    front = inside & ~columns[:, None] & (depth > 40)
    if behind.sum() > 200:
        assert np.median(after[behind]) > 1.02 * np.median(after[front])
    assert case.parameters["labelled"] == ["cavity"]
    again = paint_cavity(volume, inside, seed=case.parameters["seed"])
    assert np.array_equal(again.images["ioUS"].array, case.images["ioUS"].array)


@pytest.fixture(scope="module")
def files(real, tmp_path_factory):
    """The volume in the folders of four patients, on other voxels than the networks'."""
    folder = tmp_path_factory.mktemp("real")
    for patient in "abcd":
        (folder / patient).mkdir()
        write_volume(folder / patient / "us.nrrd", Volume(real[0].array, (0.7, 0.8, 0.9)))
    return folder


@pytest.fixture(scope="module")
def painted(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("painted") / "cohort"
    assert main(["paint", str(files), "-n", "4", "-o", str(folder), "--seed", "2"]) == 0
    return folder


def test_a_cohort_of_painted_volumes_is_read_back(painted):
    assert len(read_index(painted, "train")) == 3
    (folder,) = read_index(painted, "validation")
    case = read_case(folder)
    assert folder.name == "painted-0003"
    assert case.parameters["head"] == "d-us"
    assert set(case.images) == {"ioUS"}
    assert case.images["ioUS"].spacing == pytest.approx((VOXEL_MM,) * 3)
    assert (painted / CONTACT_SHEET).is_file()


def test_complete_cases_are_kept_and_those_of_others_refused(painted, files, capsys):
    before = (painted / "painted-0000" / "ioUS.mha").stat().st_mtime_ns
    assert main(["paint", str(files), "-n", "4", "-o", str(painted), "--seed", "2"]) == 0
    assert (painted / "painted-0000" / "ioUS.mha").stat().st_mtime_ns == before
    assert main(["paint", str(files), "-n", "4", "-o", str(painted), "--seed", "3"]) == 2
    assert "another seed" in capsys.readouterr().err


def test_volumes_that_cannot_be_told_apart_are_named(files, tmp_path, capsys):
    """One of the two was left out without a word."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "us.nrrd").write_bytes((files / "a" / "us.nrrd").read_bytes())
    assert main(["paint", str(files), str(tmp_path / "a"), "-n", "5", "-o", str(tmp_path / "out")]) == 2
    assert "us.nrrd: another volume has the same folder and name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_volume_that_is_too_small_is_named(tmp_path, capsys):
    array = np.zeros(SHAPE, np.uint8)
    array[20:28, 20:28, 20:28] = np.random.default_rng(0).integers(60, 200, (8, 8, 8))
    write_volume(tmp_path / "us.nrrd", Volume(array, (0.8,) * 3))
    assert main(["paint", str(tmp_path / "us.nrrd"), "-n", "1", "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "us.nrrd: the fan has no room for a cavity" in error
    assert "leave this volume out" in error


def test_a_segmenter_learns_only_the_cavity_of_them(painted):
    folder = read_index(painted, "train")[0]
    labels = read_case(folder).labels.array
    volume = segmenter_volume(folder, ("ioUS",))
    inside = volume.fan
    assert set(np.unique(volume.target[0][inside])) == {LABELS["cavity"], UNLABELLED}
    assert np.array_equal(volume.target[0] == LABELS["cavity"], (labels == LABELS["cavity"]) & inside)
    with pytest.raises(InputError, match="has no T2w to learn from; give synthetic MRI"):
        segmenter_volume(folder, ("ioUS", "T2w"))
