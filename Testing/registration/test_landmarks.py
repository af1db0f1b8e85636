"""Landmark files of three kinds, and the published distances of RESECT."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.tiny_models import SHARED

from IoUSynthLib.registration.landmarks import (
    check_pairs,
    left_out_errors,
    localization_error,
    read_landmark_pairs,
    read_landmarks,
    summarise,
    target_registration_errors,
)
from IoUSynthLib.registration.workflow import register_by_landmarks
from IoUSynthLib.volume import InputError

RESECT = SHARED / "data" / "resect"
FIXTURES = SHARED / "data" / "tag_fixtures"
TAG = """MNI Tag Point File
Volumes = 2;
%Volume: MRI
%Volume: US

Points =
 1.0 2.0 3.0 1.5 2.0 3.0 "first; with a semicolon"
 -4 5 6e0 -4 5.5 6 ""
 7 8 9 7 8 9.5 1 1 1 "third" %TimeStamp 12:00;
"""


def test_tag_is_ras_and_becomes_lps(tmp_path: Path) -> None:
    (tmp_path / "a.tag").write_text(TAG)
    mri, ultrasound = read_landmark_pairs([tmp_path / "a.tag"])
    np.testing.assert_array_equal(mri, [[-1, -2, 3], [4, -5, 6], [-7, -8, 9]])
    np.testing.assert_array_equal(ultrasound[0], [-1.5, -2, 3])
    np.testing.assert_allclose(target_registration_errors(None, mri, ultrasound), 0.5)


def test_published_distances_of_resect() -> None:
    if not RESECT.is_dir():
        pytest.skip("the RESECT landmarks are not here")
    with (RESECT / "initial_mTRE_by_case.csv").open() as stream:
        published = {row["case"]: row for row in csv.DictReader(stream)}
    seen = 0
    for path in sorted((RESECT / "tags").glob("*.tag")):
        row = published[path.name.removeprefix("Case").split("-")[0]]
        errors = target_registration_errors(None, *read_landmark_pairs([path]))
        assert len(errors) == int(row["n_landmarks"])
        assert errors.mean() == pytest.approx(float(row["initial_mTRE_mm_from_volumes"]), abs=0.01)
        assert errors.min() == pytest.approx(float(row["min"]), abs=0.01)
        assert errors.max() == pytest.approx(float(row["max"]), abs=0.01)
        seen += 1
    assert seen == 20


@pytest.mark.parametrize(("name", "first"), [
    ("BITE_style_02_2a-2u.tag", (-231.672943115234, 73.7162399291992, -124.623970031738)),
    ("Ibis_LandmarkRegistration.tag", (-39.8139, -75.7492, 46.6156)),
])
def test_tags_of_other_programs(name: str, first: tuple[float, ...]) -> None:
    if not FIXTURES.is_dir():
        pytest.skip("the tag files of other programs are not here")
    sets = read_landmarks(FIXTURES / name)
    assert len(sets) == 2
    assert len(sets[0]) == len(sets[1]) >= 5
    np.testing.assert_allclose(sets[0][0], first)


@pytest.mark.parametrize(("system", "sign"), [("LPS", 1.0), ("RAS", -1.0)])
def test_markups_say_their_coordinate_system(tmp_path: Path, system: str, sign: float) -> None:
    points = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 10.0]]
    control = [{"position": point, "positionStatus": "defined"} for point in points]
    control.append({"position": [0, 0, 0], "positionStatus": "undefined"})
    markup = {"markups": [{"type": "Fiducial", "coordinateSystem": system, "controlPoints": control}]}
    (tmp_path / "F.mrk.json").write_text(json.dumps(markup))
    lines = [f"# CoordinateSystem = {system}", "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc"]
    lines += [f"vtkMRMLMarkupsFiducialNode_{n},{x},{y},{z},0,0,0,1,1,1,0,F-{n}," for n, (x, y, z) in enumerate(points)]
    (tmp_path / "F.fcsv").write_text("\n".join(lines))
    expected = np.array(points) * (sign, sign, 1.0)
    for file in ("F.mrk.json", "F.fcsv"):
        np.testing.assert_allclose(read_landmarks(tmp_path / file)[0], expected)
    np.testing.assert_allclose(read_landmark_pairs([tmp_path / "F.mrk.json", tmp_path / "F.fcsv"])[1], expected)


P = np.array([[10.5, -20.25, 30.125], [15, 22, -8], [-3.5, 14.75, 40], [25, -30, 12], [0, 5, 60], [-12, 33, 7]])  # RAS


def tag(path: Path, header: str = "", end: str = "\n", encoding: str = "utf-8") -> Path:
    rows = [" ".join(map(str, (*point, *point))) + f' "{number}"' for number, point in enumerate(P, 1)]
    text = f"MNI Tag Point File\n{header}Volumes = 2;\n\nPoints =\n" + end.join(rows) + ";\n"
    path.write_bytes(text.encode(encoding))
    return path


def markups(path: Path, order: tuple[int, ...] = (0, 1, 2, 3, 4, 5), unplaced: tuple[int, ...] = (), **more) -> Path:
    """Points of P in that order, labelled by their number in P; those of these numbers are listed but not placed."""
    control = [
        {"label": f"F-{number + 1}", "position": "" if number in unplaced else list(P[number] / more.get("scale", 1)),
         "positionStatus": "undefined" if number in unplaced else "defined"}
        for number in order
    ]  # fmt: skip
    units = more.get("units", "mm")
    markup = {"type": "Fiducial", "coordinateSystem": "RAS", "coordinateUnits": units, "controlPoints": control}
    path.write_text(json.dumps({"markups": [markup] * more.get("lists", 1)}))
    return path


def fcsv(path: Path, decimal: str = ".", separator: str = ",", columns: bool = True) -> Path:
    """As Slicer writes it, or a spreadsheet after it."""
    lines = ["# CoordinateSystem = RAS"]
    lines += ["# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"] if columns else []
    for number, point in enumerate(P, 1):
        words = [str(number), *(f"{value:.3f}".replace(".", decimal) for value in point), *"0001110", f"F-{number}"]
        lines.append(separator.join([*words, "", "", "2", "0"]))
    path.write_text("\n".join(lines))
    return path


def paired(*files: Path) -> tuple[np.ndarray, float, list[str]]:
    """Points of the MRI in RAS, mean distance, and what was said."""
    said: list[str] = []
    mri, ultrasound = read_landmark_pairs(files, said.append)
    return mri * (-1, -1, 1), float(target_registration_errors(None, mri, ultrasound).mean()), said


@pytest.mark.parametrize("options", [
    {"header": "% Volume: /data/Points/case4.mnc\n"}, {"header": "% Müller\n", "encoding": "latin-1"},
    {"encoding": "utf-8-sig"}, {"end": " "},
])  # fmt: skip
def test_tags_as_programs_write_them(tmp_path: Path, options: dict) -> None:
    points, distance, said = paired(tag(tmp_path / "a.tag", **options))
    np.testing.assert_allclose(points, P)
    assert (distance, said) == (0, [])


def test_pairs_are_made_by_number_without_what_is_not_placed(tmp_path: Path) -> None:
    """Dropping what each list lacks shifted the pairs against each other: 22 mm for points that are equal."""
    mri = markups(tmp_path / "mri.mrk.json", unplaced=(1,))
    points, distance, said = paired(mri, markups(tmp_path / "us.mrk.json", unplaced=(3,)))
    np.testing.assert_allclose(points, P[[0, 2, 4, 5]])
    assert distance == 0
    assert said == ["Left out of the TRE, not placed in both images: landmark 2, 4."]
    longer = markups(tmp_path / "us.mrk.json", (0, 1, 2, 3, 4, 5, 5), unplaced=(5,))
    assert paired(markups(tmp_path / "mri.mrk.json", (0, 1, 2, 3, 4)), longer)[1:] == (0, [])
    with pytest.raises(InputError, match="5 landmarks of the MRI but 6 of the ultrasound"):
        paired(markups(tmp_path / "mri.mrk.json", (0, 1, 2, 3, 4)), markups(tmp_path / "us.mrk.json", unplaced=(1,)))


def test_labels_that_contradict_the_order_are_said(tmp_path: Path) -> None:
    files = markups(tmp_path / "mri.mrk.json"), markups(tmp_path / "us.mrk.json", (5, 3, 1, 0, 2, 4))
    distance, said = paired(*files)[1:]
    assert distance == pytest.approx(46.6, abs=0.1)
    assert len(said) == 1
    assert "contradict their order (F-1 is number 1 in the MRI and 4 in the ultrasound)" in said[0]


@pytest.mark.parametrize(("units", "scale"), [("m", 1000), ("cm", 10), (["m", "UCUM", "meter"], 1000)])
def test_units_of_markups(tmp_path: Path, units: str | list[str], scale: float) -> None:
    files = markups(tmp_path / "mri.mrk.json"), markups(tmp_path / "us.mrk.json", units=units, scale=scale)
    assert paired(*files)[1] == pytest.approx(0, abs=1e-9)


def test_two_lists_of_markups_in_one_file(tmp_path: Path) -> None:
    assert paired(markups(tmp_path / "both.mrk.json", lists=2))[1] == 0
    with pytest.raises(InputError, match="landmarks of both MRI and ultrasound are needed"):
        paired(markups(tmp_path / "mri.mrk.json"), tmp_path / "both.mrk.json")


@pytest.mark.parametrize("columns", [True, False])
def test_decimal_commas_are_read_or_refused(tmp_path: Path, columns: bool) -> None:
    for separator, decimal in ((",", "."), (";", ",")):
        file = fcsv(tmp_path / "a.fcsv", decimal, separator, columns)
        np.testing.assert_allclose(read_landmarks(file)[0] * (-1, -1, 1), P)
    with pytest.raises(InputError, match=r"a\.fcsv: is a damaged landmark file \(decimal commas"):
        read_landmarks(fcsv(tmp_path / "a.fcsv", ",", ",", columns))
    file = tag(tmp_path / "a.tag")
    file.write_text(file.read_text().replace("30.125", "30,125"))
    with pytest.raises(InputError, match=r"a\.tag: is a damaged landmark file \(decimal commas"):
        read_landmarks(file)


def test_tre_maps_the_ultrasounds_points(tmp_path: Path) -> None:
    shift = sitk.TranslationTransform(3, [1.0, 2.0, 2.0])
    fixed = np.arange(12.0).reshape(4, 3)
    moved = np.add(fixed, (1, 2, 2))
    np.testing.assert_allclose(target_registration_errors(None, moved, fixed), 3.0)
    np.testing.assert_allclose(target_registration_errors(shift, moved, fixed), 0.0, atol=1e-12)
    assert summarise(np.array([3.0, 4.0])) == {"mean_mm": 3.5, "largest_mm": 4.0, "rms_mm": 3.536}


@pytest.mark.parametrize(("name", "text", "message"), [
    ("one.tag", "MNI Tag Point File\nVolumes = 2;\nPoints =\n 1 2 3 4 5 6 \"\";\n", "has 1 point, but a TRE needs"),
    ("none.tag", "MNI Tag Point File\nVolumes = 2;\nPoints = ;\n", "has 0 points"),
    ("cut.tag", "MNI Tag Point File\nVolumes = 2;\nPoints =\n 1 2 3 4 5;\n", "damaged"),
    ("no.tag", "1 2 3", "not an MNI tag point file"),
    ("novolumes.tag", "MNI Tag Point File\nPoints =\n 1 2 3 4 5 6;\n", "not an MNI tag point file"),
    ("parsec.mrk.json", '{"markups": [{"coordinateUnits": "pc", "controlPoints": []}]}', "coordinate units pc"),
    ("empty.mrk.json", '{"markups": []}', "no list of points"),
    ("nan.tag", TAG.replace("6e0", "nan"), "not finite"),
    ("a.mrk.json", "{}", "damaged"),
    ("a.fcsv", "# CoordinateSystem = 2\n1,2,3,4\n", "coordinate system 2"),
    ("a.txt", "", "is no landmark file"),
])
def test_bad_files_say_what_is_wrong(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_landmarks(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_counts_must_match(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4 landmarks of the MRI but 3 of the ultrasound"):
        check_pairs(np.zeros((4, 3)), np.zeros((3, 3)))
    with pytest.raises(InputError, match="no such file"):
        read_landmarks(tmp_path / "away.tag")
    (tmp_path / "single.tag").write_text("MNI Tag Point File\nVolumes = 1;\nPoints =\n 1 2 3\n 4 5 6\n 7 8 9;\n")
    with pytest.raises(InputError, match="both MRI and ultrasound"):
        read_landmark_pairs([tmp_path / "single.tag"])


def test_the_error_of_landmarks_is_that_which_was_put_in() -> None:
    """Noise of known size on the points of both images: FLE, and the TRE of points that no fit has seen."""
    rng = np.random.default_rng(0)
    squares, left_out, elsewhere = [], [], []
    for _ in range(40):
        fixed = rng.normal(0, 12, (13, 3))
        moving, seen = (fixed + rng.normal(0, 0.8, fixed.shape) for _ in range(2))
        matrix, done = register_by_landmarks(moving[:12], seen[:12])
        squares.append(done["FLE_rms_mm"] ** 2)
        left_out.append(left_out_errors(moving[:12], seen[:12]).mean())
        elsewhere.append(np.linalg.norm((matrix @ [*seen[12], 1])[:3] - moving[12]))
    assert np.sqrt(np.mean(squares)) == pytest.approx(0.8 * np.sqrt(6), rel=0.06)  # 3 axes of 2 images
    assert np.mean(left_out) == pytest.approx(np.mean(elsewhere), rel=0.2)
    assert localization_error(np.full(4, 1.0)) == pytest.approx(np.sqrt(2))


def test_landmarks_that_do_not_correspond_are_doubted() -> None:
    points = np.random.default_rng(1).normal(0, 15, (10, 3))
    shifted = points + np.array([9, 0, 0])
    assert register_by_landmarks(shifted, points)[1]["warnings"] == []
    warnings = register_by_landmarks(shifted, np.roll(points, 1, 0))[1]["warnings"]
    assert warnings == ["Landmarks lie over 2 mm from where the others put them."]
    assert "TRE" not in register_by_landmarks(points[:3], points[:3])[1]
    assert np.isnan(left_out_errors(points[:3], points[:3])).all()
