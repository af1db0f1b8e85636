"""From a tree like ReMIND's to a prepared cohort: each flaw is named with its reason, the rest is done."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import phantom, remind

from IoUSynthLib.cases.case import read_case
from IoUSynthLib.cli import main
from IoUSynthLib.preprocessing import resample_like

SPLIT = {"train": ["001", "002", "003", "005", "006", "007"], "test": ["004", "006"]}
EXCLUDED = {
    "ReMIND-002-post": "no MRI of the phase", "ReMIND-005-pre": "in doubt",
    "ReMIND-006-pre": "not in one split", "ReMIND-007-pre": "in doubt",
}  # fmt: skip


def excluded(output: Path) -> dict[str, str]:
    with open(output / "exclusions.csv", newline="") as file:
        return {row["study"]: row["reason"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def prepared(
    flawed_tree: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """The folder that was prepared once, and the arguments that did."""
    folder = tmp_path_factory.mktemp("cohort")
    assert main(["cohort-table", str(flawed_tree[0]), "-o", str(folder / "table.csv")]) == 2
    subjects = {f"{split}_subjects": [f"ReMIND-{number}" for number in names] for split, names in SPLIT.items()}
    (folder / "split.json").write_text(json.dumps(subjects))
    (folder / "clinical.csv").write_text(
        "Case Number;WHO Grade;Histopathology;IDH1/2 status;Recurrent\n"
        "1;4;Glioblastoma;wildtype;no\n004;2;;mutant;yes\n"
    )
    arguments = [
        "prepare", str(flawed_tree[0]), "-o", str(folder / "out"), "--table", str(folder / "table.csv"),
        "--no-registration", "--split", str(folder / "split.json"), "--clinical", str(folder / "clinical.csv"),
    ]  # fmt: skip
    assert main(arguments) == 2
    return folder / "out", arguments


def test_each_flaw_has_its_reason_and_the_rest_is_done(prepared: tuple[Path, list[str]]) -> None:
    index = json.loads((prepared[0] / "dataset.json").read_text())
    assert excluded(prepared[0]) == EXCLUDED
    assert "ReMIND-006: is in more than one split" in index["failed"]["ReMIND-006-pre"]
    assert "right angles" in index["failed"]["ReMIND-005-pre"]
    assert [case["name"] for case in index["cases"]] == [
        "ReMIND-001-post", "ReMIND-001-pre", "ReMIND-002-pre", "ReMIND-003-pre", "ReMIND-004-pre",
    ]  # fmt: skip
    assert list(read_case(prepared[0] / "ReMIND-003-pre").images) == ["ioUS", "T2w"], "its FLAIR is broken"


def test_the_index_knows_phase_split_and_clinical_data(prepared: tuple[Path, list[str]]) -> None:
    index = json.loads((prepared[0] / "dataset.json").read_text())
    cases = {case["name"]: case for case in index["cases"]}
    assert {name: case["phase"] for name, case in cases.items()}["ReMIND-001-post"] == "post"
    assert cases["ReMIND-004-pre"]["split"] == "test"
    assert cases["ReMIND-001-pre"]["split"] == cases["ReMIND-001-post"]["split"] != "test"
    assert cases["ReMIND-001-pre"]["clinical"] == {
        "grade": "4", "histology": "Glioblastoma", "idh": "wildtype", "reoperation": "no",
    }  # fmt: skip
    assert cases["ReMIND-004-pre"]["clinical"] == {"grade": "2", "idh": "mutant", "reoperation": "yes"}
    assert "clinical" not in cases["ReMIND-003-pre"]


def test_the_outline_of_the_segmentation_is_the_label(prepared: tuple[Path, list[str]]) -> None:
    case = read_case(prepared[0] / "ReMIND-001-pre")
    t2 = remind.coarse(phantom.head()["T2w"])
    expected = resample_like(t2.with_array((t2.array > 800).astype(np.uint8)), case.fan, nearest=True).array
    assert expected.sum() > 1000
    assert (case.labels.array == expected).mean() > 0.999
    assert case.parameters["labelled"] == ["tumour"]
    warning = "only the tumour is outlined: nothing else of the lesion is learned or scored"
    assert case.parameters["warnings"] == [warning]


def test_the_readers_no_is_read_back(prepared: tuple[Path, list[str]], tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(prepared[0], output)
    review = (output / "review.csv").read_text().splitlines()
    assert review[1].startswith("ReMIND-001-post,,ReMIND-001,post,")
    said = [line.replace("-post,,", "-post,no,").replace("004-pre,,", "004-pre,yes,") for line in review]
    (tmp_path / "said.csv").write_text("\n".join(said))
    arguments = [str(output) if text == str(prepared[0]) else text for text in prepared[1]]
    assert main([*arguments, "--accepted", str(tmp_path / "said.csv")]) == 2
    assert excluded(output) == {**EXCLUDED, "ReMIND-001-post": "the reader said no"}
    written = {line.split(",")[0]: line.split(",")[1] for line in (output / "review.csv").read_text().splitlines()}
    assert (written["ReMIND-001-post"], written["ReMIND-004-pre"], written["ReMIND-001-pre"]) == ("no", "yes", "")


@pytest.mark.parametrize(("line", "message"), [
    ("ReMIND-001-pre,perhaps", "said.csv: line 2: perhaps is neither yes nor no; write one of them"),
    ("ReMIND-01-pre,no", "said.csv: line 2: ReMIND-01-pre is no study of the cohort; check the name"),
])  # fmt: skip
def test_a_verdict_that_cannot_be_meant_is_named(
    prepared: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    (tmp_path / "said.csv").write_text(f"study,accepted\n{line}\n")
    assert main([*prepared[1], "--accepted", str(tmp_path / "said.csv")]) == 2
    assert message in capsys.readouterr().err


def test_a_fan_that_is_too_small_is_left_out(prepared: tuple[Path, list[str]], tmp_path: Path) -> None:
    shutil.copytree(prepared[0], tmp_path / "out")
    arguments = [str(tmp_path / "out") if text == str(prepared[0]) else text for text in prepared[1]]
    assert main([*arguments, "--least-ml", "1000"]) == 2
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["cases"], "of the run before: none was left"
