"""Backgrounds that are not 0, and voxels that outshine an image: what the program sees is the image without them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from IoUSynthLib.input_checks import check_input, check_ultrasound, grounded, negative_share
from IoUSynthLib.preprocessing import field_of_view, normalize_mri, normalize_ultrasound, resample_to_spacing
from IoUSynthLib.synthesis.quality import FINE, UNUSABLE, assess_quality
from IoUSynthLib.volume import InputError, Volume

FAN = 8.0  # the fixture's darkest voxel in the fan, but for the black ventricle


def offset(array: np.ndarray) -> np.ndarray:
    return (array + 20).astype(np.int16)


def scaled(array: np.ndarray) -> np.ndarray:
    return array * np.float32(0.5) + 10


def shifted_like_ct(array: np.ndarray) -> np.ndarray:
    return (array.round() * 4 - 1024).astype(np.int16)


def padded(value: float):
    return lambda array: np.where(array > 0, array, np.float32(value))


BACKGROUNDS = {
    "offset of 20": (offset, "is 20, not 0; 20 was subtracted"),
    "slope and intercept": (scaled, "is 10, not 0; 10 was subtracted"),
    "all shifted by -1024": (shifted_like_ct, "is -1024, not 0; -1024 was subtracted"),
    "padded with -1": (padded(-1), "is -1, not 0; it was set to 0"),
    "padded with -1024": (padded(-1024), "is -1024, not 0; it was set to 0"),
    "padded with 255": (padded(255.5), "is 255.5, not 0; it was set to 0"),
    "padded with grey": (padded(90.5), "is 90.5, not 0; it was set to 0"),
    "padded with 0 and -1024": (
        lambda array: np.where((array == 0) & (np.arange(array.shape[2]) < 4), -1024, array),
        "is -1024, not 0; it was set to 0",
    ),
    "padded with -1 and -1024": (
        lambda array: np.where(array > 0, array, np.where(np.arange(array.shape[2]) < 4, -1, -1024)),
        "is -1024 and -1, not 0; it was set to 0",
    ),
    "padded with NaN": (padded(np.nan), r"round the image, holds no numbers \(NaN\)"),
}


@pytest.fixture(scope="module")
def whole(ultrasound) -> Volume:
    """The fan alone, without the black sphere in it, which a pad would fill."""
    array = ultrasound.array.copy()
    array[field_of_view(array) & (array == 0)] = FAN
    return ultrasound.with_array(array)


@pytest.fixture(scope="module")
def fan(whole) -> np.ndarray:
    return field_of_view(whole.array)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_background_is_found_by_its_constancy(whole, fan, name):
    spoil, note = BACKGROUNDS[name]
    spoilt = whole.with_array(spoil(whole.array))
    before = spoilt.array.copy()
    found = check_ultrasound(spoilt)
    assert np.array_equal(field_of_view(found.array), fan)
    expected = normalize_ultrasound(whole.array)
    assert np.allclose(normalize_ultrasound(found.array), expected, atol=0.03), "rounded by the integers at most"
    assert re.search(note, found.notes[0])
    assert assess_quality(spoilt).level == FINE
    assert np.array_equal(spoilt.array, before, equal_nan=True), "the input is not changed"
    assert check_ultrasound(found) is found, "once is enough"


def test_an_image_as_it_should_be_is_left_alone(ultrasound):
    assert grounded(ultrasound) is ultrasound
    bytes_of_it = ultrasound.with_array(ultrasound.array.astype(np.uint8))
    assert grounded(bytes_of_it) is bytes_of_it


def test_saturated_voxels_inside_a_white_background_stay(whole):
    """White is the background only where it hangs together with the border."""
    array = whole.array.copy()
    array[26, 28, 32:36] = 255
    found = check_ultrasound(whole.with_array(np.where(array > 0, array, 255)))
    assert (found.array[26, 28, 32:36] == 255).all()


@pytest.mark.parametrize("place", [(26, 28, 34), (slice(2, 4), slice(1, 4), slice(2, 14))], ids=["pixel", "mark"])
def test_voxels_that_outshine_the_image_are_limited(whole, fan, place):
    array = whole.array.astype(np.uint16)
    array[place] = 65535
    found = check_ultrasound(whole.with_array(array))
    assert found.array.max() < 400
    assert (field_of_view(found.array) == fan).mean() > 0.999
    assert "up to 65535" in found.notes[0]
    assert assess_quality(whole.with_array(array)).level == FINE


def test_large_marks_at_full_scale_are_limited(whole):
    array = whole.array.astype(np.uint16)
    array[2:5, 1:14, 2:40] = 65535  # 2 % of the image
    found = check_ultrasound(whole.with_array(array))
    assert found.array.max() < 400
    assert "up to 65535 (1482 in number)" in found.notes[0]


def test_faint_noise_round_a_small_image_is_no_image_that_it_outshines(ultrasound):
    noise = np.random.default_rng(0).random(ultrasound.array.shape).astype(np.float32) * 0.1
    noisy = ultrasound.with_array(np.maximum(ultrasound.array, noise))
    assert grounded(noisy) is noisy


def test_the_scale_does_not_matter(ultrasound):
    for factor in (1e-12, 4e-12, 1e6):
        small = ultrasound.with_array(ultrasound.array * np.float32(factor))
        assert np.allclose(normalize_ultrasound(small.array), normalize_ultrasound(ultrasound.array), atol=1e-4)
        assert np.allclose(normalize_mri(small.array), normalize_mri(ultrasound.array), atol=1e-4)
        assert assess_quality(small).level == FINE


@pytest.mark.parametrize("kind", [np.int8, np.float32])
def test_brightness_that_wrapped_round_is_refused(ultrasound, kind):
    """Bytes above 127 in signed bytes; read from a file, they are float32 as any other."""
    signed = ultrasound.with_array(ultrasound.array.astype(np.uint8).view(np.int8).astype(kind))
    with pytest.raises(InputError, match=r"2% of the image is negative, .* signed bytes \(int8\); save it"):
        check_ultrasound(signed)
    assert assess_quality(signed).level == UNUSABLE


def test_what_resampling_rings_is_not_refused(whole, fan):
    ringing = whole.with_array(np.where(fan, whole.array, -3).astype(np.float32))
    ringing.array[::2] = np.maximum(ringing.array[::2], 0)
    assert negative_share(ringing.array) == 0


def test_mri_with_nan_round_it_is_taken(ultrasound):
    """As SPM leaves it after reslicing: a rim without data."""
    array = ultrasound.array + 5
    array[:, :, :9] = np.nan
    found = check_input(ultrasound.with_array(array), "mri.nii")
    assert (found.array[:, :, :9] == 0).all()
    assert "14% of the grid" in found.notes[0]


def test_nan_inside_an_image_is_damage(ultrasound):
    array = ultrasound.array.copy()
    array[:, :, :9] = np.nan
    array[30, 30, 30] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        check_input(ultrasound.with_array(array))


def test_rounded_cosines_do_not_lengthen_a_grid():
    direction = np.array([[1, 1e-4, 0], [0, 1, 0], [0, 0, 1.0]])
    volume = Volume(np.ones((56, 72, 88), np.float32), (0.8,) * 3, direction=direction)
    assert resample_to_spacing(volume, (0.8,) * 3).size == (88, 72, 56)
