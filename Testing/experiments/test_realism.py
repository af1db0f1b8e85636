"""Measures of realism have known answers on made images, and agree with what was measured on the real sweep."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from IoUSynthLib.experiments.__main__ import main
from IoUSynthLib.experiments.realism import classifier, data, depth, measures
from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.volume import InputError, Volume

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "resect").is_dir(), reason="RESECT is not here")


def speckle_frames(axial, lateral, radius=40.0, step=0.1):
    """Envelope of complex noise through a Gaussian of ``axial`` and ``lateral`` mm at ``radius``, on a level of 100."""
    rng = np.random.default_rng(0)
    radii = np.arange(radius - 20, radius + 20, step)
    angles = np.arange(160) * 0.2 / radius
    sigmas = (0, lateral / 0.2, axial / step)
    parts = [ndimage.gaussian_filter(rng.standard_normal((4, 160, len(radii))), sigmas) for _ in range(2)]
    envelope = np.hypot(*parts)
    return measures.PolarFrames((100 * envelope / envelope.mean()).astype(np.float32), radii, angles)


@pytest.mark.parametrize(("axial", "lateral"), [(0.25, 0.4), (0.4, 0.25)])
def test_speckle_width_follows_the_point_spread_function(axial, lateral):
    frames = speckle_frames(axial, lateral)
    found = [
        # Hardly any detrending, for which theory has no term.
        measures.half_width(frames.array, axis, step=step, smoothing=(30.0, 30.0))
        for axis, step in ((2, 0.1), (1, 0.2))
    ]
    # exp(-d^2 / (4 s^2)) is the field's autocorrelation; the envelope's is close to its square.
    expected = [np.sqrt(2 * np.log(2)) * s for s in (axial, lateral)]
    assert found == pytest.approx(expected, rel=0.12)


def test_speckle_is_not_measured_without_tissue():
    frames = speckle_frames(0.3, 0.3)
    assert np.isnan(measures.half_width(0 * frames.array, 2, step=0.1, smoothing=(5.0, 5.0)))
    assert np.isnan(measures.half_width(frames.array * np.nan, 2, step=0.1, smoothing=(5.0, 5.0)))


def test_grey_levels_and_brightness_of_a_ramp():
    array = np.zeros((1, 2, 80), np.float32)
    array[0, 0] = np.repeat([80, 70, 60, 50, 40, 30, 20, 10], 10)
    array[0, 1] = np.nan
    array[0, 0, -5:] = 2
    frames = measures.PolarFrames(array, np.arange(80.0), np.array([0.0, 0.1]))
    levels = measures.grey_levels(frames)
    assert levels["black share of the fan"] == pytest.approx(5 / 80)
    assert levels["foreground percentile 50 over 99"] == pytest.approx(50 / 80)
    assert levels["foreground percentile 99"] == 80
    assert list(measures.brightness(frames).values()) == pytest.approx(np.array([80, 70, 60, 50, 40, 30, 20, 6]) / 80)


def test_texture_correlation_of_filtered_noise():
    noise = np.random.default_rng(1).standard_normal((48, 48, 48))
    image = sum(ndimage.shift(noise, [0, 0, k], order=0, mode="wrap") for k in (0, 1))
    inside = np.ones(image.shape, bool)
    # Along x neighbours share one of two terms; along y and z they share none.
    assert measures.texture_correlation(image, inside, 1) == pytest.approx(0.5 / 3, abs=0.02)
    assert measures.texture_correlation(image, inside, 2) == pytest.approx(0, abs=0.02)


def test_volume_measures_do_not_depend_on_the_scale():
    ball = np.linalg.norm(np.indices((40, 40, 40)) - 20.0, axis=0) < 16
    image = ball * ndimage.gaussian_filter(np.random.default_rng(2).uniform(1, 200, ball.shape), 1)
    first, second = (measures.measure_volume(scale * image, ball) for scale in (1, 3.7))
    assert first == pytest.approx(second, rel=1e-4)
    assert 0 < first["volume quantile 10 %"] < first["volume quantile 90 %"] < 1


def test_polar_slices_read_the_volume_where_the_plane_lies():
    lateral, depth = np.meshgrid(np.arange(50), np.arange(60))
    array = np.broadcast_to((lateral + 2 * depth).astype(np.float32), (5, 60, 50)).copy()
    plane = np.eye(4)
    plane[:3, 3] = 25, 0, 2
    radii, angles = np.arange(5.0, 50.0), np.linspace(-0.3, 0.3, 7)
    frames = measures.polar_slices(array, np.ones(array.shape, bool), [plane], radii=radii, angles=angles)
    expected = 25 + np.sin(angles)[:, None] * radii + 2 * np.cos(angles)[:, None] * radii
    assert frames.array[0] == pytest.approx(expected, abs=1e-3)
    outside = measures.polar_slices(array, np.zeros(array.shape, bool), [plane], radii=radii, angles=angles)
    assert np.isnan(outside.array).all()


def test_comparison_says_which_real_values_lie_inside():
    simulated = [{"a": float(v), "b": float(v)} for v in range(101)]
    rows = measures.compare(simulated, {"one": {"a": 50.0, "b": 99.0}, "two": {"a": 2.0}})
    assert rows[0]["in range"] == {"one": True, "two": False}
    assert (rows[0]["low"], rows[0]["median"], rows[0]["high"]) == pytest.approx((5, 50, 95))
    text = measures.table(rows, ["one", "two"])
    assert "| a | 50 (5 to 95) | 50 | 2 | partly |" in text
    assert "| b | 50 (5 to 95) | 99 | - | **no** |" in text


def test_auc_counts_pairs():
    rng = np.random.default_rng(3)
    positive, negative = rng.integers(0, 9, 40).astype(float), rng.integers(0, 7, 30).astype(float)
    pairs = np.sign(positive[:, None] - negative) / 2 + 0.5
    assert classifier.auc(positive, negative) == pytest.approx(pairs.mean())


def test_halves_are_apart_and_complete():
    inside = np.zeros((20, 20, 20), bool)
    inside[2:18, 4:10, 5:9] = True
    low, high = classifier.halves(inside, np.array([0.0, 0.0, 2.0]))
    assert not (low & high).any()
    assert ((low | high) == inside).all()
    assert low[2:10].any()
    assert not low[10:].any()


def test_classifier_tells_coarse_from_fine_texture_and_nothing_from_nothing():
    torch.set_num_threads(1)
    rng = np.random.default_rng(4)

    def patches(sigma, count=120):
        noise = ndimage.gaussian_filter(rng.standard_normal((count, 32, 32)), (0, sigma, sigma))
        return (noise / noise.std() / 3).astype(np.float32)

    network = classifier.train(patches(1), patches(3), seed=0, steps=30)
    scores = [classifier.score(network, patches(sigma)) for sigma in (3, 1, 1)]
    assert classifier.auc(scores[0], scores[1]) > 0.95
    assert classifier.auc(scores[1], scores[2]) == pytest.approx(0.5, abs=0.12)


def test_classifier_repeats_with_its_seed():
    torch.set_num_threads(1)
    real, simulated = np.random.default_rng(7).standard_normal((2, 64, 32, 32)).astype(np.float32)
    first, second, other = (
        classifier.score(classifier.train(real, simulated, seed=seed, steps=2), real) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_patches_lie_inside_and_repeat_with_the_seed():
    ball = np.linalg.norm(np.indices((64, 64, 64)) - 31.5, axis=0) < 28
    image = ball * np.random.default_rng(5).uniform(20, 200, ball.shape)
    first, second = (
        classifier.sample_patches(image, ball, 6, rng=np.random.default_rng(seed)) for seed in (0, 0)
    )
    assert first.shape == (6, 32, 32)
    assert np.array_equal(first, second)
    assert len(classifier.sample_patches(image, ball & False, 6, rng=np.random.default_rng(0))) == 0


@pytest.fixture
def cohort(tmp_path):
    """A case that is a translated sector of speckle, 5 mm below the upper edge of its cube."""
    size, voxel = 64, 1.0
    elevation, depth, lateral = np.indices((size,) * 3) - np.array([31.5, 5.0, 31.5]).reshape(3, 1, 1, 1)
    radius, angle = np.hypot(lateral, depth + 10), np.arctan2(lateral, depth + 10)
    fan = (np.abs(angle) < 0.6) & (radius > 10) & (radius < 55) & (np.abs(elevation) < 20)
    image = ndimage.gaussian_filter(np.random.default_rng(6).uniform(10, 250, fan.shape), 0.7) * fan
    folder = tmp_path / "cohort" / "case-0000"
    folder.mkdir(parents=True)
    origin = (-31.5, -5.0, -31.5)
    write_volume(folder / "ioUS.mha", Volume(image.astype(np.uint8), (voxel,) * 3, origin), {})
    probe = {"depth": 45.0, "half_angle": 0.6, "face_radius": 10.0, "sweep_half_length": 20.0, "tilt_pivot": None}
    parameters = {"seed": 0, "head": "one", "probe": probe, "face": [0, 0, 0], "axes": np.eye(3).tolist()}
    (folder / "case.json").write_text(json.dumps(parameters))
    return folder.parent


def test_frames_of_a_simulated_case_lie_on_its_fan(cohort):
    volume, inside, planes, radii, angles = data.read_simulated(cohort / "case-0000")
    frames = measures.polar_slices(volume.array, inside, planes, radii=radii, angles=angles)
    assert np.isfinite(frames.array).mean() > 0.95
    assert radii[0] == 10
    assert [plane[2, 3] for plane in planes] == pytest.approx(np.linspace(21.5, 41.5, len(planes)))


def test_fan_is_found_where_the_hand_drifted_to(cohort):
    folder = cohort / "case-0000"
    parameters = json.loads((folder / "case.json").read_text())
    parameters["face"] = [3.0, -2.0, 0.0]  # as if the image lay 3 mm to the left and 2 mm deeper than the sweep's axis
    (folder / "case.json").write_text(json.dumps(parameters))
    volume, inside, planes, radii, angles = data.read_simulated(folder)
    frames = measures.polar_slices(volume.array, inside, planes, radii=radii, angles=angles)
    assert np.isfinite(frames.array).mean() > 0.93


def test_cohort_of_one_case_is_measured(cohort):
    found = measures.measure_cohort(data.case_folders(cohort))[0]
    assert np.isfinite(list(found.values())).all()


@pytest.mark.parametrize("missing", ["cohort", "real"])
def test_missing_data_is_named(tmp_path, cohort, missing, capsys):
    folders = {"cohort": cohort, "real": tmp_path / "real"} | {missing: tmp_path / "absent"}
    arguments = ["--cohort", str(folders["cohort"]), "--real", str(folders["real"]), "-o", str(tmp_path / "out")]
    assert main(["realism", *arguments]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "absent") in error
    assert "iousynth simulate" in error or "RESECT" in error


def test_case_without_parameters_is_named(tmp_path):
    with pytest.raises(InputError, match=r"case-0001: no case\.json"):
        data.read_parameters(tmp_path / "case-0001")


@needs_data
def test_real_sweep_as_acquired_measures_as_published_notes_say():
    """Half-widths near 0.30 mm axially and 0.55 to 1.0 mm laterally, and brightness lost by the deepest octiles."""
    sweep = data.read_frames(DATA)
    radii, angles = data.sweep_polar_grid(step=0.2063)
    lateral, depth = np.sin(angles)[:, None] * radii, np.cos(angles)[:, None] * radii
    column, row = (a / data.PIXEL + o for a, o in zip((lateral, depth), data.APEX, strict=True))
    polar = [ndimage.map_coordinates(f.astype(np.float32), [row, column], order=1) for f in sweep.frames[::8]]
    found = measures.measure_frames(measures.PolarFrames(np.stack(polar), radii, angles))
    assert found["speckle half-width axial near, mm"] == pytest.approx(0.33, abs=0.05)
    assert found["speckle half-width lateral near, mm"] == pytest.approx(0.55, abs=0.1)
    assert found["speckle half-width lateral deep, mm"] == pytest.approx(1.0, abs=0.15)
    assert found["brightness of depth octile 8"] < 0.12


@needs_data
def test_fan_of_the_real_case_covers_its_field_of_view():
    case = data.read_case(DATA)
    inside = data.field_of_view(case.array)
    planes, grid = data.case_planes(case), data.case_polar_grid()
    frames = measures.polar_slices(case.array, inside, planes, radii=grid[0], angles=grid[1])
    assert np.isfinite(frames.array).mean() > 0.95


def test_depth_measures_of_a_made_volume():
    """A bright face, even tissue of 60 with lines of 180 that fill a twentieth, and a dark deep half."""
    array = np.full((60, 60, 60), 60.0, np.float32)
    array[:, :, ::20] = 180
    array[:, 42:] = 30
    array[:, :2] = 200
    inside = np.ones(array.shape, bool)
    mm = np.broadcast_to(np.arange(60.0)[None, :, None] * 0.8, array.shape)
    found = depth.measure_depths(array, inside, mm)
    assert found["fan, ml"] == pytest.approx(60**3 * 0.8**3 / 1000)
    assert found["face over tissue"] == pytest.approx(200 / 60)
    assert found["deep over near tissue"] == pytest.approx(0.5)
    assert found["share of thin bright voxels"] == pytest.approx(0.03, abs=0.01)


def test_real_and_simulated_volumes_are_set_side_by_side():
    real = {"a": {"grain": 1.0}, "b": {"grain": 3.0}, "c": {"grain": float("nan")}}
    rows = depth.compare([{"grain": value} for value in (0.0, 2.0, 2.5, 9.0)], real)
    assert rows[0]["real"] == [2.0, 1.0, 3.0]
    assert rows[0]["within"] == 0.5
    assert "| grain | 2 (1 to 3) | 2.25 (0.3 to 8.02) | 0.50 |" in depth.table(rows)


def test_volumes_of_other_patients_are_told_apart(monkeypatch):
    """Noise against noise with stripes."""
    monkeypatch.setattr(classifier, "PATCHES", 24)
    monkeypatch.setattr(classifier, "train", functools.partial(classifier.train, steps=12))
    rng = np.random.default_rng(0)

    def volumes(count, stripes):
        made = rng.uniform(40, 200, (count, 40, 40, 40))
        made[:, :, ::4] += stripes
        return list(made)

    found = classifier.tell_apart_by_volume(volumes(4, 0.0), volumes(1, 60.0), volumes(1, 60.0))
    assert min(found) > 0.8
    with pytest.raises(ValueError, match="four real volumes are needed"):
        classifier.tell_apart_by_volume(volumes(3, 0.0), [], [])
