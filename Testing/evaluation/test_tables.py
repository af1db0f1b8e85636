"""What stands in the tables of a summary."""

from IoUSynthLib.evaluation.scores import summarize
from IoUSynthLib.evaluation.tables import fidelity_table, overlap_table, trust_table


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
    assert "| T2w | generator | 16.00 (13.52 to 18.48) | - | 0.400 (0.400 to 0.400) |" in fidelity_table(summary)
    assert "| overlay | 0.600 (n=2) | - | - | - | 1.00 (n=3) | - |" in overlap_table(summary)


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
