"""Published means and intervals from the published scores of each study (Esteban-Sinovas et al. 2026, CC BY 4.0)."""

import csv

import numpy as np
import pytest
from support.tiny_models import SHARED

from IoUSynthLib.evaluation.fidelity import confidence_interval
from IoUSynthLib.evaluation.scores import summarize

RESULTS = SHARED / "oracles" / "results"
#: Name of the method in the table of studies and in that of means.
METHODS = {
    "pix2pix-2D+3D-post-T2": "pix2pix_2d_3dpost_t2",
    "ResViT-2.5D-T2": "ResViT-2.5d-t2",
    "ResViT-3D-T2": "ResViT-full_3d-t2",
    "SynDiff-2.5D-T2": "SynDiff-2.5D-T2",
}
# Where the two tables come from different runs of LPIPS, they agree to four digits, and otherwise to rounding.
RERUN, ROUNDING = 1e-3, 1e-12


def read(name):
    if not (RESULTS / name).exists():
        pytest.skip("the published results are not here")
    with (RESULTS / name).open(newline="") as file:
        return list(csv.DictReader(file))


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
