"""``iousynth synthesize --preoperative``: MRI as second input by the command line, its report and its picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from support.noise import speckle
from support.pictures import contains
from support.tiny_models import WITH_MRI, mri_generator_network, write_bundle

from IoUSynthLib import cli
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.outputs.case_files import is_synthetic
from IoUSynthLib.outputs.contribution_picture import draw_contribution
from IoUSynthLib.outputs.drawing import LARGE, WARNING, Text
from IoUSynthLib.pipeline import synthesize
from IoUSynthLib.synthesis.preoperative import Preoperative, image_sha256
from IoUSynthLib.volume import Volume

SHIFT = (40.0, -25.0, 10.0)


@pytest.fixture(scope="module")
def models(tiny_bundles, tmp_path_factory):
    """The tiny models, and two that read MRI: one as it should, and one that changes too much."""
    folder = tmp_path_factory.mktemp("models")
    for name, gain in (("with-mri", 0.05), ("loud", 0.4)):
        write_bundle(folder / name, mri_generator_network(gain), **WITH_MRI)
    return folder


@pytest.fixture(autouse=True)
def found(tiny_bundles, models, monkeypatch):
    monkeypatch.setenv("IOUSYNTH_MODELS", f"{models}:{tiny_bundles}")


@pytest.fixture
def mri(ultrasound):
    """T2w and FLAIR as a scanner gives them, in a frame of their own, off by SHIFT."""
    rng, images = np.random.default_rng(5), {}
    for name in ("T2w", "FLAIR"):
        array = 300 * (0.4 + speckle(rng, (40, 40, 40)))
        middle = (ultrasound.ijk_to_lps @ [*(np.array(ultrasound.size) / 2), 1.0])[:3]
        origin = middle + SHIFT - 1.2 * np.array([19.5, 19.5, 19.5])
        images[name] = Volume(array.astype(np.float32), (1.2, 1.2, 1.2), tuple(origin))
    return images


@pytest.fixture
def files(mri, tmp_path):
    """The images as files, and the transform as iousynth register writes it."""
    for name, image in mri.items():
        write_volume(tmp_path / f"{name}.nrrd", image)
    sitk.WriteTransform(transform(), str(tmp_path / "to-today.h5"))
    return tmp_path


def transform():
    return sitk.TranslationTransform(3, SHIFT)


def arguments(files, *, model="with-mri", registration=True):
    entries = ["--preoperative", f"T2w={files / 'T2w.nrrd'}", f"FLAIR={files / 'FLAIR.nrrd'}"]
    registered = ["--registration", str(files / "to-today.h5")] if registration else []
    return ["synthesize", str(files / "case.nrrd"), "-o", str(files / "out"), "--model", model, *entries, *registered]


def report_of(files):
    return json.loads((files / "out" / "case_report.json").read_text())


def test_the_files_are_of_ultrasound_and_mri(ultrasound_file, ultrasound, files, mri, models, capsys):
    assert cli.main(arguments(files)) == 0
    captured = capsys.readouterr()
    report = report_of(files)
    assert "case_contribution.png" in report["files"]
    assert "; with preoperative T2w and FLAIR, which changed the images by " in captured.out
    described = report["input"]["preoperative_mri"]
    assert {name: entry["name"] for name, entry in described["images"].items()} == {
        "T2w": "T2w.nrrd", "FLAIR": "FLAIR.nrrd",
    }  # fmt: skip
    assert described["images"]["FLAIR"]["sha256"] == image_sha256(mri["FLAIR"])
    assert described["transform"]["name"] == "to-today.h5"
    assert np.array(described["transform"]["ultrasound_to_mri_lps"])[:3, 3].tolist() == list(SHIFT)
    expected = synthesize(ultrasound, models / "with-mri", preoperative=Preoperative(mri, transform()))
    written = read_volume(files / "out" / "case_T2w.nii.gz")
    np.testing.assert_array_equal(written.array, expected.images["T2w"].array)
    assert is_synthetic(files / "out" / "case_contribution.png")


def test_the_same_mri_and_transform_are_not_worked_on_again(ultrasound_file, files, capsys):
    assert cli.main(arguments(files)) == 0
    capsys.readouterr()
    assert cli.main(arguments(files)) == 0
    assert "is complete" in capsys.readouterr().out
    sitk.WriteTransform(sitk.TranslationTransform(3, np.add(SHIFT, 1.0).tolist()), str(files / "to-today.h5"))
    assert cli.main(arguments(files)) == 0
    assert "wrote" in capsys.readouterr().out


def test_the_picture_of_a_contribution_goes_with_it(ultrasound_file, files):
    assert cli.main(arguments(files)) == 0
    assert cli.main(["synthesize", str(files / "case.nrrd"), "-o", str(files / "out"), "--model", "with-mri"]) == 0
    assert report_of(files)["contribution"] is None
    assert not (files / "out" / "case_contribution.png").exists()


def test_without_its_registration_this_mri_is_elsewhere(ultrasound_file, files, capsys):
    assert cli.main(arguments(files, registration=False)) == 0
    report = report_of(files)
    assert not report["contribution"]["used"]
    assert "case_contribution.png" not in report["files"]
    said = "warning: the preoperative MRI was not used, the images are of ultrasound alone: the T2w MRI covers only"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("verdict", "warned"), [("agrees", 0), ("doubtful", 1)])
def test_the_verdict_beside_a_transform_is_told(verdict, warned, ultrasound_file, files, capsys):
    (files / "to-today_report.json").write_text(json.dumps({"verdict": verdict}))
    assert cli.main(arguments(files)) == 0
    said = f"warning: the registration of the preoperative MRI is {verdict} (to-today_report.json)"
    assert capsys.readouterr().err.count(said) == warned


def test_images_that_change_too_much_are_not_the_result(ultrasound_file, ultrasound, files, models):
    assert cli.main(arguments(files, model="loud")) == 0
    report = report_of(files)
    assert not report["contribution"]["used"]
    assert "is it registered, and of this patient?" in report["contribution"]["why_not"]
    assert "case_contribution.png" in report["files"]
    alone = synthesize(ultrasound, models / "loud")
    np.testing.assert_array_equal(read_volume(files / "out" / "case_T2w.nii.gz").array, alone.images["T2w"].array)


WRONG = {
    "not read": (
        ["--preoperative", "T2w=T2w.nrrd", "--model", "ious2mr-2.5d"],
        "T2w MRI: ious2mr-2.5d reads ultrasound alone; choose a model",
    ),
    "unknown": (["--preoperative", "PD=x.nrrd"], "--preoperative PD=x.nrrd: is neither T2w=MRI nor FLAIR=MRI nor ceT1"),
    "twice": (["--preoperative", "T2w=a", "T2w=b"], "--preoperative T2w=b: names T2w twice; give each contrast once"),
    "two shown": (["--preoperative", "a.nrrd", "b.nrrd"], "--preoperative b.nrrd: one MRI is shown; name its contrast"),
    "alone": (["--registration", "r.h5"], "--registration r.h5: says where MRI lies; give that, as --preoperative T2w"),
    "no file": (["--preoperative", "T2w=none.nrrd", "--model", "with-mri"], "none.nrrd: no such file"),
    "no transform": (
        ["--model", "with-mri", "--preoperative", "T2w=T2w.nrrd", "--registration", "T2w.nrrd"],
        "T2w.nrrd: is no transform that ITK can read",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_used_is_refused_at_once(wrong, ultrasound_file, files, monkeypatch, capfd):
    monkeypatch.chdir(files)
    options, said = WRONG[wrong]
    assert cli.main(["synthesize", "case.nrrd", "-o", "out", *options]) == 2
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {said}")
    assert not (files / "out").exists()


def test_an_mri_is_shown_beside_those_for_the_model(ultrasound_file, files):
    assert cli.main([*arguments(files), "--preoperative", f"T2w={files / 'T2w.nrrd'}", str(files / "FLAIR.nrrd")]) == 0
    report = report_of(files)
    assert report["contribution"]["contrasts"] == ["T2w"]
    assert report["input"]["preoperative_sha256"]


def test_the_picture_shows_both_and_marks_where_they_disagree(ultrasound, mri, models):
    pictures = {}
    for model in ("with-mri", "loud"):
        given = Preoperative(mri, transform())
        result = synthesize(ultrasound, models / model, preoperative=given)
        picture = pictures[model] = draw_contribution(ultrasound, result, preoperative=given, name="case")
        for title in ("ioUS", "Preop. T2w", "Preop. FLAIR", "T2w, ioUS alone", "FLAIR, with MRI", "Difference"):
            assert contains(picture, Text(title, LARGE)), title
        assert contains(picture, Text("SYNTHETIC, the result", colour=WARNING))
        marked = (picture == (255, 80, 220)).all(axis=-1).sum()
        disagreeing = result.report["contribution"]["disagreeing_ml"]
        assert (marked > 300) == (disagreeing > 0)  # the swatch of the legend alone is smaller
        said = Text("MRI not used: with it the images change more than is believed.", colour=WARNING)
        assert contains(picture, said) == (model == "loud")
