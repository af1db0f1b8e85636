"""``iousynth benchmark``: from a folder like ReMIND's, with a flaw of each kind, to the page, in one command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from IoUSynthLib.cli import main
from IoUSynthLib.evaluation import perceptual

SPLIT = {"train_subjects": ["002", "003", "004", "006"], "test_subjects": ["001", "005", "006", "007"]}
#: What is wrong with each patient, as the report says it.
FLAWS = {
    "series ReMIND-002 post T2w": "is missing",
    "series ReMIND-003 pre FLAIR": "1-010.dcm: is cut off",
    "series ReMIND-004 pre T2w": "is a copy of ReMIND-004/12-25-1982-NA-Preop-1/1.000000-3DAXT2SPACE-1",
    "series ReMIND-005 pre T2w": "right angles",
    "study ReMIND-006-pre": "not in one split: ReMIND-006: is in more than one split; name the patient once",
    "study ReMIND-007-pre": "in doubt",
}  # fmt: skip


def left_out(output: Path) -> dict[str, str]:
    with open(output / "report" / "left_out.csv", newline="", encoding="utf-8") as file:
        return {row["what"]: row["why"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def arguments(
    flawed_tree: tuple[Path, dict[str, str]], wide_bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """What was run once; its output is the fourth."""
    folder = tmp_path_factory.mktemp("benchmark")
    split = {key: [f"ReMIND-{number}" for number in numbers] for key, numbers in SPLIT.items()}
    (folder / "split.json").write_text(json.dumps(split))
    given = [
        "benchmark", str(flawed_tree[0]), "-o", str(folder / "out"), "--no-registration",
        "--split", str(folder / "split.json"), "--device", "cpu",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOUSYNTH_MODELS", str(wide_bundles))
        patch.setattr(perceptual, "load", lambda: None)
        assert main(given) == 2
    return given


@pytest.fixture(autouse=True)
def _models(wide_bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOUSYNTH_MODELS", str(wide_bundles))
    monkeypatch.setattr(perceptual, "load", lambda: None)  # takes most of the time


def test_each_flaw_is_named_and_the_rest_is_on_the_page(arguments: list[str]) -> None:
    output = Path(arguments[3])
    found, page = left_out(output), (output / "report" / "report.html").read_text(encoding="utf-8")
    for what, why in FLAWS.items():
        named = next(name for name in found if name.startswith(what))
        assert why in found[named]
        assert named in page
    assert "2 studies of 1 patient (1 before resection, 1 after resection); 1 experiment on synthetic MRI" in page
    assert f"{len(found)} series, studies or predictions were left out, each named below" in page
    assert page.index("were left out") < page.index("What the figures allow to say")
    with open(output / "report" / "outlines.csv", newline="", encoding="utf-8") as file:
        rows = {(row["family"], row["structure"], row["phase"]): row for row in csv.DictReader(file)}
    assert rows["acquired MRI", "tumour", "before resection"]["studies"] == "1", "one patient is outlined"


def test_the_same_command_goes_on(arguments: list[str]) -> None:
    """Nothing is made again; a case whose images were lost, and the scores that hang on it, are."""
    output = Path(arguments[3])
    made = sorted([*output.glob("predictions/*/*/*.nii.gz"), *output.glob("scores/*/scores.csv")])
    before = {path: path.stat().st_mtime_ns for path in made}
    lost = output / "predictions" / "ious2mr-2.5d" / "ReMIND-001-pre" / "ioUS_T2w.nii.gz"
    lost.unlink()
    assert main(arguments) == 2
    after = {path: path.stat().st_mtime_ns for path in made}
    again = {path.parent.name for path in made if after[path] != before[path]}
    assert again == {"ReMIND-001-pre", "ious2mr-2.5d"}


def test_an_edited_table_is_taken_and_a_cohort_is_not_prepared(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who deletes the rows in doubt has nothing left out; nor has who begins with a cohort."""
    output = tmp_path / "out"
    output.mkdir()
    lines = (Path(arguments[3]) / "table.csv").read_text().splitlines()
    kept = [line for line in lines if line.startswith(("patient", "ReMIND-001,pre"))]
    (output / "table.csv").write_text("\n".join(kept) + "\n")
    assert main([*arguments[:3], str(output), *arguments[4:]]) == 0
    capsys.readouterr()
    assert main(["benchmark", str(output / "cohort"), "-o", str(tmp_path / "second"), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "1 study of 1 patient (1 before resection)" in printed.out
    assert "left out" not in printed.err
    assert not (tmp_path / "second" / "table.csv").exists()


def test_models_of_one_name_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--model", "ious2mr-2.5d", "ious2mr-2.5d"]) == 2
    assert "two models have one name" in capsys.readouterr().err
