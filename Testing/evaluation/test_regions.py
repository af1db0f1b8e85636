"""Scores round the lesion: margins in mm, published crops and smallest sizes."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from IoUSynthLib.evaluation import perceptual
from IoUSynthLib.evaluation.regions import region_masks, region_score

#: Along z, y, x.
SPACING = (3, 1, 1)


@pytest.fixture(autouse=True)
def lpips(monkeypatch):
    """Mean absolute difference in the place of LPIPS; what it was called with is kept."""
    seen = []

    def distance(first, second):
        seen.extend((first, second))
        return np.abs(first - second).mean((1, 2))

    monkeypatch.setattr(perceptual, "load", lambda: distance)
    return seen


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    target = rng.uniform(-0.5, 1, (6, 40, 44)).astype(np.float32)
    return (target * 0.7).astype(np.float32), target


def rectangle(images, *parts):
    """A region in the third slice."""
    region = np.zeros(images[0].shape, bool)
    for part in parts:
        region[(2, *part)] = True
    return region


def test_a_sphere_grows_by_its_margin():
    z, y, x = np.meshgrid(*(s * (np.arange(n) - n // 2) for n, s in zip((17, 51, 51), SPACING, strict=True)),
                          indexing="ij")  # fmt: skip
    radius = np.sqrt(z**2 + y**2 + x**2)
    labels = np.where(radius <= 12, 1, 0)
    masks = region_masks(labels, SPACING)
    assert list(masks) == ["tumour 0 mm", "tumour 5 mm", "lesion 0 mm", "lesion 5 mm"]
    assert np.array_equal(masks["tumour 0 mm"], labels == 1)
    grown = masks["tumour 5 mm"]
    # Half a voxel's diagonal in the slice; between slices the sphere itself is cut that coarsely.
    half = np.hypot(1, 1) / 2
    middle = z == 0
    assert not grown[middle & (radius > 17 + half)].any()
    assert grown[middle & (radius < 17 - half)].all()
    assert not grown[radius > 17].any()
    assert grown[radius < 17 - 1.5 - half].all()
    assert region_masks(np.full(labels.shape, 255), SPACING) == {}


def test_the_lesion_is_both():
    labels = np.zeros((3, 30, 30), int)
    labels[1, 5:10, 5:10], labels[1, 20:25, 20:25] = 1, 2
    masks = region_masks(labels, SPACING)
    for margin in (0, 5):
        parts = masks[f"tumour {margin} mm"] | masks[f"cavity {margin} mm"]
        assert np.array_equal(masks[f"lesion {margin} mm"], parts)


@pytest.mark.parametrize("outside", ["zero", "masked"])
def test_the_same_image_is_perfect(images, outside):
    region = rectangle(images, (slice(10, 20), slice(10, 20)))
    scores = region_score(images[1], images[1], region, outside=outside)
    assert scores == {"SSIM": 1.0, "PSNR": 50.0, "MAE": 0.0, "MSE": 0.0, "NMSE": 0.0, "LPIPS": 0.0}


def test_a_slice_counts_from_50_pixels_and_a_region_from_100_voxels(images, lpips):
    fifty = rectangle(images, (slice(10, 15), slice(10, 20)))
    scores = region_score(*images, fifty)
    assert np.isfinite(scores["SSIM"])
    assert np.isnan(scores["PSNR"])
    assert lpips[0].shape == (1, 64, 64)
    fifty[2, 10, 10] = False
    assert all(np.isnan(value) for value in region_score(*images, fifty).values())
    many = rectangle(images, (slice(10, 20), slice(10, 20)))
    difference = ((images[0] - images[1]) / 2)[many]
    scores = region_score(*images, many)
    assert scores["PSNR"] == pytest.approx(-10 * np.log10((difference.astype(float) ** 2).mean()), abs=1e-5)
    assert scores["MAE"] == pytest.approx(np.abs(difference).mean(), abs=1e-6)
    many[2, 10, 10] = False
    assert np.isnan(region_score(*images, many)["PSNR"])


@pytest.mark.parametrize(
    ("part", "box"),
    [
        ((slice(10, 20), slice(15, 25)), (slice(8, 22), slice(13, 27))),
        ((slice(10, 14), slice(10, 25)), (slice(7, 18), slice(8, 27))),  # 4 and padding are 8: 1 more before, 2 behind
        ((slice(0, 10), slice(30, 44)), (slice(0, 12), slice(28, 44))),
        ((slice(0, 2), slice(0, 30)), (slice(0, 7), slice(0, 32))),  # 2 and padding are 6: what the border lets
    ],
)
def test_crops(images, part, box):
    """Against scikit-image on the crop, with zeros outside the region, or with the map inside it."""
    region = rectangle(images, part)
    predicted, true = ((image[2][box] + 1) / 2 for image in images)
    inside = region[2][box]
    zeroed = structural_similarity(np.where(inside, true, 0), np.where(inside, predicted, 0), data_range=1.0)
    _, full = structural_similarity(true, predicted, data_range=1.0, full=True)
    assert region_score(*images, region)["SSIM"] == pytest.approx(float(zeroed), abs=1e-6)
    masked = region_score(*images, region, outside="masked")["SSIM"]
    assert masked == pytest.approx(float(full[inside].mean()), abs=1e-6)


def test_a_slice_of_fewer_than_7_pixels_has_no_ssim(images):
    narrow = [image[:, :6] for image in images]
    scores = region_score(*narrow, rectangle(narrow, (slice(0, 6), slice(10, 30))))
    assert np.isnan(scores["SSIM"])
    assert np.isfinite(scores["PSNR"])


def test_zeros_flatter_a_thin_region(images):
    region = rectangle(images, (slice(5, 35), slice(5, 7)), (slice(33, 35), slice(5, 40)))
    scores = {outside: region_score(*images, region, outside=outside)["SSIM"] for outside in ("zero", "masked")}
    assert scores["zero"] > scores["masked"] + 0.05


def test_crops_are_resized_as_pytorch_does(images, lpips):
    torch = pytest.importorskip("torch")
    region_score(*images, rectangle(images, (slice(10, 20), slice(10, 30))), outside="masked")
    crop = torch.from_numpy((images[1][2, 8:22, 8:32] + 1) / 2)[None, None]
    expected = torch.nn.functional.interpolate(crop, (64, 64), mode="bilinear", align_corners=False)[0, 0]
    assert np.allclose(lpips[0][0], 2 * expected.numpy() - 1, atol=1e-5)


def test_bad_arguments(images):
    region = rectangle(images, (slice(10, 20), slice(10, 20)))
    with pytest.raises(ValueError, match="differ"):
        region_score(*images, region[1:])
    with pytest.raises(ValueError, match="outside 'one' is none of zero, masked"):
        region_score(*images, region, outside="one")
