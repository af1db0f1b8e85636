"""``iousynth register`` from files to files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.phantom import displaced, displacement, field_of_view, head, points_of

from IoUSynthLib.cli import main
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.registration.command import guess_contrast
from IoUSynthLib.volume import Volume


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """us.nrrd, T2.nii.gz, FLAIR.nii.gz, pairs.tag and synthetic/, displaced by 7 mm."""
    folder = tmp_path_factory.mktemp("files")
    images = head()
    ultrasound, synthetic, fan = field_of_view(images)
    truth = displacement(4, 7)
    write_volume(folder / "us.nrrd", ultrasound)
    moving = displaced(images, truth)
    write_volume(folder / "T2.nii.gz", moving["T2w"])
    write_volume(folder / "FLAIR.nii.gz", moving["FLAIR"])
    (folder / "synthetic").mkdir()
    for name, image in synthetic.items():
        write_volume(folder / "synthetic" / f"us_{name}.nii.gz", image)
    fixed = points_of(fan, 5)
    mri = fixed @ truth[:3, :3].T + truth[:3, 3]
    lines = [" ".join(map(str, [*(a * (-1, -1, 1)), *(b * (-1, -1, 1))])) for a, b in zip(mri, fixed, strict=True)]
    (folder / "pairs.tag").write_text("MNI Tag Point File\nVolumes = 2;\nPoints =\n" + "\n".join(lines) + ";\n")
    return folder


@pytest.mark.usefixtures("few_voxels")
def test_files_are_written_and_say_what_was_found(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(files / "T2.nii.gz"), str(files / "us.nrrd"), "-o", str(tmp_path / "ToMRI.h5")]
    arguments += ["--also", str(files / "FLAIR.nii.gz"), "--synthetic", str(files / "synthetic")]
    assert main(["register", *arguments, "--landmarks", str(files / "pairs.tag"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ToMRI.h5", "ToMRI.png", "ToMRI_FLAIR.nii.gz", "ToMRI_T2w.nii.gz", "ToMRI_report.json",
    ]
    assert json.loads((tmp_path / "ToMRI_report.json").read_text()) == report
    assert report["verdict"] == "agrees"
    assert report["TRE"]["after"]["mean_mm"] < 0.5 < 5 < report["TRE"]["before"]["mean_mm"]
    point = (12.0, -20.0, 35.0)
    mapped = sitk.ReadTransform(str(tmp_path / "ToMRI.h5")).TransformPoint(point)
    np.testing.assert_allclose(mapped, (np.array(report["matrix_lps"]) @ [*point, 1])[:3], atol=1e-6)
    resampled = read_volume(tmp_path / "ToMRI_T2w.nii.gz")
    assert resampled.same_grid(read_volume(files / "us.nrrd"), 1e-3)
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "ToMRI.png")))
    assert picture.shape[2] == 3
    assert picture.std() > 20


@pytest.mark.parametrize(("output", "extra", "message"), [
    ("t.txt", [], "name it .h5 or .tfm"),
    ("t.tfm", ["--deformable"], "cannot hold a displacement field"),
    ("t.h5", ["--synthetic", "nowhere"], "is missing; synthesize"),
    ("t.h5", ["--landmarks", "one.tag"], "has 1 point"),
    ("t.h5", ["--also", "T2.nii.gz"], "looks like T2w"),
    ("t.h5", ["--also", "us.nrrd", "--contrast", "T1w"], "us.nrrd: is the ultrasound itself"),
    ("t.h5", ["--initial", "none.tfm"], "none.tfm: no such file"),
    ("t.h5", ["--initial", "one.tag"], "one.tag: is no transform that ITK can read"),
    ("t.h5", ["--initial", "bent.h5"], "bent.h5: is not a rigid or affine transform"),
    ("t.h5", ["--initial", "mirror.tfm"], "mirror.tfm: mirrors or flattens"),
])
def test_bad_input_is_one_line_and_leaves_nothing(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str, extra: list[str], message: str
) -> None:
    sitk.WriteTransform(sitk.AffineTransform(np.diag([-1.0, 1, 1]).ravel().tolist(), (0, 0, 0)), files / "mirror.tfm")
    bent = sitk.DisplacementFieldTransform(sitk.Image([4] * 3, sitk.sitkVectorFloat64))
    sitk.WriteTransform(bent, files / "bent.h5")
    (files / "one.tag").write_text("MNI Tag Point File\nVolumes = 2;\nPoints =\n 1 2 3 4 5 6;\n")
    extra = [str(files / word) if "." in word or word == "nowhere" else word for word in extra]
    code = main(["register", str(files / "T2.nii.gz"), str(files / "us.nrrd"), "-o", str(tmp_path / output), *extra])
    errors = capsys.readouterr().err
    assert code == 2
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [
    lambda image: image,
    lambda image: sitk.Resample(image, [60, 50, 40], sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), [2.0] * 3,
                                image.GetDirection()),
    lambda image: sitk.Cast(image * 3 + 1, sitk.sitkFloat32),
], ids=["copy", "resampled", "rescaled"])  # fmt: skip
def test_the_ultrasound_is_no_mri(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change) -> None:
    """Registered to itself it agreed, with 15 mm of error."""
    mri = tmp_path / "preop_T2w.nrrd"
    sitk.WriteImage(change(sitk.ReadImage(files / "us.nrrd")), mri)
    assert main(["register", str(mri), str(files / "us.nrrd"), "-o", str(tmp_path / "out" / "t.h5")]) == 2
    assert "preop_T2w.nrrd: is the ultrasound itself, not a preoperative MRI" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [mri]


def test_a_synthetic_image_is_no_mri(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mri = tmp_path / "us_T2w.nii.gz"
    write_volume(mri, read_volume(files / "T2.nii.gz"), {"descrip": "SYNTHETIC - NOT ACQUIRED; T2w"})
    assert main(["register", str(mri), str(files / "us.nrrd"), "-o", str(tmp_path / "t.h5")]) == 2
    assert "us_T2w.nii.gz: was made by IoUSynth, not acquired; give" in capsys.readouterr().err


@pytest.mark.usefixtures("few_voxels")
def test_an_initial_transform_bridges_what_the_search_cannot(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the direction of what is written: from points of the ultrasound to those of the MRI, here 400 mm away."""
    mri = read_volume(files / "T2.nii.gz")
    origin = np.add(mri.origin, (400, 0, 0))
    write_volume(tmp_path / "far_T2.nii.gz", Volume(mri.array, mri.spacing, tuple(origin), mri.direction))
    lines = (files / "pairs.tag").read_text().splitlines()
    first = " ".join([str(float(lines[3].split()[0]) - 400), *lines[3].split()[1:]])  # RAS
    (tmp_path / "pairs.tag").write_text("\n".join([*lines[:3], first, *lines[4:]]))
    arguments = ["register", str(tmp_path / "far_T2.nii.gz"), str(files / "us.nrrd"), "-o", str(tmp_path / "t.h5")]
    arguments += ["--synthetic", str(files / "synthetic"), "--json"]
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "far_T2.nii.gz" in error
    assert "do not overlap" in error
    assert "--initial" in error
    start = sitk.Euler3DTransform((0, 0, 0), 0, 0, 0.03, (401, 2, -1))
    sitk.WriteTransform(sitk.CompositeTransform([start]), tmp_path / "start.tfm")
    assert main([*arguments, "--initial", str(tmp_path / "start.tfm")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["initial"] == "start.tfm"
    assert report["verdict"] == "agrees"
    found = sitk.ReadTransform(tmp_path / "t.h5")
    truth = displacement(4, 7)
    points = points_of(read_volume(files / "us.nrrd"))
    mapped = np.array([found.TransformPoint(point) for point in points.tolist()])
    expected = points @ truth[:3, :3].T + truth[:3, 3] + (400, 0, 0)
    assert np.linalg.norm(mapped - expected, axis=1).mean() < 1


def test_contrast_is_guessed_by_the_name() -> None:
    assert guess_contrast(Path("sub-01_FLAIR.nii.gz")) == "FLAIR"
    assert guess_contrast(Path("3DAXT2SPACE.nrrd")) == "T2w"
    assert guess_contrast(Path("T1_postcontrast.nii")) == "T1w"
    assert guess_contrast(Path("brain.mha")) == "MRI"
    assert guess_contrast(Path("subject2_T1.nii.gz")) == "T1w"
    assert guess_contrast(Path("subject2.nii.gz")) == "MRI"
    assert guess_contrast(Path("preop t2.nrrd")) == "T2w"
    assert guess_contrast(Path("t2_tirm_tra_dark-fluid.nii")) == "FLAIR"
    assert guess_contrast(Path("T2star.nii")) == "MRI"
