"""``iousynth cohort-table``: a tree like ReMIND's becomes a table, which names every flaw and is read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import phantom, remind

from IoUSynthLib.cli import main
from IoUSynthLib.cohort.exclusions import Exclusion
from IoUSynthLib.cohort.readers import choose_files
from IoUSynthLib.cohort.remind import find_series
from IoUSynthLib.cohort.table import Row, read_table, studies_of, write_table
from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.volume import InputError

FOUND = {
    "ReMIND-001": {
        ("pre", "ultrasound"): "US_pre_dura", ("pre", "T2w"): "3D_AX_T2_SPACE", ("pre", "FLAIR"): "3D_SAG_T2_FLAIR",
        ("pre", "tumour"): "tumor seg - MR ref: 3D_AX_T2_SPACE",
        ("pre", "none"): "cerebrum seg - MR ref: 3D_AX_T2_SPACE", ("", "ultrasound"): "US_post_dura",
        ("post", "ultrasound"): "US_pre_imri", ("post", "T2w"): "3D_AX_T2_SPACE",
        ("post", "tumour"): "tumor_residual seg - MR ref: 3D_AX_T2_SPACE",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def rows(flawed_tree: tuple[Path, dict[str, str]]) -> list[Row]:
    return find_series(flawed_tree[0])


def test_phase_and_contrast_of_each_series(rows: list[Row]) -> None:
    own = [row for row in rows if row.patient == "ReMIND-001"]
    assert {(row.phase, row.contrast): row.series for row in own} == FOUND["ReMIND-001"]
    assert not any(row.doubt for row in own)
    t2 = next(row for row in own if (row.phase, row.contrast) == ("post", "T2w"))
    assert t2.path == "ReMIND-001/12-25-1982-NA-Intraop-1/1.000000-3DAXT2SPACE-1"
    assert next(row for row in own if (row.phase, row.contrast) == ("post", "tumour")).reference == t2.series_uid


def test_every_flaw_is_named_and_nothing_else(flawed_tree: tuple[Path, dict[str, str]], rows: list[Row]) -> None:
    doubts = {row.patient: row.doubt for row in rows if row.doubt}
    assert doubts.keys() == flawed_tree[1].keys()
    for patient, flaw in flawed_tree[1].items():
        assert flaw in doubts[patient]
    assert not any(str(flawed_tree[0]) in doubt for doubt in doubts.values()), "paths are those of the table"


def test_the_command_writes_the_table_and_its_exit_code_says_that_there_is_doubt(
    flawed_tree: tuple[Path, dict[str, str]], rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cohort-table", str(flawed_tree[0]), "-o", str(tmp_path / "table.csv")]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith(f"listed {len(rows)} images of 7 patients in ")
    assert printed.err.count("in doubt: ") == 6
    assert read_table(tmp_path / "table.csv") == rows


def test_studies_of_the_table(flawed_tree: tuple[Path, dict[str, str]], rows: list[Row]) -> None:
    studies = {study.name: study for study in studies_of(rows, flawed_tree[0])}
    assert list(studies) == [
        "ReMIND-001-post", "ReMIND-001-pre", "ReMIND-002-post", "ReMIND-002-pre",
        *(f"ReMIND-00{number}-pre" for number in range(3, 8)),
    ]  # fmt: skip
    assert (studies["ReMIND-001-pre"].patient, studies["ReMIND-001-pre"].phase) == ("ReMIND-001", "pre")
    files = choose_files(studies["ReMIND-001-pre"]).named()
    assert list(files) == ["ultrasound", "T2w", "FLAIR", "tumour"]
    assert all(path.exists() for path in files.values())
    assert list(choose_files(studies["ReMIND-003-pre"]).mri) == ["T2w"], "its FLAIR is broken"
    with pytest.raises(Exclusion, match=r"ReMIND-002-post: holds neither T2w nor FLAIR; add its row") as it:
        choose_files(studies["ReMIND-002-post"])
    assert it.value.reason == "no MRI of the phase"
    with pytest.raises(Exclusion, match=r"without doubt: .*BLADE-1: one of 2 T2w of this phase; empty this cell") as it:
        choose_files(studies["ReMIND-007-pre"])
    assert it.value.reason == "in doubt"


def test_who_edits_the_table_decides(flawed_tree: tuple[Path, dict[str, str]], rows: list[Row], tmp_path: Path) -> None:
    """The doubt of one of two T2w is emptied, in a spreadsheet that separates by semicolons and adds a column."""
    edited = [replace(row, doubt="") if "BLADE" in row.path else row for row in rows]
    write_table(tmp_path / "table.csv", edited)
    lines = (tmp_path / "table.csv").read_text(encoding="utf-8").replace(",", ";").splitlines()
    text = "\n".join(f"{line};{'remark' if not number else ''}" for number, line in enumerate(lines))
    (tmp_path / "table.csv").write_text(f"\ufeff{text}\n", encoding="utf-8")
    assert [row.patient for row in read_table(tmp_path / "table.csv")] == [row.patient for row in rows]
    studies = {study.name: study for study in studies_of(edited, flawed_tree[0])}
    assert "BLADE" in choose_files(studies["ReMIND-007-pre"]).mri["T2w"].name


def test_two_images_left_for_one_place_are_named(flawed_tree: tuple[Path, dict[str, str]], rows: list[Row]) -> None:
    both = [replace(row, doubt="") for row in rows if row.patient == "ReMIND-007"]
    with pytest.raises(Exclusion, match="could all be the T2w") as doubt:
        choose_files(studies_of(both, flawed_tree[0])[0])
    assert doubt.value.reason == "in doubt"


def test_a_table_by_hand_needs_four_columns(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("patient,phase,contrast,path\nA,pre,ultrasound,a/us.nrrd\n")
    assert read_table(tmp_path / "table.csv") == [Row("A", "pre", "ultrasound", "a/us.nrrd")]
    (tmp_path / "table.csv").write_text("patient,contrast,path\nA,ultrasound,a/us.nrrd\n")
    with pytest.raises(InputError, match=r"table\.csv: has no row, or no column phase; give a CSV with patient, phase"):
        read_table(tmp_path / "table.csv")
    (tmp_path / "table.csv").write_text("patient,phase,contrast,path\n../A,pre,ultrasound,a/us.nrrd\n")
    with pytest.raises(InputError, match=r"table\.csv: line 2: \.\./A pre cannot name a folder"):
        read_table(tmp_path / "table.csv")
    with pytest.raises(InputError, match=r"none\.csv: cannot be read \(No such file"):
        read_table(tmp_path / "none.csv")


def test_where_descriptions_tell_nothing_the_dates_of_two_studies_do(tmp_path: Path) -> None:
    from pydicom import dcmread

    volume = remind.coarse(phantom.head()["T2w"], 40.0)
    for study, date in {"Brain": "20240105", "MR head": "20240101", "third": "20240107"}.items():
        folder = remind.mri_series(tmp_path, "P", study, series="T2", volume=volume)
        for file in folder.iterdir():
            dataset = dcmread(file)
            dataset.StudyDate = date
            dataset.save_as(file)
    assert {row.doubt for row in find_series(tmp_path)} == {
        "neither description nor date of its study tells the phase; write pre or post beside it"
    }
    for file in folder.iterdir():
        file.unlink()
    phases = {row.study: row.phase for row in find_series(tmp_path) if row.path}
    assert phases == {"Brain": "post", "MR head": "pre"}


def test_an_outline_without_its_series_or_of_one_of_two_is_in_doubt(tmp_path: Path) -> None:
    remind.patient(tmp_path, "A", "Preop tumor seg - MR ref: 3D_AX_T2_SPACE")
    (row,) = find_series(tmp_path)
    assert row.doubt == "none of the series here could be the one that it was drawn on"
    remind.patient(tmp_path, "B", "Preop T2", "Preop tumor_target seg - MR ref: T2")
    row = next(row for row in find_series(tmp_path) if row.patient == "B" and row.modality == "SEG")
    assert row.doubt == "is of the target of the operation alone"


def test_files_without_a_header_and_folders_without_dicom_are_named(tmp_path: Path) -> None:
    (tmp_path / "P" / "1").mkdir(parents=True)
    (tmp_path / "P" / "1" / "1-1.dcm").write_bytes(b"gone")
    (row,) = find_series(tmp_path)
    assert (row.patient, row.path) == ("P", "P/1")
    assert row.doubt.startswith("1-1.dcm: is no DICOM, or damaged")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no DICOM"):
        find_series(tmp_path / "empty")
    with pytest.raises(InputError, match="nowhere: no such folder"):
        find_series(tmp_path / "nowhere")


def test_a_series_of_nobody_and_two_in_one_folder_are_in_doubt(tmp_path: Path) -> None:
    volume = remind.coarse(phantom.head()["T2w"], 40.0)
    first = remind.mri_series(tmp_path, "", "Preop", series="T2", volume=volume)
    other = remind.mri_series(tmp_path, "P", "Preop", series="FLAIR", volume=volume)
    for file in other.iterdir():
        file.rename(first / f"{file.stem}-other.dcm")
    doubts = {row.patient: row.doubt for row in find_series(tmp_path) if row.path}
    assert doubts["P"] == "shares its folder with other series; move it into one of its own"
    assert doubts[""] == f"{doubts['P']}; names no patient; write one beside it"


def test_copies_that_differ_are_both_in_doubt(tmp_path: Path) -> None:
    volume = remind.coarse(phantom.head()["T2w"], 40.0)
    for folder in ("one", "other"):
        remind.mri_series(tmp_path / folder, "P", "Preop", series="T2", volume=volume)
    assert [row.doubt for row in find_series(tmp_path) if row.path] == [
        "2 folders hold different images of this series; keep one"
    ] * 2


def test_released_label_maps_take_the_place_of_the_outlines(
    flawed_tree: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """One of them is misspelled in the release; maps of studies that are not here are passed over."""
    grid = phantom.field_of_view(phantom.head())[0]
    names = ("ReMIND-001-pre-mri.nii.gz", "ReMIND-001-post-mir-seg.nii.gz", "ReMIND-099-pre-mr.nii.gz", "notes.txt")
    for name in names[:3]:
        write_volume(tmp_path / name, grid.with_array(np.zeros(grid.array.shape, np.uint8)))
    rows = find_series(flawed_tree[0], label_maps=tmp_path)
    labels = [row for row in rows if row.contrast == "labels"]
    assert [(row.phase, Path(row.path).name) for row in labels] == [("post", names[1]), ("pre", names[0])]
    study = next(study for study in studies_of(rows, flawed_tree[0]) if study.name == "ReMIND-001-post")
    files = choose_files(study)
    assert files.labels == {"labels": tmp_path / names[1]}
    assert files.on_ultrasound == {tmp_path / names[1]}
