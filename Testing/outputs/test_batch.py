"""A batch from the command line: one bad file does not stop the rest, and what is complete is not made again."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.batch_inputs import small_ultrasound, write_inputs
from support.tiny_models import generator_network, write_bundle

from IoUSynthLib import cli, pipeline
from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.outputs import batch, case, summary
from IoUSynthLib.volume import InputError, Volume


@pytest.fixture(autouse=True)
def _quick(tiny_models, monkeypatch):
    """Every test here uses the tiny models, draws no picture, and starts no threads for a handful of voxels."""
    monkeypatch.setattr(
        "IoUSynthLib.outputs.picture.write_picture", lambda file, *_, **__: file.write_bytes(b"picture")
    )
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    yield
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def rows(output):
    with open(output / summary.SUMMARY, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def runs(monkeypatch):
    """The names of the volumes that are really computed, in their order."""
    made, synthesize = [], pipeline.synthesize_with

    def counted(volume, *arguments, **named):
        made.append(int(volume.origin[0]))
        return synthesize(volume, *arguments, **named)

    monkeypatch.setattr(pipeline, "synthesize_with", counted)
    return made


def test_twenty_volumes_with_three_bad_ones_interrupted_and_started_again(tmp_path, runs, capsys, monkeypatch):
    paths = write_inputs(tmp_path / "in", 20, bad=(2, 9, 15))
    output = tmp_path / "out"
    arguments = ["synthesize", str(tmp_path / "in"), "-o", str(output)]

    write = case.write_outputs

    def interrupted(*given, **named):
        if len(runs) == 8:
            raise KeyboardInterrupt
        return write(*given, **named)

    monkeypatch.setattr(case, "write_outputs", interrupted)
    assert cli.main(arguments) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert [row["state"] for row in rows(output)] == ["done"] * 2 + ["failed"] + ["done"] * 5 + ["waiting"] * 12
    assert not list(output.glob(".*")), "nothing of the unfinished case is left"
    finished = {path: path.stat().st_mtime_ns for path in output.glob("*.nii.gz")}

    monkeypatch.setattr(case, "write_outputs", write)
    runs.clear()
    assert cli.main(arguments) == 2
    table = rows(output)
    assert [row["file"] for row in table] == [str(path) for path in paths]
    states = [row["state"] for row in table]
    assert (states.count("done"), states.count("skipped"), states.count("failed")) == (10, 7, 3)
    assert runs == [number for number in range(8, 20) if number not in (9, 15)], "only what was left"
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())
    for row in table:
        if row["state"] == "failed":
            assert row["file"] in row["error"]
            assert (row["seconds"], row["tumour_ml"], row["tumour_expected_dice"]) == ("", "", "")
        else:
            assert float(row["tumour_ml"]) > 0.1
            assert float(row["seconds"]) > 0
    causes = [row["error"].split(": ", 1)[1] for row in table if row["state"] == "failed"]
    for cause, text in zip(("not an image", "is empty", "damaged"), causes, strict=True):
        assert cause in text
    assert len(list(output.glob("*_T2w.nii.gz"))) == 17
    assert "10 done, 7 skipped, 3 failed; summary: " in capsys.readouterr().err


def test_complete_means_the_same_input_and_models_and_all_files(tmp_path, runs, capsys):
    """Whatever differs is made anew; what does not, is not."""
    (path,) = write_inputs(tmp_path / "in", 1)
    output = tmp_path / "out"

    def made(*options):
        runs.clear()
        assert cli.main(["synthesize", str(path), "-o", str(output), *options]) == 0
        return len(runs)

    assert made() == 1
    assert made() == 0
    assert "us-00: is complete, --again makes it anew: us-00_T2w.nii.gz" in capsys.readouterr().out
    assert made("--again") == 1
    (output / "us-00_FLAIR.nii.gz").unlink()
    assert made() == 1
    (output / "us-00.png").write_bytes(b"")
    assert made() == 1
    (output / "us-00_report.json").write_text('{"files": 3}')
    assert made() == 1
    write_volume(path, small_ultrasound(5))
    assert (made(), made()) == (1, 0)
    other = write_bundle(tmp_path / "other", generator_network(1))
    assert made("--model", str(other)) == 1
    assert (made(), made()) == (1, 0)
    mri = tmp_path / "mri.nii.gz"
    write_volume(mri, Volume(np.random.default_rng(0).random((30, 30, 30)), (2, 2, 2), (-10, -10, -20)))
    assert (made("--mri", str(mri)), made("--mri", str(mri)), made()) == (1, 0, 1)
    assert (made("--before-resection"), made("--before-resection"), made()) == (1, 0, 1)
    assert (made("--before-resection"), made("--before-resection", "--probable-place")) == (1, 1)


def test_report_holds_what_repeats_the_run(tmp_path):
    (path,) = write_inputs(tmp_path / "in", 1)
    assert cli.main(["synthesize", str(path), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "out" / "us-00_report.json").read_text())
    assert len(report["input"]["file_sha256"]) == len(report["input"]["voxels_sha256"]) == 64
    assert len(report["model"]["sha256"]) == len(report["segmenter"]["sha256"]) == 64
    assert report["device"]["used"] == "cpu"
    assert (report["samples"], report["seed"]) == (0, None)
    assert report["preprocessing"]["percentiles"] == [2.0, 98.0]
    low, high = report["preprocessing"]["intensities_at_percentiles"]
    assert 0 < low < high <= 180.5
    assert report["preprocessing"]["fan_box_ijk"][2][1] <= 16
    assert report["preprocessing"]["resampled_to_mm"] == [0.8, 0.8, 0.8]
    assert (report["inference"]["window"], report["inference"]["overlap"]) == ([32, 32], 0.25)
    assert report["files"][0] == "us-00_T2w.nii.gz"


def test_inputs_of_a_folder(tmp_path):
    """Ultrasound by its name where there is some, no results of earlier runs, and DICOM series in subfolders."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    for name in ("Case1-US-before.nii.gz", "Case1-FLAIR.nii.gz", "Case2-US-before.nii.gz"):
        write_volume(folder / name, small_ultrasound())
    (folder / "notes.txt").write_text("")
    assert [path.name for path in batch.find_inputs([folder])] == ["Case1-US-before.nii.gz", "Case2-US-before.nii.gz"]
    for name in ("Case1-US-before.nii.gz", "Case2-US-before.nii.gz"):
        (folder / name).rename(folder / name.replace("US", "sweep"))
    assert len(batch.find_inputs([folder])) == 3
    synthetic = {"descrip": "SYNTHETIC - NOT ACQUIRED; T2w"}
    write_volume(folder / "Case1_T2w.nii.gz", small_ultrasound(), synthetic)
    assert len(batch.find_inputs([folder, folder / "Case1-FLAIR.nii.gz"])) == 3
    for name in ("before", "after"):
        (tmp_path / "dicom" / name).mkdir(parents=True)
        (tmp_path / "dicom" / name / "IM0001").write_bytes(bytes(128) + b"DICM")
    assert batch.find_inputs([tmp_path / "dicom"]) == [tmp_path / "dicom" / "after", tmp_path / "dicom" / "before"]
    (tmp_path / "nothing").mkdir()
    assert batch.find_inputs([tmp_path / "nothing", tmp_path / "gone"]) == [tmp_path / "nothing", tmp_path / "gone"]


def test_an_outline_beside_a_volume_is_no_input(tmp_path):
    for name in ("volume.nrrd", "tumour.seg.nrrd", "volume-label.nrrd"):
        write_volume(tmp_path / name, small_ultrasound())
    assert [path.name for path in batch.find_inputs([tmp_path])] == ["volume.nrrd"]


def test_a_folder_a_patient_with_equal_names(tmp_path, capsys):
    """As simulate writes them; the results lie where evaluate and register --synthetic look for them."""
    for name in ("case-0000/ioUS.mha", "case-0001/ioUS.mha", "case-0001/T2w.mha"):
        (tmp_path / "cohort" / name).parent.mkdir(parents=True, exist_ok=True)
        write_volume(tmp_path / "cohort" / name, small_ultrasound())
    output = tmp_path / "out"
    arguments = ["synthesize", str(tmp_path / "cohort"), "-o", str(output)]
    assert cli.main(arguments) == 0
    assert f"in {output / 'case-0001'}." in capsys.readouterr().out
    assert sorted(str(path.relative_to(output)) for path in output.rglob("*_T2w.nii.gz")) == [
        "case-0000/ioUS_T2w.nii.gz", "case-0001/ioUS_T2w.nii.gz",
    ]
    assert [row["state"] for row in rows(output)] == ["done", "done"]
    assert cli.main(arguments) == 0
    assert [row["state"] for row in rows(output)] == ["skipped", "skipped"]
    same_folder = [tmp_path / "cohort" / "case-0000" / name for name in ("ioUS.mha", "ioUS.nrrd")]
    with pytest.raises(InputError, match="has the same name as"):
        batch.output_folders(same_folder, output)


def test_a_name_that_is_no_text_does_not_stop_the_rest(tmp_path, capsys):
    """Such a name, written by a computer with another encoding, aborted the process."""
    (path,) = write_inputs(tmp_path / "in", 1)
    bad = Path(os.fsdecode(bytes(tmp_path) + b"/us-caf\xe9.nrrd"))
    try:
        shutil.copy(path, bad)
    except OSError:
        pytest.skip("this file system holds text only")
    assert cli.main(["synthesize", str(bad), str(path), "-o", str(tmp_path / "out")]) == 2
    assert "us-caf\\xe9.nrrd: its name is no text in this system's encoding" in capsys.readouterr().err
    assert [row["state"] for row in rows(tmp_path / "out")] == ["failed", "done"]
    assert cli.main(["synthesize", str(path), "-o", str(bad)]) == 2
    assert cli.main(["synthesize", str(path), "-o", str(tmp_path / "out"), "--mri", str(bad)]) == 2


def test_an_unforeseen_failure_is_named_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    write_inputs(tmp_path / "in", 2)
    write = case.write_outputs

    def broken(folder, name, volume, **rest):
        if name == "us-00":
            raise MemoryError("no memory")
        return write(folder, name, volume, **rest)

    monkeypatch.setattr(case, "write_outputs", broken)
    assert cli.main(["synthesize", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 2
    assert [row["state"] for row in rows(tmp_path / "out")] == ["failed", "done"]
    assert "us-00.nrrd: failed (MemoryError: no memory)" in capsys.readouterr().err
