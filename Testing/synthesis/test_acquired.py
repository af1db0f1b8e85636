"""Acquired MRI on the grid of an ultrasound: what covers too little, and the scale of other images."""

import numpy as np
import pytest

from IoUSynthLib.preprocessing import normalize_mri
from IoUSynthLib.synthesis.acquired import match, on_ultrasound
from IoUSynthLib.volume import InputError, Volume

SHAPE = (20, 20, 20)


@pytest.fixture
def fan():
    return Volume(np.ones(SHAPE, np.uint8), (0.8,) * 3)


def mri(shift=0.0):
    """Noise on the fan's grid, moved along x by mm."""
    array = np.random.default_rng(0).uniform(100, 300, SHAPE).astype(np.float32)
    return Volume(array, (0.8,) * 3, (shift, 0, 0))


def test_mri_in_place_is_normalised_and_covers_all(fan):
    found = on_ultrasound({"T2w": mri()}, fan)
    assert found.covered == 1
    assert found.seen.all()
    np.testing.assert_array_equal(found.images["T2w"], normalize_mri(mri().array))
    assert found.statistics["T2w"] == pytest.approx((mri().array.mean(), mri().array.std()), rel=1e-4)


def test_what_one_contrast_lacks_is_not_seen(fan):
    found = on_ultrasound({"T2w": mri(), "FLAIR": mri(0.8 * 5)}, fan)
    assert found.covered == pytest.approx(0.75)
    assert not found.seen[..., :5].any()
    assert found.seen[..., 5:].all()


def test_mri_of_elsewhere_and_without_an_image_is_refused(fan):
    with pytest.raises(InputError, match=r"T2w MRI: the MRI covers only 25% of the ultrasound; give images of one"):
        on_ultrasound({"T2w": mri(0.8 * 15)}, fan)
    with pytest.raises(InputError, match=r"a\.nrrd: holds no image where the ultrasound is"):
        on_ultrasound({"T2w": mri().with_array(np.zeros(SHAPE))}, fan, names={"T2w": "a.nrrd"})


def test_an_image_is_given_the_scale_of_another():
    """Of the same picture in other units, the picture itself comes back, outside of the mask too."""
    rng = np.random.default_rng(1)
    reference = rng.uniform(-0.6, 0.4, SHAPE)
    inside = rng.random(SHAPE) < 0.5
    np.testing.assert_allclose(match(7 * reference + 50, reference, inside), reference, atol=1e-6)
    assert match(1e6 * reference, 10 * reference, inside).max() == 1
    assert np.isfinite(match(np.zeros(SHAPE), reference, inside)).all()
