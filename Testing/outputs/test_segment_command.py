"""``iousynth segment``: three files a case, on synthetic MRI or the patient's own, with the rules of synthesize.

The tiny segmenter calls a cavity where T2w is bright, and a tumour where the ultrasound is.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from IoUSynthLib import cli
from IoUSynthLib.constants import LABELS
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.volume import Volume

FILES = ["case_segmentation.nii.gz", "case_report.json", "case.png"]


@pytest.fixture(autouse=True)
def _models(tiny_models):
    """Every test here uses the tiny models."""


def run(*arguments):
    return cli.main(["segment", *map(str, arguments)])


def ball(volume, centre, radius=6.0):
    """Voxels near a voxel (x, y, z)."""
    z, y, x = np.indices(volume.array.shape)
    return np.hypot(np.hypot(x - centre[0], y - centre[1]), z - centre[2]) < radius


@pytest.fixture
def mri_files(ultrasound, tmp_path):
    """T2w with a bright ball in an otherwise faintly textured brain, on a grid of its own, and FLAIR without."""
    texture = np.random.default_rng(0).uniform(190, 210, ultrasound.array.shape)
    for name, bright in (("T2w", ball(ultrasound, (36, 40, 20))), ("FLAIR", False)):
        image = ultrasound.with_array(np.where(bright, 900, texture).astype(np.float32))
        own = Volume(image.array[2:-2], image.spacing, tuple((image.ijk_to_lps @ [0, 0, 2, 1])[:3]), image.direction)
        write_volume(tmp_path / f"{name}.nrrd", own)
    return [f"{name}={tmp_path / name}.nrrd" for name in ("T2w", "FLAIR")]


def test_three_files_with_the_outlines_of_synthesize(ultrasound_file, tmp_path, capsys):
    assert run(ultrasound_file, "-o", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    printed = capsys.readouterr()
    assert f"case: wrote {', '.join(FILES)} in {tmp_path / 'out'}. Tumour" in printed.out
    assert cli.main(["synthesize", str(ultrasound_file), "-o", str(tmp_path / "all")]) == 0
    first, second = (read_volume(tmp_path / folder / FILES[0]) for folder in ("out", "all"))
    assert first.array.any()
    np.testing.assert_array_equal(first.array, second.array)
    assert first.same_grid(read_volume(ultrasound_file), 1e-5)
    report = json.loads((tmp_path / "out" / FILES[1]).read_text())
    assert report["files"] == FILES
    assert report["input"]["mri"] is None
    header = sitk.ReadImage(str(tmp_path / "out" / FILES[0])).GetMetaData("descrip")
    assert header.startswith("SYNTHETIC - NOT ACQUIRED; segmentation; ")
    assert "ious2mr-2.5d 0.0.1" in header


def test_the_patients_own_mri_is_what_is_outlined(ultrasound_file, ultrasound, mri_files, tmp_path):
    assert run(ultrasound_file, "-o", tmp_path / "plain") == 0
    assert run(ultrasound_file, "-o", tmp_path / "own", "--mri", *mri_files) == 0
    bright = ball(ultrasound, (36, 40, 20))
    shares = [
        (read_volume(tmp_path / folder / FILES[0]).array[bright] == LABELS["cavity"]).mean()
        for folder in ("plain", "own")
    ]
    assert shares[0] == 0
    assert shares[1] > 0.6
    report = json.loads((tmp_path / "own" / FILES[1]).read_text())
    assert list(report["input"]["mri"]) == ["T2w", "FLAIR"]
    assert report["expected_dice"] == {}, "that was measured on synthetic MRI"
    assert "(outlined on acquired T2w and FLAIR)" in report["summary"]
    header = sitk.ReadImage(str(tmp_path / "own" / FILES[0])).GetMetaData("descrip")
    assert header.startswith("SYNTHETIC - NOT ACQUIRED; segmentation; ")
    assert "lesion-3d 0.0.1" in header
    plain, wide = (sitk.ReadImage(str(tmp_path / folder / "case.png")).GetWidth() for folder in ("plain", "own"))
    assert wide > 1.3 * plain, "the acquired MRI stands beside the synthetic"


def test_a_contrast_that_is_not_given_is_synthesized(ultrasound_file, mri_files, tmp_path):
    assert run(ultrasound_file, "-o", tmp_path, "--mri", mri_files[1]) == 0
    report = json.loads((tmp_path / FILES[1]).read_text())
    assert list(report["input"]["mri"]) == ["FLAIR"]
    assert "(outlined on acquired FLAIR)" in report["summary"]


def test_outlines_end_where_the_mri_ends(ultrasound_file, ultrasound, mri_files, tmp_path, capsys):
    whole = read_volume(tmp_path / "T2w.nrrd")
    kept = whole.array.shape[0] * 6 // 10
    write_volume(tmp_path / "half.nrrd", Volume(whole.array[:kept], whole.spacing, whole.origin, whole.direction))
    assert run(ultrasound_file, "-o", tmp_path / "out", "--mri", f"T2w={tmp_path / 'half.nrrd'}") == 0
    assert "% of the ultrasound; nothing is outlined elsewhere" in capsys.readouterr().err
    labels = read_volume(tmp_path / "out" / FILES[0]).array
    assert labels[: kept + 2].any()
    assert not labels[kept + 4 :].any()


def test_what_is_complete_is_kept_and_what_is_less_is_not_taken_for_more(
    ultrasound_file, mri_files, tmp_path, capsys
):
    def state(*arguments):
        assert cli.main([*map(str, arguments), str(ultrasound_file), "-o", str(tmp_path)]) == 0
        return "is complete" if "is complete, --again makes it anew" in capsys.readouterr().out else "wrote"

    own = ["--mri", *mri_files, "--again"]
    assert state("segment") == "wrote"
    assert state("segment") == "is complete"
    assert state("segment", *own[:-1], "--json") == "wrote"
    assert state("synthesize") == "wrote", "a segmentation alone is no synthesis"
    assert state("segment") == "is complete", "a synthesis holds a segmentation"
    assert (tmp_path / "case_T2w.nii.gz").exists()
    assert state("segment", "--again") == "wrote"
    assert not (tmp_path / "case_T2w.nii.gz").exists(), "the report no longer says what it was made by"


def test_many_inputs_as_synthesize_does(ultrasound_file, ultrasound, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    write_volume(tmp_path / "in" / "a.nrrd", ultrasound)
    (tmp_path / "in" / "b.nrrd").write_text("no image")
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--json") == 2
    printed = capsys.readouterr()
    assert [report["input"]["file"] for report in json.loads(printed.out)] == ["a.nrrd"]
    assert printed.err.count("error: ") == 1
    assert "1 done, 1 failed" in printed.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.png", "a_report.json", "a_segmentation.nii.gz", "summary.csv",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["T1w=a.nrrd"], "T1w=a.nrrd is neither T2w=FILE nor FLAIR=FILE"),
        (["T2w="], "T2w= is neither"),
        (["T2w=a.nrrd", "T2w=b.nrrd"], "names a contrast twice"),
        (["T2w=none.nrrd"], "none.nrrd: no such file"),
        (["T2w=case.nrrd"], "T2w MRI: is the ultrasound itself"),
        (["T2w=far.nrrd"], "T2w MRI: the MRI covers only 0% of the ultrasound"),
        (["T2w=made_T2w.nii.gz"], "made_T2w.nii.gz: was made by IoUSynth, not acquired"),
    ],
)
def test_bad_mri_is_named_and_nothing_written(
    ultrasound_file, ultrasound, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    write_volume("far.nrrd", Volume(ultrasound.array + 5, ultrasound.spacing, (500, 0, 0), ultrasound.direction))
    write_volume("made_T2w.nii.gz", ultrasound, {"descrip": "SYNTHETIC - NOT ACQUIRED"})
    try:
        code = run(ultrasound_file, "-o", "out", "--mri", *arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
