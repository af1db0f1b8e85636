"""``iousynth synthesize``: six files, all or none, and one line with cause and remedy for everything that is wrong."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from IoUSynthLib import cli
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.volume import Volume

ROOT = Path(__file__).resolve().parents[2]
FILES = ["T2w.nii.gz", "FLAIR.nii.gz", "uncertainty.nii.gz", "segmentation.nii.gz", "report.json"]


@pytest.fixture(autouse=True)
def _models(tiny_models):
    """Every test here uses the tiny models."""


def test_six_files_that_say_synthetic(ultrasound_file, tmp_path, capsys):
    output = tmp_path / "deep" / "out"
    assert cli.main(["synthesize", str(ultrasound_file), "-o", str(output)]) == 0
    assert {path.name for path in output.iterdir()} == {f"case_{name}" for name in FILES} | {"case.png"}
    given = read_volume(ultrasound_file)
    for name in FILES[:4]:
        image = sitk.ReadImage(str(output / f"case_{name}"))
        assert image.GetMetaData("descrip").startswith("SYNTHETIC - NOT ACQUIRED; ")
        assert "ious2mr-2.5d 0.0.1" in image.GetMetaData("descrip")
        assert Volume.from_sitk(image).same_grid(given, 1e-5)
    report = json.loads((output / "case_report.json").read_text())
    assert report["input"]["file"] == "case.nrrd"
    assert report["seconds"]["total"] >= report["seconds"]["reading"] > 0
    captured = capsys.readouterr()
    stages = ["reading", "checking", "preparing", "synthesizing", "segmenting", "finishing"]
    assert captured.err.splitlines() == [f"case: {stage} ..." for stage in stages]
    assert captured.out.count("\n") == 1
    assert "case_T2w.nii.gz" in captured.out
    assert report["summary"] in captured.out


def test_a_model_that_gives_less_leaves_nothing_of_an_earlier_one(ultrasound_file, tmp_path, capsys):
    """T2w alone, without its error: what the default model has left of the case goes, an acquired image does not."""
    output = tmp_path / "out"
    assert cli.main(["synthesize", str(ultrasound_file), "-o", str(output)]) == 0
    write_volume(output / "other_FLAIR.nii.gz", read_volume(ultrasound_file))
    shutil.copy(output / "other_FLAIR.nii.gz", output / "case_FLAIR.nii.gz")
    capsys.readouterr()
    arguments = ["synthesize", str(ultrasound_file), "-o", str(output), "--model", "published-2d"]
    assert cli.main(arguments) == 0
    written = ["case_T2w.nii.gz", "case_segmentation.nii.gz", "case_report.json", "case.png"]
    captured = capsys.readouterr()
    assert f"case: wrote {', '.join(written)} in {output}. Tumour" in captured.out
    assert "expected error not estimated: published-2d does not predict its own error" in captured.out
    acquired = {"case_FLAIR.nii.gz", "other_FLAIR.nii.gz"}
    assert {path.name for path in output.iterdir()} == {*written, *acquired}
    headers = [sitk.ReadImage(str(output / name)).GetMetaData("descrip") for name in written[:2]]
    assert "published-2d 0.0.1" in headers[0]
    assert "ious2mr-2.5d 0.0.1" in headers[1], "whose images the outlines were made on"


def test_the_grid_of_the_patients_mri(ultrasound_file, ultrasound, tmp_path, capsys):
    """Stored as sagittal slices; --preoperative serves where --mri is not given."""
    direction = ultrasound.direction[:, [1, 2, 0]]
    middle = ultrasound.ijk_to_lps @ [*(np.array(ultrasound.size) / 2), 1.0]
    origin = middle[:3] - direction @ (np.array([2.0, 2.0, 2.5]) * 15)
    voxels = np.random.default_rng(0).random((30, 30, 30)) + 1
    write_volume(tmp_path / "mri.nii.gz", Volume(voxels, (2, 2, 2.5), origin, direction))
    for option in ("--mri", "--preoperative"):
        arguments = ["synthesize", str(ultrasound_file), "-o", str(tmp_path / "out"), "--model", "published-2d"]
        assert cli.main([*arguments, option, str(tmp_path / "mri.nii.gz"), "--json"]) == 0
        captured = capsys.readouterr()
        assert "warning" not in captured.err
        grid = json.loads(captured.out)["grid"]
        assert grid["axes"] == "preoperative MRI"
        assert np.allclose(grid["spacing_mm"], [2.5, 2, 2])
    assert cli.main([*arguments, "--mri", str(tmp_path / "none.nrrd")]) == 2
    assert "none.nrrd: no such file" in capsys.readouterr().err


def test_json(ultrasound_file, tmp_path, capsys):
    assert cli.main(["synthesize", str(ultrasound_file), "-o", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["name"] == "ious2mr-2.5d"


def test_running_again_replaces_the_files(ultrasound_file, tmp_path):
    for _ in range(2):
        assert cli.main(["synthesize", str(ultrasound_file), "-o", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_what_was_made_here_is_no_input(ultrasound_file, tmp_path, capfd):
    """As the panel refuses it; its images looked like ultrasound and were made into others without a word."""
    assert cli.main(["synthesize", str(ultrasound_file), "-o", str(tmp_path / "out")]) == 0
    capfd.readouterr()
    made, again = str(tmp_path / "out" / "case_T2w.nii.gz"), str(tmp_path / "again")
    for arguments in ([made], [str(ultrasound_file), "--preoperative", made]):
        code = cli.main(["synthesize", *arguments, "-o", again])
        expect_one_line(code, capfd.readouterr(), f"{made}: was made by IoUSynth, not acquired; give")
    assert not (tmp_path / "again").exists()


def test_an_mri_is_processed_with_a_warning(tmp_path, capsys):
    z, y, x = np.mgrid[:40, :40, :40]
    write_volume(tmp_path / "head.nrrd", Volume((300 + 40 * np.sin(x + y + z)).astype(np.float32)))
    assert cli.main(["synthesize", str(tmp_path / "head.nrrd"), "-o", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "head: warning: The input does not look like ultrasound" in captured.err
    assert "2 warnings" in captured.out


def test_colour_leaves_a_note(ultrasound, tmp_path):
    colour = np.repeat(ultrasound.array.astype(np.uint8)[..., None], 3, axis=-1)
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "colour.mha"))
    assert cli.main(["synthesize", str(tmp_path / "colour.mha"), "-o", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "colour_report.json").read_text())
    assert "luminance" in report["notes"][0]


def test_a_file_that_was_cut_off_is_refused_and_nothing_written(ultrasound, tmp_path, capsys):
    file = tmp_path / "cut.nii.gz"
    write_volume(file, ultrasound)
    file.write_bytes(file.read_bytes()[:-2000])
    assert cli.main(["synthesize", str(file), "-o", str(tmp_path / "out")]) == 2
    assert f"{file}: is damaged: its compressed voxels end early; copy" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_second_placement_reaches_screen_summary_and_report(ultrasound, tmp_path, capsys):
    file = tmp_path / "twice.nii"
    write_volume(file, ultrasound)
    content = bytearray(file.read_bytes())
    struct.pack_into("<2h", content, 252, 1, 2)  # aligned to something: the qform is taken
    struct.pack_into("<f", content, 292, struct.unpack_from("<f", content, 292)[0] + 30)  # the sform's shift along x
    file.write_bytes(bytes(content))
    assert cli.main(["synthesize", str(file), "-o", str(tmp_path / "out")]) == 0
    captured, report = capsys.readouterr(), json.loads((tmp_path / "out" / "twice_report.json").read_text())
    assert "warning: The file places the image twice: taken was the qform" in captured.err
    assert "30.0 mm elsewhere" in captured.err
    assert "1 warning" in captured.out
    assert any("30.0 mm elsewhere" in warning for warning in report["warnings"])


def test_a_background_that_is_not_0_changes_nothing_and_is_noted(ultrasound, tmp_path):
    for name, volume in {"plain": ultrasound, "offset": ultrasound.with_array(ultrasound.array + 32)}.items():
        write_volume(tmp_path / f"{name}.nrrd", volume)
        assert cli.main(["synthesize", str(tmp_path / f"{name}.nrrd"), "-o", str(tmp_path / "out")]) == 0
    plain, offset = (json.loads((tmp_path / "out" / f"{name}_report.json").read_text()) for name in ("plain", "offset"))
    assert offset["notes"] == ["The background of the image is 32, not 0; 32 was subtracted."]
    assert offset["quality"]["fan_ml"] == plain["quality"]["fan_ml"]
    assert offset["volumes_ml"] == pytest.approx(plain["volumes_ml"], abs=0.01)
    assert offset["warnings"] == plain["warnings"]


def test_one_bad_file_does_not_stop_the_rest(ultrasound_file, tmp_path, capsys):
    broken = tmp_path / "broken.nrrd"
    broken.write_text("no image")
    shutil.copy(ultrasound_file, tmp_path / "second.nrrd")
    inputs = [str(ultrasound_file), str(broken), str(tmp_path / "second.nrrd")]
    assert cli.main(["synthesize", *inputs, "-o", str(tmp_path / "out")]) == 2
    assert len(list((tmp_path / "out").iterdir())) == 13, "six files of each, and the summary"
    captured = capsys.readouterr()
    assert captured.out.count("wrote") == 2
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert str(broken) in errors[0]


def test_results_never_overwrite_each_other_or_an_input(ultrasound_file, tmp_path, capsys):
    other = ultrasound_file.with_suffix(".mha")
    assert cli.main(["synthesize", str(ultrasound_file), str(other), "-o", str(tmp_path / "out")]) == 2
    assert "same name" in capsys.readouterr().err
    shutil.copy(ultrasound_file, tmp_path / "in.nrrd")
    write_volume(tmp_path / "in_T2w.nii.gz", read_volume(ultrasound_file))
    inputs = [str(tmp_path / "in.nrrd"), str(tmp_path / "in_T2w.nii.gz")]
    assert cli.main(["synthesize", *inputs, "-o", str(tmp_path)]) == 2
    assert "would be overwritten" in capsys.readouterr().err


def volume_file(change):
    def make(folder: Path, volume: Volume) -> Path:
        path = folder / "bad.nrrd"
        write_volume(path, change(volume))
        return path

    return make


def text_file(name: str, content: str):
    def make(folder: Path, volume: Volume) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return make


def four_dimensional(folder: Path, volume: Volume) -> Path:
    sitk.WriteImage(sitk.JoinSeries([volume.to_sitk()] * 2), str(folder / "bad.nii"))
    return folder / "bad.nii"


def with_header(old: str, new: str):
    """Change the header of a MetaImage that is otherwise fine."""

    def make(folder: Path, volume: Volume) -> Path:
        path = folder / "bad.mha"
        sitk.WriteImage(Volume(volume.array).to_sitk(), str(path), useCompression=False)
        content = path.read_bytes()
        assert old.encode() in content
        path.write_bytes(content.replace(old.encode(), new.encode()))
        return path

    return make


def with_voxel(value: float):
    def change(volume: Volume) -> Volume:
        array = volume.array.copy()
        array[20, 20, 20] = value
        return volume.with_array(array)

    return volume_file(change)


BAD = {
    "missing file": (lambda folder, volume: folder / "bad.nrrd", "no such file"),
    "not an image": (text_file("bad.nrrd", "hello"), "not an image"),
    "a text file": (text_file("bad.txt", "hello"), "not an image"),
    "empty volume": (volume_file(lambda v: v.with_array(np.zeros_like(v.array))), "is empty"),
    "constant volume": (volume_file(lambda v: v.with_array(np.full_like(v.array, 7))), "every voxel is 7"),
    "NaN": (with_voxel(np.nan), "NaN or infinite"),
    "infinity": (with_voxel(np.inf), "NaN or infinite"),
    "single slice": (volume_file(lambda v: Volume(v.array[20:21], v.spacing)), "single slice"),
    "4D": (four_dimensional, "is 4D"),
    "zero spacing": (with_header("ElementSpacing = 1 1 1", "ElementSpacing = 1 1 0"), "spacing of zero"),
    "sheared": (with_header("TransformMatrix = 1 0 0 0", "TransformMatrix = 1 0 0 .3"), "sheared axes"),
    "empty folder": (lambda folder, volume: (folder / "bad").mkdir() or folder / "bad", "no DICOM series"),
}


def expect_one_line(code: int, captured, *words: str) -> None:
    assert code == 2
    assert captured.out == ""
    errors = [line for line in captured.err.splitlines() if not line.endswith(" ...")]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    for word in words:
        assert word in errors[0]


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, ultrasound, tmp_path, capfd):
    make, cause = BAD[name]
    path = make(tmp_path, ultrasound)
    code = cli.main(["synthesize", str(path), "-o", str(tmp_path / "out")])
    expect_one_line(code, capfd.readouterr(), str(path), cause, ";")
    assert not (tmp_path / "out").exists()


def test_preoperative_mri_of_somewhere_else(ultrasound_file, ultrasound, tmp_path, capsys):
    for shift, warnings in ((0.0, 0), (500.0, 1)):
        origin = (ultrasound.origin[0] + shift, *ultrasound.origin[1:])
        mri = Volume(ultrasound.array + 5, ultrasound.spacing, origin, ultrasound.direction)
        write_volume(tmp_path / "mri.nii.gz", mri)
        arguments = ["synthesize", str(ultrasound_file), "-o", str(tmp_path / "out")]
        assert cli.main([*arguments, "--preoperative", str(tmp_path / "mri.nii.gz")]) == 0
        assert capsys.readouterr().err.count("does not cover the ultrasound") == warnings


def test_bad_preoperative_mri(ultrasound_file, tmp_path, capfd):
    arguments = ["synthesize", str(ultrasound_file), "-o", str(tmp_path / "out"), "--preoperative", "none.nrrd"]
    expect_one_line(cli.main(arguments), capfd.readouterr(), "none.nrrd: no such file")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_output_folder_that_cannot_be_written(below, ultrasound_file, tmp_path, capfd):
    """Below a file even root cannot write."""
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / below
    expect_one_line(
        cli.main(["synthesize", str(ultrasound_file), "-o", str(output)]),
        capfd.readouterr(),
        str(output),
        "cannot be written",
        "choose another output folder",
    )
    assert (tmp_path / "file").read_text() == ""


def test_failure_while_writing_leaves_nothing(ultrasound_file, tmp_path, capfd, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("IoUSynthLib.outputs.picture.write_picture", fail)
    code = cli.main(["synthesize", str(ultrasound_file), "-o", str(tmp_path / "new" / "out")])
    expect_one_line(code, capfd.readouterr(), "No space left")
    assert not (tmp_path / "new").exists()


def test_checksum_that_does_not_match(tiny_bundles, ultrasound_file, tmp_path, capfd):
    model = shutil.copytree(tiny_bundles / "ious2mr-2.5d", tmp_path / "changed")
    with open(model / "models" / "model.onnx", "ab") as stream:
        stream.write(b"\0")
    code = cli.main(["synthesize", str(ultrasound_file), "-o", str(tmp_path / "out"), "--model", str(model)])
    expect_one_line(code, capfd.readouterr(), "checksum does not match", "install the model changed again")
    assert not (tmp_path / "out").exists()


def test_onnxruntime_that_is_not_installed(ultrasound_file, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("IoUSynthLib.inference.session._sessions", {})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code = cli.main(["synthesize", str(ultrasound_file), "-o", str(tmp_path / "out")])
    expect_one_line(code, capfd.readouterr(), "onnxruntime", "pip install onnxruntime")
    assert not (tmp_path / "out").exists()


def test_unknown_model(ultrasound_file, tmp_path, capfd):
    code = cli.main(["synthesize", str(ultrasound_file), "-o", str(tmp_path / "out"), "--model", "nothing"])
    expect_one_line(code, capfd.readouterr(), "nothing: no such model", "ious2mr-2.5d")


def test_a_name_too_long_for_what_is_made_of_it(ultrasound_file, tmp_path, capfd):
    path = shutil.copy(ultrasound_file, tmp_path / f"{'a' * 240}.nrrd")
    code = cli.main(["synthesize", str(path), "-o", str(tmp_path / "out")])
    expect_one_line(code, capfd.readouterr(), str(path), "its name is too long", "shorten it")
    assert not (tmp_path / "out").exists()


def test_real_case_below_a_minute_and_4_gib(resect_case_4, tmp_path, monkeypatch):
    """Through the shell, with the default models of the checkout when they are there, else the tiny ones."""
    if (ROOT / "Resources" / "Models" / "ious2mr-2.5d" / "models" / "model.onnx").exists():
        monkeypatch.delenv("IOUSYNTH_MODELS")
    command = [sys.executable, "-m", "IoUSynthLib", "synthesize", str(resect_case_4), "-o", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    given = read_volume(resect_case_4)
    for name in FILES[:4]:
        assert read_volume(tmp_path / f"Case4-US-before_{name}").same_grid(given, 1e-5)
    report = json.loads((tmp_path / "Case4-US-before_report.json").read_text())
    assert report["seconds"]["total"] < 60
    assert [warning for warning in report["warnings"] if "unlike all that" not in warning] == []
    memory = report["peak_memory_mib"]
    assert memory is None or memory < 4096
