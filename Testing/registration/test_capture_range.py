"""The command that displaces the MRI and registers it: its displacements, its tables, and that it goes on."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.phantom import field_of_view, head

from IoUSynthLib.cases.case import Case, write_case
from IoUSynthLib.cases.index import write_index
from IoUSynthLib.cli import main
from IoUSynthLib.preprocessing import resample_like
from IoUSynthLib.registration import capture_range
from IoUSynthLib.registration.displacements import RANGES_MM
from IoUSynthLib.registration.rigid import mean_distance
from IoUSynthLib.volume import InputError

POINTS = np.random.default_rng(7).uniform(-30, 30, (15, 3))


@pytest.fixture
def one_range(monkeypatch: pytest.MonkeyPatch, cohort: tuple, few_voxels: None) -> None:
    """Displacements of one range, few voxels, and a synthesis that is there already."""
    made, bundle = cohort[1], SimpleNamespace(title="tiny 1.0", images=("T2w", "FLAIR"))
    models = SimpleNamespace(generator=bundle, describe=lambda: {"model": "tiny"})
    monkeypatch.setattr(capture_range, "RANGES_MM", {"4-8": RANGES_MM["4-8"]})
    monkeypatch.setattr(capture_range, "synthesize", lambda *_arguments: made)
    monkeypatch.setattr(capture_range, "load_models", lambda _name: models)


def test_starts_lie_in_their_ranges_and_do_not_depend_on_their_number() -> None:
    one, three, other = (list(capture_range.displacements(POINTS, *way)) for way in ((1, 5), (3, 5), (1, 6)))
    assert [(name, start) for name, start, _ in three] == [(name, start) for name in RANGES_MM for start in (1, 2, 3)]
    for name, _, matrix in three:
        low, high = RANGES_MM[name]
        assert low <= mean_distance(matrix, np.eye(4), POINTS) <= high
    for (_, _, matrix), (_, _, again), (_, _, different) in zip(one, three[::3], other, strict=True):
        np.testing.assert_array_equal(matrix, again)
        assert np.abs(matrix - different).max() > 1e-3


@pytest.mark.usefixtures("one_range")
def test_every_image_is_registered_from_every_start_and_what_is_done_is_kept(
    cohort: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    command = ["capture-range", str(cohort[0]), "-o", str(tmp_path / "new"), "--starts", "1"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "real patients" in out
    assert "left out: P2: one .tag" in err
    assert "4-8 mm, start 1 of 1, T2w by tiny 1.0" in err
    written = {path.name: path.read_bytes() for path in (tmp_path / "new").glob("capture_range.*")}
    content = json.loads(written["capture_range.json"])
    assert content["data"] == "real"
    assert list(content["left_out"]) == ["P2"]
    assert [(row["mri"], row["image"]) for row in content["registrations"]] == [
        ("T2w", "ultrasound"), ("T2w", "tiny 1.0"),
    ]
    for row in content["registrations"]:
        assert 4 <= row["displacement_mm"] <= 8
        assert row["before_mm"] == pytest.approx(row["displacement_mm"], abs=0.01)  # the landmarks have no error
        assert not row["refused"]
    assert content["registrations"][1]["after_mm"] < 0.6
    with (tmp_path / "new" / "capture_range.csv").open(encoding="utf-8") as stream:
        assert [row["after_mm"] for row in csv.DictReader(stream)] == [
            str(round(row["after_mm"], 2)) for row in content["registrations"]
        ]
    assert "| T2w | tiny 1.0 | 1 |" in written["capture_range.md"].decode()

    monkeypatch.setattr(capture_range, "Search", None)
    assert main(command) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").glob("capture_range.*")} == written


def test_the_table_holds_means_deviations_and_successes() -> None:
    rows = [
        {"patient": patient, "mri": "FLAIR", "image": "tiny", "range_mm": name, "before_mm": 9.0, "after_mm": after}
        for patient, name, after in (("a", "8-12", 1.0), ("a", "8-12", 1.9), ("b", "8-12", 7.0), ("a", "0-4", 0.5))
    ]
    near, far = capture_range.table(rows)
    assert (near["range_mm"], near["registrations"], near["success"]) == ("0-4", 1, 1.0)
    assert {key: far[key] for key in ("patients", "registrations", "after_mm", "sd_mm", "median_mm", "success")} == {
        "patients": 2, "registrations": 3, "after_mm": 3.3, "sd_mm": 2.64, "median_mm": 1.9, "success": 0.667,
    }


def test_a_simulated_cohort_needs_no_landmarks_and_a_prepared_one_is_refused(tmp_path: Path) -> None:
    ultrasound, _, fan = field_of_view(head())
    mri = {name: resample_like(head()[name], ultrasound) for name in ("T2w", "FLAIR")}
    write_case(Case({"ioUS": ultrasound, **mri}, fan, fan, {"simulated": True}), tmp_path / "case1")
    entry = {"name": "case1", "head": "h", "split": "train"}
    write_index(tmp_path, [entry])
    readers, simulated = capture_range.find_patients(tmp_path, ["FLAIR*"])
    patient = readers["case1"]()
    assert simulated
    assert list(patient.mri) == ["FLAIR"]
    assert len(patient.points[1]) > 5
    place = np.linalg.inv(fan.ijk_to_lps)
    inside = [fan.array[tuple(np.round((place @ [*point, 1])[2::-1]).astype(int))] for point in patient.points[1]]
    assert all(inside)
    write_index(tmp_path, [entry], simulated=False)
    with pytest.raises(InputError, match="is prepared: its MRI ends where the ultrasound does"):
        capture_range.find_patients(tmp_path)


def test_patients_that_are_aligned_need_no_landmarks(cohort: tuple) -> None:
    readers, simulated = capture_range.find_patients(cohort[0], aligned=True)
    patient = readers["P2"]()
    assert not simulated
    np.testing.assert_array_equal(*patient.points)


def test_two_generators_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["capture-range", str(tmp_path), "-o", str(tmp_path / "out"), "--model", "ious2mr-2.5d", "ious2mr-2.5d"]
    assert main(command) == 2
    assert "--model: two are called" in capsys.readouterr().err
