"""The pipeline and other segmenters on the tiny models, which call the black hole a cavity."""

import json

import numpy as np
import pytest

from IoUSynthLib.cases.case import Case, write_case
from IoUSynthLib.cases.index import write_index
from IoUSynthLib.evaluation.from_pipeline import Comparator, evaluate_pipeline, segmentations
from IoUSynthLib.evaluation.results import write_json
from IoUSynthLib.evaluation.scores import overlap_scores
from IoUSynthLib.models.bundle import load
from IoUSynthLib.pipeline import synthesize
from IoUSynthLib.preprocessing import field_of_view
from IoUSynthLib.volume import Volume


@pytest.fixture
def make_case(ultrasound):
    """Returns the case, whose black hole is the tumour, with a kind of lesion."""
    volume = Volume(ultrasound.array, (0.8,) * 3, ultrasound.origin, ultrasound.direction)
    z, y, x = np.indices(volume.array.shape)
    hole = volume.with_array((np.hypot(np.hypot(x - 28, y - 44), z - 30) < 6).astype(np.uint8))
    fan = volume.with_array(np.ones_like(hole.array))  # larger than the field of view that the pipeline finds
    mri = volume.with_array((4 * volume.array).astype(np.int16))
    images = {"ioUS": volume, "T2w": mri, "FLAIR": mri}
    return lambda kind: Case(images, hole, fan, {"head": "h", "lesion": {"kind": kind}})


@pytest.fixture
def scores(tiny_models, make_case):
    """Scores of the case by the kind of its lesion."""
    volume = make_case("").images["ioUS"]
    result = synthesize(volume, device="cpu")
    assert np.array_equal(result.valid.array > 0, field_of_view(volume.array))

    def score(kind):
        case = make_case(kind)
        labels, _ = segmentations(case, result, {"same again": Comparator(load("lesion-3d"))})
        return overlap_scores(case, labels)

    return score


def test_with_the_phase_known_a_hole_before_the_resection_is_tumour(scores):
    dice = scores("high grade")
    for name in ("overlay", "same again"):
        assert dice[f"Dice/{name}, phase known/tumour"] > dice[f"Dice/{name}/tumour"] + 0.2
        assert dice[f"false ml/{name}, phase known/cavity"] == 0 < dice[f"false ml/{name}/cavity"]


def test_after_the_resection_nothing_changes(scores):
    dice = scores("cavity with residual")
    for name in ("overlay", "same again"):
        assert dice[f"Dice/{name}, phase known/tumour"] == dice[f"Dice/{name}/tumour"]


def test_a_comparator_sees_what_the_pipeline_sees(scores):
    dice = scores("high grade")
    assert dice["Dice/same again/tumour"] == pytest.approx(dice["Dice/overlay/tumour"], abs=0.01)
    assert dice["false ml/same again/cavity"] == pytest.approx(dice["false ml/overlay/cavity"], rel=0.05)


def test_test_cases_of_both_phases_are_scored_beside_the_baselines(tiny_models, make_case, tmp_path):
    kinds = {"case-0": "low grade", "case-1": "high grade", "case-2": "low grade", "case-3": "cavity with residual"}
    for name, kind in kinds.items():
        write_case(make_case(kind), tmp_path / name)
    splits = zip(kinds, ("train", "test", "test", "test"), strict=True)
    write_index(tmp_path, [{"name": name, "head": "h", "split": split} for name, split in splits])
    lines = []
    found = evaluate_pipeline(
        tmp_path, {"same again": Comparator(load("lesion-3d"))}, count=2, report=lines.append
    )
    assert [(row["case"], row["head"], row["lesion"]) for row in found["cases"]] == [
        ("case-1", "h", "high grade"), ("case-3", "h", "cavity with residual"),
    ]  # fmt: skip
    assert lines[-1] == "case-3: scored (2 of 2)"
    summary = found["summary"]
    # The MRI follows from the ultrasound, which the map finds out, and the tiny generator does not.
    assert summary["T2w/monotone map/MAE"]["mean"] < 0.01 < summary["T2w/generator/MAE"]["mean"]
    assert -1 <= summary["uncertainty/rank correlation"]["mean"] <= 1
    assert summary["Dice/overlay/residual tumour"]["n"] == 1
    assert "expected Dice/overlay, phase known/tumour" in found["cases"][0]
    write_json(found, tmp_path / "evaluation.json")
    assert json.loads((tmp_path / "evaluation.json").read_text())["simulated"] is True
