"""The whole job: result, consistency, report, progress, cancel, and one clear line for what cannot be registered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.phantom import FEW_VOXELS, displaced, displacement, field_of_view, head, points_of

from IoUSynthLib.inference import Cancelled
from IoUSynthLib.preprocessing import crop
from IoUSynthLib.registration import RegistrationResult, register, search
from IoUSynthLib.registration.consistency import Consistency, assess_consistency
from IoUSynthLib.registration.rigid import mean_distance
from IoUSynthLib.registration.search import Solution
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


@pytest.fixture(scope="module", params=["few voxels", pytest.param("all voxels", marks=pytest.mark.long)])
def result(scene: dict, calls: list, request: pytest.FixtureRequest) -> RegistrationResult:
    fixed = scene["points"]
    mri = fixed @ scene["truth"][:3, :3].T + scene["truth"][:3, 3]
    calls.clear()
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "few voxels":
            patch.setattr(search, "_VOXELS", FEW_VOXELS)
        return register(
            scene["moving"], scene["ultrasound"], scene["synthetic"], landmarks=(mri, fixed),
            progress=lambda stage, fraction: calls.append((stage, fraction)),
        )


def test_both_answers_agree_on_the_truth(scene: dict, result: RegistrationResult) -> None:
    assert mean_distance(result.matrix, scene["truth"], scene["points"]) < 0.5
    assert result.consistency.name == "agrees"
    assert result.consistency.reasons == ()
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
        register(scene["moving"], scene["ultrasound"], scene["synthetic"], fan=scene["fan"], progress=stop)


@pytest.mark.usefixtures("few_voxels")
def test_another_head_is_doubted(scene: dict) -> None:
    other = displaced(head(seed=4), scene["truth"])
    consistency = register(other, scene["ultrasound"], scene["synthetic"], fan=scene["fan"]).consistency
    assert consistency.name in ("doubtful", "failed")
    assert consistency.reasons


@pytest.mark.usefixtures("few_voxels")
def test_contrasts_are_compared_with_their_like(scene: dict) -> None:
    pairs = synthetic_pairs(scene["moving"], scene["synthetic"])
    assert [pair.positive for pair in pairs] == [True, True]
    other = synthetic_pairs({"T1w": scene["moving"]["T2w"]}, scene["synthetic"])
    assert len(other) == 2
    assert not any(pair.positive for pair in other)


@pytest.mark.usefixtures("few_voxels")
def test_a_contrast_without_its_like_is_registered_too(scene: dict) -> None:
    inverted = {name: image.with_array(np.where(image.array > 1, 1200 - image.array, 0).astype(np.float32))
                for name, image in scene["moving"].items()}
    result = register({"T1w": inverted["T2w"]}, scene["ultrasound"], scene["synthetic"], fan=scene["fan"])
    assert mean_distance(result.matrix, scene["truth"], scene["points"]) < 1.0


class FixedSearch:
    """A measure that likes one place best, and does so for sure or not."""

    def __init__(self, best: np.ndarray, distinct: float = 5.0) -> None:
        self.initial, self.middle = np.eye(4), None
        self.points = np.eye(3) * 30
        self.optima = [(1.0, best)]
        self.distinct = distinct

    def value(self, _level: None, matrix: np.ndarray) -> float:
        return 1 / (1 + mean_distance(matrix, self.optima[0][1], self.points))

    def distinctness(self, matrix: np.ndarray) -> float:
        return self.distinct if mean_distance(matrix, self.optima[0][1], self.points) < 5 else -self.distinct


def consistency_of(
    answer: np.ndarray, synthetic: FixedSearch, ultrasound: FixedSearch, covered: float = 1.0
) -> Consistency:
    """Of an answer that the joint measure prefers to the start."""
    return assess_consistency(
        Solution(answer, 0.5, 0.1, covered), joint=ultrasound, synthetic=synthetic, ultrasound=ultrasound
    )


@pytest.mark.parametrize(("apart", "name"), [(1.0, "agrees"), (3.0, "doubtful"), (8.0, "failed")])
def test_the_consistency_follows_the_distance_of_two_sure_opinions(apart: float, name: str) -> None:
    here = displacement(0, 8)
    there = here.copy()
    there[0, 3] += apart
    consistency = consistency_of(here, FixedSearch(here), FixedSearch(there))
    assert consistency.name == name
    assert consistency.distance_mm == pytest.approx(apart)


@pytest.mark.parametrize(("sure", "name"), [((5.0, 0.2), "doubtful"), ((0.2, 5.0), "doubtful"), ((0.2, 0.2), "failed")])
def test_an_opinion_that_is_not_sure_is_no_witness(sure: tuple[float, float], name: str) -> None:
    places = displacement(0, 8), displacement(0, 30, seed=3)
    right = int(sure[1] > sure[0])
    first, second = (FixedSearch(places[number != right], distinct) for number, distinct in enumerate(sure))
    assert consistency_of(places[0], first, second).name == name


@pytest.mark.parametrize(("sure", "name"), [(2.0, "doubtful"), (5.0, "failed")])
def test_of_two_sure_opinions_that_contradict_each_other_the_surer_decides(sure: float, name: str) -> None:
    here, there = displacement(0, 8), displacement(0, 30, seed=3)
    consistency = consistency_of(here, FixedSearch(there, sure), FixedSearch(here, 4.0))
    assert consistency.name == name
    assert consistency.reasons[0].startswith("Synthetic MRI")


def test_an_answer_that_is_not_distinct_too_far_or_hardly_covered_is_doubtful() -> None:
    here, far = displacement(0, 8), displacement(0, 22)
    assert "other places" in consistency_of(here, FixedSearch(here, 0.1), FixedSearch(here)).reasons[0]
    assert "covers only 60%" in consistency_of(here, FixedSearch(here), FixedSearch(here), 0.6).reasons[0]
    assert "further than the search can vouch for" in consistency_of(far, FixedSearch(far), FixedSearch(far)).reasons[0]


def test_an_answer_that_fits_no_better_than_the_start_has_failed() -> None:
    here = displacement(0, 8)
    measure = FixedSearch(here)
    assert assess_consistency(
        Solution(here, 0.1, 0.1, 1.0), joint=measure, synthetic=measure, ultrasound=measure
    ).name == "failed"


@pytest.mark.usefixtures("few_voxels")
def test_what_failed_leaves_the_mri_where_it_was(scene: dict) -> None:
    far = displaced(scene["images"], displacement(0, 45))
    result = register(
        far, scene["ultrasound"], scene["synthetic"], fan=scene["fan"], affine=True, deformable=True,
        landmarks=(scene["points"][:9], scene["points"][:9]),
    )
    assert result.consistency.name == "failed"
    assert result.deformation is None
    np.testing.assert_array_equal(result.matrix, np.eye(4))
    assert result.report["TRE"]["after"] == result.report["TRE"]["before"]
    assert "FAILED, the MRI stays where it was" in result.report["summary"]


@pytest.mark.usefixtures("few_voxels")
@pytest.mark.parametrize(("share", "filled"), [(0.6, False), (0.45, True)])
def test_mri_that_ends_inside_the_fan_is_registered(scene: dict, share: float, filled: bool) -> None:
    moving = {name: cut(image, scene, share, filled) for name, image in scene["moving"].items()}
    result = register(moving, scene["ultrasound"], scene["synthetic"], fan=scene["fan"])
    assert mean_distance(result.matrix, scene["truth"], scene["points"]) < 1.0
    assert result.consistency.ultrasound["covered"] == pytest.approx(share, abs=0.15)
    assert result.consistency.name == "doubtful"


@pytest.mark.usefixtures("few_voxels")
def test_mri_that_hardly_reaches_the_fan_is_refused(scene: dict) -> None:
    moving = {name: cut(image, scene, 0.03, False) for name, image in scene["moving"].items()}
    with pytest.raises(InputError, match=r"the MRI covers .* ml of the ultrasound .* needs 8 ml"):
        register(moving, scene["ultrasound"], scene["synthetic"], fan=scene["fan"])


def cut(image: Volume, scene: dict, share: float, filled: bool) -> Volume:
    """The MRI up to the plane below which a share of the fan lies; beyond it 0 or nothing."""
    points = scene["points"] @ scene["truth"][:3, :3].T + scene["truth"][:3, 3]
    index = (points - image.ijk_to_lps[:3, 3]) @ np.linalg.inv(image.ijk_to_lps)[:3, :3].T
    end = int(np.quantile(index[:, 2], share))
    if filled:
        return image.with_array(np.where(np.arange(image.array.shape[0])[:, None, None] < end, image.array, 0))
    return crop(image, (slice(0, end), *(slice(0, length) for length in image.array.shape[1:])))


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
