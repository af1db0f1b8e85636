"""Landmark files of three kinds, and the published distances of RESECT."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_models import SHARED

from IoUSynthLib.registration.landmarks import (
    check_pairs,
    read_landmark_pairs,
    read_landmarks,
    summarise,
    target_registration_errors,
)
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
