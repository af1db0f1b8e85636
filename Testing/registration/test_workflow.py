"""The whole job: result, verdict, report, progress, cancel, and one clear line for what cannot be registered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from phantom import displaced, displacement, field_of_view, head, points_of

from IoUSynthLib.inference import Cancelled
from IoUSynthLib.registration import RegistrationResult, register
from IoUSynthLib.registration.rigid import Search, Solution, mean_distance
from IoUSynthLib.registration.verdict import judge, reconcile
from IoUSynthLib.registration.workflow import synthetic_pairs
from IoUSynthLib.volume import InputError, Volume


@pytest.fixture(scope="module")
def scene() -> dict:
    images = head()
    ultrasound, synthetic, fan = field_of_view(images)
    truth = displacement(5, 9)
    return {
        "images": images, "ultrasound": ultrasound, "synthetic": synthetic, "fan": fan, "truth": truth,
        "moving": displaced(images, truth), "points": points_of(fan),
    }


@pytest.fixture(scope="module")
def calls() -> list[tuple[str, float]]:
    return []


@pytest.fixture(scope="module")
def result(scene: dict, calls: list) -> RegistrationResult:
    fixed = scene["points"]
    mri = fixed @ scene["truth"][:3, :3].T + scene["truth"][:3, 3]
    return register(
        scene["moving"], scene["ultrasound"], scene["synthetic"], landmarks=(mri, fixed),
        progress=lambda stage, fraction: calls.append((stage, fraction)),
    )


def test_both_answers_agree_on_the_truth(scene: dict, result: RegistrationResult) -> None:
    assert mean_distance(result.matrix, scene["truth"], scene["points"]) < 0.5
    assert result.verdict.name == "agrees"
    assert result.verdict.reasons == ()
    assert result.report["verdict"] == "agrees"
    assert result.report["similarity"]["ultrasound"]["after"] > result.report["similarity"]["ultrasound"]["before"]
    assert result.report["measures"]["after"]["local_ncc"] > result.report["measures"]["before"]["local_ncc"]
    before, after = (result.report["measures"][when]["mind_ssc_distance"] for when in ("before", "after"))
    assert after < before


def test_the_report_gives_the_tre(result: RegistrationResult) -> None:
    tre = result.report["TRE"]
    assert tre["before"]["mean_mm"] > 8
    assert tre["after"]["mean_mm"] < 0.5
    assert f"{tre['after']['mean_mm']:.2f} mm after" in result.report["summary"]


def test_the_transform_resamples_the_mri_onto_the_ultrasound(scene: dict, result: RegistrationResult) -> None:
    resampled = result.resampled["T2w"]
    assert resampled.same_grid(scene["ultrasound"])
    inside = scene["fan"].array > 0
    assert np.corrcoef(resampled.array[inside], scene["synthetic"]["T2w"].array[inside])[0, 1] > 0.9


def test_progress_rises_from_0_to_1_through_all_stages(result: RegistrationResult, calls: list) -> None:
    fractions = [fraction for _, fraction in calls]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert list(dict.fromkeys(stage for stage, _ in calls)) == ["checking", "searching", "comparing", "finishing"]
    assert result.report["seconds"]["total"] == pytest.approx(
        sum(value for name, value in result.report["seconds"].items() if name != "total"), abs=0.01
    )


def test_a_progress_that_raises_cancels(scene: dict) -> None:
    def stop(stage: str, fraction: float) -> None:
        if stage == "searching" and fraction > 0.05:
            raise Cancelled

    with pytest.raises(Cancelled):
        register(scene["moving"], scene["ultrasound"], scene["synthetic"], scene["fan"], progress=stop)


def test_another_head_is_doubted(scene: dict) -> None:
    other = displaced(head(seed=4), scene["truth"])
    verdict = register(other, scene["ultrasound"], scene["synthetic"], scene["fan"]).verdict
    assert verdict.name in ("doubtful", "failed")
    assert verdict.reasons


def test_contrasts_are_compared_with_their_like(scene: dict) -> None:
    pairs = synthetic_pairs(scene["moving"], scene["synthetic"])
    assert [pair.positive for pair in pairs] == [True, True]
    other = synthetic_pairs({"T1w": scene["moving"]["T2w"]}, scene["synthetic"])
    assert len(other) == 2
    assert not any(pair.positive for pair in other)


def test_a_contrast_without_its_like_is_registered_too(scene: dict) -> None:
    inverted = {name: image.with_array(np.where(image.array > 1, 1200 - image.array, 0).astype(np.float32))
                for name, image in scene["moving"].items()}
    result = register({"T1w": inverted["T2w"]}, scene["ultrasound"], scene["synthetic"], scene["fan"])
    assert mean_distance(result.matrix, scene["truth"], scene["points"]) < 1.0


class FixedSearch(Search):
    """A search whose similarity is the closeness to one place."""

    def __init__(self, best: np.ndarray) -> None:
        self.initial, self.wanted = np.eye(4), best

    @property
    def points(self) -> np.ndarray:
        return np.eye(3) * 30

    def at(self, matrix: np.ndarray, distinct: float = 0.5) -> Solution:
        value, before = (1 / (1 + mean_distance(pose, self.wanted, self.points)) for pose in (matrix, self.initial))
        return Solution(matrix, value, before, 1.0, distinct)

    def better(self, solution: Solution, start: np.ndarray) -> Solution:
        return max(solution, self.at(start), key=lambda found: found.value)


def test_each_measure_tries_the_others_answer() -> None:
    right, wrong = displacement(0, 8), displacement(0, 14, seed=3)
    searches = FixedSearch(right), FixedSearch(right)
    caught = searches[1].at(wrong)
    first, second = reconcile(*searches, (searches[0].at(right), caught))
    assert second.matrix is first.matrix is right
    assert judge(searches[0], first, second).name == "agrees"


@pytest.mark.parametrize(("apart", "name"), [(1.0, "agrees"), (3.0, "doubtful"), (8.0, "failed")])
def test_the_verdict_follows_the_distance(apart: float, name: str) -> None:
    here = displacement(0, 8)
    there = here.copy()
    there[0, 3] += apart
    verdict = judge(FixedSearch(here), FixedSearch(here).at(here), FixedSearch(there).at(there))
    assert verdict.name == name
    assert verdict.distance_mm == pytest.approx(apart)


def test_an_answer_that_is_not_distinct_or_too_far_is_doubtful() -> None:
    here, far = displacement(0, 8), displacement(0, 22)
    search = FixedSearch(here)
    assert "other places" in judge(search, search.at(here, 0.01), search.at(here)).reasons[0]
    search = FixedSearch(far)
    assert "further than the search can vouch for" in judge(search, search.at(far), search.at(far)).reasons[0]


@pytest.mark.parametrize(("change", "message"), [
    ({"moving": {}}, "needs a preoperative MRI"),
    ({"fan": "empty"}, "mask: is empty"),
    ({"moving": "far"}, "do not overlap"),
    ({"cavity": "other grid"}, "cavity: does not lie on the ultrasound's grid"),
    ({"landmarks": (np.zeros((4, 3)), np.zeros((3, 3)))}, "4 landmarks of the MRI but 3"),
    ({"landmarks": (np.zeros((1, 3)), np.zeros((1, 3)))}, "1 pairs, but a TRE needs at least 3"),
])
def test_what_cannot_be_registered_is_one_clear_line(scene: dict, change: dict, message: str) -> None:
    image = scene["moving"]["T2w"]
    made = {
        "empty": scene["fan"].with_array(np.zeros_like(scene["fan"].array)),
        "far": {"T2w": Volume(image.array, image.spacing, (900.0, 0.0, 0.0))},
        "other grid": image,
    }
    arguments = {name: scene[name] for name in ("moving", "ultrasound", "synthetic", "fan")}
    arguments |= {name: made.get(value, value) if isinstance(value, str) else value for name, value in change.items()}
    with pytest.raises(InputError, match=message) as caught:
        register(**arguments)
    assert "\n" not in str(caught.value)


def test_the_written_transform_maps_the_same_points(result: RegistrationResult, tmp_path: Path) -> None:
    for name in ("t.h5", "t.tfm"):
        sitk.WriteTransform(result.transform, str(tmp_path / name))
        read = sitk.ReadTransform(str(tmp_path / name))
        point = (10.0, -20.0, 30.0)
        np.testing.assert_allclose(read.TransformPoint(point), (result.matrix @ [*point, 1])[:3], atol=1e-9)
