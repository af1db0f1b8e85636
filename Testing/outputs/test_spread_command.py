"""``iousynth synthesize --samples``: what of several samples is written, drawn, exported and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.pictures import contains
from support.tiny_models import drawing_network, write_bundle

from IoUSynthLib import cli
from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.outputs.drawing import LARGE, Text
from IoUSynthLib.outputs.picture import draw_picture
from IoUSynthLib.pipeline import synthesize


@pytest.fixture(autouse=True)
def models(tiny_bundles, tmp_path, monkeypatch):
    """The tiny models, and one that draws."""
    write_bundle(
        tmp_path / "models" / "vae", drawing_network(), outputs=["T2w", "FLAIR"], draws=True, temperature=0.5
    )
    monkeypatch.setenv("IOUSYNTH_MODELS", f"{tmp_path / 'models'}:{tiny_bundles}")


@pytest.fixture
def run(ultrasound_file, tmp_path, capsys):
    """Return a function that runs the command, and what it printed."""

    def command(*options, model="vae"):
        capsys.readouterr()
        code = cli.main(["synthesize", str(ultrasound_file), "-o", str(tmp_path / "out"), "--model", model, *options])
        return code, capsys.readouterr()

    return command


def image(tmp_path, kind):
    return read_volume(tmp_path / "out" / f"case_{kind}.nii.gz")


def test_the_files_are_those_of_the_samples(run, ultrasound, tmp_path):
    code, printed = run("--samples", "4", "--seed", "7", "--temperature", "0.3")
    assert code == 0
    expected = synthesize(ultrasound, "vae", samples=4, seed=7, temperature=0.3)
    assert expected.report["spread"]["temperature"] == 0.3
    report = json.loads((tmp_path / "out" / "case_report.json").read_text())
    assert report["spread"] == expected.report["spread"]
    assert (report["samples"], report["seed"], report["temperature"]) == (4, 7, 0.3)
    assert " of 4 samples (seed 7), samples differ by " in printed.out
    np.testing.assert_array_equal(image(tmp_path, "spread").array, expected.spread.deviation.array)
    np.testing.assert_array_equal(image(tmp_path, "frequency").array, expected.spread.frequency.array)
    np.testing.assert_array_equal(image(tmp_path, "T2w").array, expected.images["T2w"].array)
    assert {"case_spread.nii.gz", "case_frequency.nii.gz"} <= set(report["files"])


def test_the_same_samples_are_not_drawn_again(run, tmp_path):
    samples = ("--samples", "2", "--temperature", "0.3")
    assert "wrote" in run(*samples)[1].out
    assert "is complete" in run(*samples)[1].out
    assert "wrote" in run(*samples, "--seed", "1")[1].out
    assert "wrote" in run()[1].out
    assert not list((tmp_path / "out").glob("*spread*")), "nothing of another run is left"


def test_as_dicom(run, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    assert run("--samples", "3")[0] == 0
    images = [str(tmp_path / "out" / f"case_{kind}.nii.gz") for kind in ("T2w", "spread", "frequency")]
    assert cli.main(["export-dicom", *images, "-o", str(tmp_path / "dicom")]) == 0
    for kind, tolerance in (("spread", 1e-4), ("frequency", 0.0)):
        written, wanted = read_volume(tmp_path / "dicom" / f"case_{kind}"), image(tmp_path, kind)
        values = (np.sort(one.array, None) for one in (written, wanted))  # whichever slice comes first
        np.testing.assert_allclose(*values, atol=tolerance)
    header = pydicom.dcmread(tmp_path / "dicom" / "case_T2w" / "0001.dcm")
    assert "Of 3 samples (seed 0). Not an acquired image" in header.DerivationDescription


def test_the_picture_shows_how_samples_differ(ultrasound):
    drawn, plain = (draw_picture(ultrasound, synthesize(ultrasound, "vae", samples=count)) for count in (3, 0))
    for title in ("Spread", "Tumour in samples"):
        assert contains(drawn, Text(title, LARGE))
        assert not contains(plain, Text(title, LARGE))


WRONG = {
    "draws nothing": (("--samples", "4"), "ious2mr-2.5d", "samples 4: ious2mr-2.5d draws nothing, all would be alike"),
    "too many": (("--samples", "17"), "vae", "samples 17: must be from 1 to 16"),
    "no samples": (("--seed", "3"), "vae", "--seed: is of samples; say how many with --samples, or leave it out"),
    "no number": (("--samples", "2", "--temperature", "nan"), "vae", "temperature nan: must be from 0 to 2"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_drawn_is_refused_at_once(wrong, run, tmp_path):
    options, model, said = WRONG[wrong]
    code, printed = run(*options, model=model)
    assert code == 2
    assert printed.err.startswith(f"error: {said}")
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
