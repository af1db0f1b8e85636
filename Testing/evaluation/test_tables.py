"""What stands in the tables of a summary."""

from IoUSynthLib.evaluation.scores import summarize
from IoUSynthLib.evaluation.tables import (
    comparison_table,
    fidelity_table,
    overlap_table,
    region_table,
    structure_table,
    trust_table,
)


def test_tables_hold_the_summary():
    rows = [
        {
            "case": str(n), "T2w/generator/PSNR": 15.0 + n, "T2w/generator/MAE": 0.1, "T2w/generator/SSIM": 0.5,
            "T2w/generator/SSIM fan": 0.4, "T2w/generator/LPIPS": float("nan"),
            "Dice/overlay/tumour": 0.6 if n else float("nan"), "false ml/overlay/tumour": 1.0,
        }
        for n in range(3)
    ]  # fmt: skip
    summary = summarize(rows)
    assert summary["T2w/generator/PSNR"]["mean"] == 16.0
    assert summary["Dice/overlay/tumour"]["n"] == 2
    cells = "16.00 ± 1.00 (13.52 to 18.48) | - | 0.400 ± 0.000 (0.400 to 0.400)"
    assert f"| T2w | generator | {cells} |" in fidelity_table(summary)
    assert "| overlay | 0.600 (n=2) | - | - | - | 1.00 (n=3) | - |" in overlap_table(summary)


def test_structures_and_regions():
    rows = [
        {
            "Dice/a/tumour": value, "NSD/a/tumour": value, "HD95/a/tumour": 4.0 if value else float("nan"),
            "missed/a/tumour": float(not value), "false ml/a/cavity": 0.5, "Dice/a/lesion": 0.5,
            "lesion 5 mm/T2w/a/PSNR": 12.0,
        }
        for value in (0.0, 0.6)
    ]  # fmt: skip
    assert structure_table(summarize(rows)).splitlines()[2:] == [
        "| tumour | a | 0.300 (n=2) | 0.300 (n=2) | 4.0 (n=1) | 1 of 2 | - |",
        "| cavity | a | - | - | - | - | 0.50 (n=2) |",
        "| lesion | a | 0.500 (n=2) | - | - | - | - |",
    ]
    line = "| lesion 5 mm | T2w | a | 12.00 (n=2) | - | - | - | - |"
    assert region_table(summarize(rows)).splitlines()[2:] == [line]


def test_methods_are_compared_pair_by_pair():
    """Six patients, better by 1 dB in each: 2 of 64 signs; the study that one of the methods lacks does not count."""
    rows = [
        {"head": f"P{n}", "T2w/prediction/PSNR": 15.0 + n, "T2w/floor/PSNR": 14.0 + n + 1e-3 * n} for n in range(6)
    ]
    rows.append({"head": "P9", "T2w/prediction/PSNR": 15.0})
    line = comparison_table(rows, summarize(rows), "prediction").splitlines()[-1]
    assert line.startswith("| T2w | floor | PSNR dB | +1.00 (+1.00 to +1.00) | 6 | 0.031 | 0.031 |")
    few = comparison_table(rows[:2], summarize(rows[:2]), "prediction").splitlines()[-1]
    assert few == "| T2w | floor | PSNR dB | +1.00 | 2 | - | - |"


def test_a_single_case_has_no_interval():
    summary = summarize([{"case": "a", "T2w/generator/LPIPS": 0.25}])
    assert summary == {"T2w/generator/LPIPS": {"mean": 0.25, "median": 0.25, "n": 1}}
    assert "| T2w | generator | - | 0.250 (n=1) | - | - | - |" in fidelity_table(summary)


def test_an_outline_of_nothing_counts_as_a_dice_of_0():
    """Two doubtful outlines, one of them of nothing, and three others; one case has no outline."""
    pairs = [(0.2, 0.1), (0.3, float("nan")), (0.6, 0.5), (0.7, 0.25), (0.9, 0.9), (float("nan"), 0.0)]
    rows = [{"expected Dice/overlay/tumour": expected, "Dice/overlay/tumour": true} for expected, true in pairs]
    line = trust_table(rows).splitlines()[-1]
    assert line == "| tumour, overlay | 5 | 0.80 | 0.54 | 0.35 | 2 | 0.05 | 3 | 0.55 | 1 |"
