"""The report of the generator that ships, of the scores that its card was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from IoUSynthLib.evaluation.findings import measured, missing
from IoUSynthLib.evaluation.report_tables import expected_dice, fidelity, outlines
from IoUSynthLib.experiments.simulated_report import shipped

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = {
    "families": {"resvit": {"regime": "2D"}, "ious2mr-2.5d": {"regime": "2.5D"}},
    "cases": [{"case": "case-0013", "head": "subject52", "phase": "before resection", "lesion": "low grade",
               "T2w/resvit/PSNR": 15.0, "T2w/ious2mr-2.5d/PSNR": 99.0, "T2w/ioUS as it is/PSNR": 9.0}],
}  # fmt: skip


@pytest.fixture(scope="module")
def evaluation() -> dict:
    return json.loads((ROOT / "Resources/Models/ious2mr-2.5d/docs/evaluation.json").read_text(encoding="utf-8"))


def test_the_figures_are_those_of_the_card_and_stand_on_the_page(evaluation: dict) -> None:
    card = (ROOT / "Resources/Models/ious2mr-2.5d/docs/README.md").read_text(encoding="utf-8")
    page = (ROOT / "Resources/Documentation/simulated_report.md").read_text(encoding="utf-8")
    results = shipped(evaluation)
    rows = fidelity(results, "T2w").rows
    assert [row[:4] for row in rows[::3]] == [
        ["ious2mr", "2.5D", "T2w + FLAIR", "all phases"], ["baseline", "ioUS as it is", "T2w + FLAIR", "all phases"],
        ["baseline", "mean of training", "T2w + FLAIR", "all phases"],
        ["baseline", "monotone map", "T2w + FLAIR", "all phases"],
    ]  # fmt: skip
    for row in rows:
        assert " | ".join(row) in page, "repeat: python -m IoUSynthLib.experiments simulated-report"
    for row in rows[::3]:
        assert all(part in card for cell in row[5:] for part in cell.split(" ", 1)), "the card gives the SD, too"
    for sentence in measured(results):  # on the page, more experiments are counted
        assert f"- {sentence.partition('; 1 experiment ')[0]}" in page
    for family in ("pix2pix", "swin_pix2pix", "cyclegan", "cut", "resvit", "syndiff"):
        assert f"| {family} | 2D | T2w + FLAIR | all phases | 8 |" in page
    assert measured(results)[0].startswith("These figures are of simulated data")


def test_outlines_stand_beside_those_on_true_mri_and_on_ultrasound(evaluation: dict) -> None:
    results = shipped(evaluation)
    named = {(row[0], row[3], row[4]): row for row in outlines(results).rows}
    assert {family for family, *_ in named} == {"simulated MRI", "ious2mr", "baseline"}
    assert named["ious2mr", "cavity", "after resection"][5] == str(evaluation["summary"]["Dice/overlay/cavity"]["n"])
    assert float(named["ious2mr", "tumour", "before resection"][8]) < 1, "retention of Dice"
    assert len(expected_dice(results).rows) > 2


def test_families_are_added_where_they_were_scored(evaluation: dict) -> None:
    assert any("families.md" in line for line in missing(shipped(evaluation)))
    results = shipped(evaluation, FAMILIES)
    assert [row[:2] for row in fidelity(results, "T2w").rows if row[0] == "resvit"] == [["resvit", "2D"]]
    assert [experiment.name for experiment in results.experiments] == ["ious2mr-2.5d", "resvit"], "the card's scores"
    words = missing(results)
    assert not any("--families" in line for line in words)
    assert any("a quarter of the widths" in line for line in words)
    at_full_size = missing(shipped(evaluation, {**FAMILIES, "published": True}))
    assert not any("a quarter of the widths" in line for line in at_full_size)
    count = len(evaluation["cases"])
    assert f"Not scored on all {count} studies, so that means compare with care: resvit (1)." in words
