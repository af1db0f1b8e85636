"""Unusual volumes give right results, and the same volume always gives the same one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from IoUSynthLib import parallel, synthesize
from IoUSynthLib.inference import session as sessions
from IoUSynthLib.inference import sliding_window
from IoUSynthLib.volume import InputError, Volume


def arrays(result) -> dict[str, np.ndarray]:
    volumes = {**result.images, "uncertainty": result.uncertainty, "labels": result.segmentation, "valid": result.valid}
    return {name: volume.array for name, volume in volumes.items()}


def same(one, other) -> bool:
    return all(np.array_equal(array, arrays(other)[name]) for name, array in arrays(one).items())


def near(one, other) -> bool:
    """Whether images are within 1e-4 of the network's range, which is 500 of an image, and all labels equal."""
    widths = {"T2w": 500, "FLAIR": 500, "uncertainty": 1}
    return all(
        np.abs(array - arrays(other)[name]).max() <= 1e-4 * widths[name]
        if name in widths else np.array_equal(array, arrays(other)[name])
        for name, array in arrays(one).items()
    )  # fmt: skip


@pytest.fixture
def whole(ultrasound) -> Volume:
    """Whole numbers from 0 to 100, which every type can hold."""
    return ultrasound.with_array(np.rint(np.clip(ultrasound.array, 0, 100)).astype(np.float32))


KINDS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
TYPES = [f"{order}{kind}" for order in "<>" for kind in KINDS]


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_number_gives_the_same(tiny_models, whole, kind):
    assert same(synthesize(whole.with_array(whole.array.astype(kind))), synthesize(whole))


LAYOUTS = {
    "reversed twice": lambda array: array[::-1, ::-1].copy()[::-1, ::-1],
    "columns first": np.asfortranarray,
    "every second voxel of a larger array": lambda array: np.repeat(array, 2, axis=2)[..., ::2],
    "read only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_how_voxels_lie_in_memory_does_not_matter(tiny_models, whole, layout):
    array = LAYOUTS[layout](whole.array)
    before = array.tobytes()
    assert same(synthesize(whole.with_array(array)), synthesize(whole))
    assert array.tobytes() == before, "the input is only read"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_eight_slices_are_enough(tiny_models, whole, axis):
    few = np.take(whole.array, range(24, 32), axis=axis)
    volume = replace(whole, array=np.ascontiguousarray(few))
    result = synthesize(volume)
    assert result.images["T2w"].same_grid(volume)
    assert (result.images["T2w"].array[result.valid.array > 0] > 0).all()


@pytest.mark.parametrize("spacing", [(0.1, 0.1, 0.1), (0.3, 0.3, 5.0), (5.0, 5.0, 5.0), (0.1, 5.0, 1.0)])
def test_voxels_of_a_tenth_of_a_millimetre_to_five(tiny_models, whole, spacing):
    steps = tuple(slice(None, None, max(1, int(length))) for length in reversed(spacing))  # as large as it was
    volume = replace(whole, array=whole.array[steps], spacing=spacing)
    result = synthesize(volume)
    for image in (*result.images.values(), result.uncertainty, result.segmentation, result.valid):
        assert image.same_grid(volume)
    inside = result.valid.array > 0
    assert np.isfinite(result.images["T2w"].array).all()
    assert (result.images["T2w"].array[inside] > 0).all()
    assert (result.images["T2w"].array[~inside] == 0).all()


def test_a_fan_smaller_than_a_voxel_of_the_model_is_said(tiny_models, whole):
    with pytest.raises(InputError, match="fan is smaller than a voxel of the model; check the spacing"):
        synthesize(replace(whole, spacing=(1e-3, 1e-3, 1e-3)))


@pytest.mark.long
def test_a_volume_of_512_cubed(tiny_models):
    array = np.zeros((512,) * 3, np.uint8)
    array[100:300, 100:300, 100:300] = np.random.default_rng(0).integers(1, 255, (200,) * 3)
    volume = Volume(array, (0.3, 0.3, 0.3))
    result = synthesize(volume)
    assert result.images["T2w"].same_grid(volume)
    assert int((result.valid.array > 0).sum()) == pytest.approx(200**3, rel=0.05)


def test_two_runs_are_the_same_to_the_last_bit(tiny_models, ultrasound, monkeypatch):
    first = synthesize(ultrasound, device="cpu")
    monkeypatch.setattr(sessions, "_sessions", {})  # as in another process
    assert same(synthesize(ultrasound, device="cpu"), first)


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_any_number_of_threads_gives_the_same(tiny_models, ultrasound, monkeypatch, cores):
    expected = synthesize(ultrasound, device="cpu")
    monkeypatch.setattr(sessions, "_sessions", {})
    for module in (parallel, sessions):
        monkeypatch.setattr(module, "usable_cores", lambda: cores)
    monkeypatch.setattr(sessions.os, "cpu_count", lambda: 64)  # so that the session takes just so many threads
    assert near(synthesize(ultrasound, device="cpu"), expected)


@pytest.mark.parametrize("windows", [1, 5, 64])
def test_any_number_of_windows_at_once_gives_the_same(tiny_models, ultrasound, monkeypatch, windows):
    expected = synthesize(ultrasound, device="cpu")
    monkeypatch.setitem(sliding_window._BATCH_PIXELS, "cpu", windows * 32 * 32)
    assert near(synthesize(ultrasound, device="cpu"), expected)
