"""Whose row of a clinical table is whose, and which column is which."""

from pathlib import Path

import pytest

from IoUSynthLib.cohort.clinical import read_clinical
from IoUSynthLib.volume import InputError


def test_patients_by_name_or_number(tmp_path: Path) -> None:
    table = tmp_path / "clinical.csv"
    table.write_text("patient,grade,notes\nReMIND-001,4,x\n2,3,y\n010,2,z\n99,1,\n")
    patients = ["ReMIND-001", "ReMIND-002", "ReMIND-010", "ReMIND-011"]
    assert read_clinical(table, patients) == {
        "ReMIND-001": {"grade": "4"}, "ReMIND-002": {"grade": "3"}, "ReMIND-010": {"grade": "2"},
    }  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [
    ("name,grade\nA,1\n", "has no column for the patient, or for none of grade, histology, idh, reoperation"),
    ("patient,age\nA,1\n", "has no column for the patient, or for none of"),
    ("patient,WHO grade,grade 2021\nA,1,2\n", "WHO grade and grade 2021 could all be the grade; rename the one"),
    ("patient,grade\nA1,1\n1,2\n", "has two rows for A1; keep one"),
])  # fmt: skip
def test_what_is_not_clear_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "clinical.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_clinical(tmp_path / "clinical.csv", ["A1", "B2"])
