"""Published means, intervals, tests and rankings from the published scores (Esteban-Sinovas et al. 2026, CC BY 4.0)."""

import csv
import json

import numpy as np
import pytest
from scipy import stats
from support.tiny_models import SHARED

from IoUSynthLib.evaluation.fidelity import confidence_interval
from IoUSynthLib.evaluation.scores import summarize
from IoUSynthLib.evaluation.statistics import correlation, ranked, retention, signed_rank, utility_ratio

RESULTS = SHARED / "oracles" / "results"
TABLES = SHARED / "data" / "benchmark_tables"
BEST = "pix2pix-2D+3D-post-T2"
#: Name of the method in the table of studies and in that of means.
METHODS = {
    "pix2pix-2D+3D-post-T2": "pix2pix_2d_3dpost_t2",
    "ResViT-2.5D-T2": "ResViT-2.5d-t2",
    "ResViT-3D-T2": "ResViT-full_3d-t2",
    "SynDiff-2.5D-T2": "SynDiff-2.5D-T2",
}
# Where the two tables come from different runs of LPIPS, they agree to four digits, and otherwise to rounding.
RERUN, ROUNDING = 1e-3, 1e-12


def read(name, folder=RESULTS):
    if not (folder / name).exists():
        pytest.skip("the published results are not here")
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def experiments():
    """The means of the 48 experiments for T2w, by family, regime and target."""
    tables = {"T2w only": "table02_t2w_single_target.csv", "T2w + FLAIR": "table03_t2w_multi_task.csv"}
    return {
        (row["family"], row["regime"], target): row for target, name in tables.items() for row in read(name, TABLES)
    }


@pytest.mark.parametrize("metric", ["ssim", "psnr", "mae", "lpips"])
@pytest.mark.parametrize("method", METHODS)
def test_published_mean_and_interval(method, metric):
    rows = [{metric: float(r[metric])} for r in read("per_subject_metrics_subset_T2.csv") if r["method"] == method]
    published = {r["experiment"]: r for r in read("per_experiment_ci_subset_T2.csv")}[METHODS[method]]
    expected = {key: float(published[f"{metric}_t2_{key}"]) for key in ("mean", "sd", "lo", "hi", "n")}
    summary = summarize(rows)[metric]
    values = np.array([row[metric] for row in rows])
    tolerance = RERUN if (method, metric) == ("pix2pix-2D+3D-post-T2", "lpips") else ROUNDING
    interval = pytest.approx((expected["lo"], expected["hi"]), rel=tolerance)
    assert summary["n"] == expected["n"] == 30
    assert summary["mean"] == pytest.approx(expected["mean"], rel=tolerance)
    assert values.std(ddof=1) == pytest.approx(expected["sd"], rel=tolerance)
    assert (summary["low"], summary["high"]) == interval
    assert confidence_interval(values) == interval


def test_published_ranking_to_its_digits():
    ranking = {row["method"]: row for row in read("published_ranking_t2.csv")}
    studies = read("per_subject_metrics_subset_T2.csv")
    for method in METHODS:
        for metric, digits in (("ssim", 4), ("psnr", 2), ("mae", 4), ("lpips", 4)):
            mean = summarize([{metric: float(r[metric])} for r in studies if r["method"] == method])[metric]["mean"]
            assert mean == pytest.approx(float(ranking[method][metric]), abs=0.51 * 10**-digits)


@pytest.mark.parametrize("method", [method for method in METHODS if method != BEST])
def test_published_signed_rank_test(method):
    studies = read("per_subject_metrics_subset_T2.csv")
    scores = {name: {r["subject"]: float(r["ssim"]) for r in studies if r["method"] == name} for name in (method, BEST)}
    published = {row["comparison"]: row for row in read("wilcoxon_ssim_T2.csv")}[f"{method}  vs  BEST({BEST})"]
    found = signed_rank([scores[method][subject] for subject in scores[BEST]], list(scores[BEST].values()))
    assert (found["n"], found["statistic"]) == (int(published["n"]), float(published["stat"]))
    assert found["p"] == pytest.approx(float(published["p"]), rel=1e-12)
    assert found["difference"] == pytest.approx(float(published["mean_A"]) - float(published["mean_B"]), rel=1e-9)


@pytest.mark.parametrize(
    ("metric", "column", "name"),
    [("SSIM", "ssim", "table05_top10_ssim.csv"), ("PSNR", "psnr_db", "table06_top10_psnr.csv"),
     ("LPIPS", "lpips", "table07_top10_lpips.csv")],
)  # fmt: skip
def test_published_leaderboards(experiments, metric, column, name):
    """Experiments that are equal to the printed digits may stand in either order."""
    means = {experiment: float(row[column]) for experiment, row in experiments.items()}
    published = {(row["family"], row["regime"], row["target"]): float(row[column]) for row in read(name, TABLES)}
    best = ranked(means, metric)[:10]
    assert len(means) == 48
    assert [means[experiment] for experiment in best] == list(published.values())
    assert {experiment: means[experiment] for experiment in best} == published


def test_metrics_disagree_within_families_otherwise_than_across_them(experiments):
    """Across families SSIM and PSNR have nothing in common, within them much; with SSIM and LPIPS it is the reverse.

    Across families against SciPy, within them against the slope of a straight line that is fitted beside a mean for
    each family.
    """
    ssim, psnr, lpips = ([float(row[c]) for row in experiments.values()] for c in ("ssim", "psnr_db", "lpips"))
    families = [family for family, _, _ in experiments]
    for other, across, within in ((psnr, -0.06, 0.72), (lpips, 0.78, 0.12)):
        pooled, partial = correlation(ssim, other), correlation(ssim, other, families)
        assert (pooled["pearson"], partial["pearson"]) == pytest.approx((across, within), abs=0.005)
        for name, test in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
            assert (pooled[name], pooled[f"{name} p"]) == pytest.approx(tuple(test(ssim, other)), rel=1e-6)
        means = [[float(family == name) for family in families] for name in sorted(set(families))]
        design = np.array([ssim, *means]).T
        slopes, squares, *_ = np.linalg.lstsq(design, np.array(other))
        freedom = len(other) - 7
        error = np.sqrt(squares[0] / freedom * np.linalg.inv(design.T @ design)[0, 0])
        assert partial["pearson p"] == pytest.approx(2 * stats.t.sf(abs(slopes[0] / error), freedom), rel=1e-6)


def test_published_floors():
    """Segmenting the ultrasound itself against giving it to the segmenter of MRI; a ratio is no retention."""
    path = RESULTS / "lesion_dice_floor_and_segus.json"
    if not path.exists():
        pytest.skip("the published results are not here")
    scores = json.loads(path.read_text())
    means = [round(float(np.mean(scores[name])), 3) for name in ("FLOOR_US", "FLOOR_US_HISTM", "SEG_US")]
    assert means == [0.251, 0.248, 0.401]
    assert round(signed_rank(scores["SEG_US"], scores["FLOOR_US"])["p"], 3) == 0.012
    assert round(retention(scores["FLOOR_US"], scores["SEG_US"]), 3) == round(0.25077 / 0.40089, 3)
    above = [(floor, best) for floor, best in zip(scores["FLOOR_US"], scores["SEG_US"], strict=True) if best > 0.1]
    expected = np.mean([floor / best for floor, best in above])
    assert utility_ratio(scores["FLOOR_US"], scores["SEG_US"]) == pytest.approx(expected)
