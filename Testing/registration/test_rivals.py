"""The benchmark's adapters to other people's programs: their transforms go from the fixed to the moving image.

convexAdam takes too long for a test, and greedy's NMI, which jitters its samples, can diverge on so small an image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.phantom import CENTRE, displaced, displacement, head, points_of
from support.tiny_models import oblique_direction

from IoUSynthLib.preprocessing import resample_like
from IoUSynthLib.registration.landmarks import target_registration_errors
from IoUSynthLib.volume import Volume

sys.path.append(str(Path(__file__).parents[1] / "Benchmarks"))

import registration_rivals as rivals

SHIFT = np.array([2.0, -1.0, 3.0])


@pytest.fixture(scope="module")
def scene() -> tuple[dict[str, Volume], Volume, Volume]:
    """The head, its T2w on an oblique grid of unequal spacings, and a ball of 16 mm in it as the mask."""
    images = head(side=56)
    shape, spacing = (40, 48, 44), (1.3, 1.1, 1.2)
    direction = oblique_direction()
    origin = CENTRE - direction @ ((np.array(shape[::-1]) - 1) / 2 * spacing)
    fixed = resample_like(images["T2w"], Volume(np.zeros(shape, np.float32), spacing, tuple(origin), direction))
    index = np.moveaxis(np.indices(shape), 0, -1)[..., ::-1]
    distance = np.linalg.norm((index - (np.array(fixed.size) - 1) / 2) * spacing, axis=-1)
    return images, fixed, fixed.with_array((distance < 16).astype(np.uint8))


def sunken(image: Volume) -> Volume:
    """The image moved by ``SHIFT`` with a smooth decay from the centre: what is at y lies at ``y + sinking(y)``."""
    index = np.stack(np.meshgrid(*(np.arange(length) for length in image.size), indexing="ij"), axis=-1)
    points = index * image.spacing + image.origin
    before = points
    for _ in range(30):
        before = points - sinking(before)
    field = sitk.GetImageFromArray(np.ascontiguousarray((before - points).transpose(2, 1, 0, 3)), isVector=True)
    field.CopyInformation(image.to_sitk())
    return resample_like(image, image, transform=sitk.DisplacementFieldTransform(field))


def sinking(points: np.ndarray) -> np.ndarray:
    return np.exp(-((points - CENTRE) ** 2).sum(-1, keepdims=True) / (2 * 15.0**2)) * SHIFT


def errors(transform: sitk.Transform, today: np.ndarray, before: np.ndarray) -> float:
    return float(target_registration_errors(transform, before, today).mean())


def needs_greedy() -> None:
    if not rivals.available("picsl_greedy"):
        pytest.skip("picsl_greedy is not installed")


def test_mattes_finds_a_displacement(scene: tuple) -> None:
    images, fixed, mask = scene
    matrix = displacement(3, 4)
    found = rivals.mattes(fixed, displaced(images, matrix)["T2w"], mask)
    today = points_of(mask)
    assert errors(found, today, today @ matrix[:3, :3].T + matrix[:3, 3]) < 0.5


def test_greedy_finds_a_displacement(scene: tuple) -> None:
    needs_greedy()
    images, fixed, mask = scene
    matrix = displacement(3, 4)
    found = rivals.greedy_rigid(fixed, displaced(images, matrix)["T2w"], mask)
    today = points_of(mask)
    assert errors(found, today, today @ matrix[:3, :3].T + matrix[:3, 3]) < 0.5


def test_greedy_follows_a_sinking(scene: tuple) -> None:
    needs_greedy()
    images, fixed, mask = scene
    today = points_of(mask)
    before = today + sinking(today)
    found = rivals.greedy_deformable(fixed, sunken(images["T2w"]), mask)
    assert errors(found, today, before) < 0.8 * errors(sitk.Transform(), today, before)


def test_a_missing_package_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(rivals._MODULES, "absent", "absent.module")
    assert not rivals.available("absent")
    assert not rivals.available("absent")
    assert capsys.readouterr().out == "absent: not installed (No module named 'absent')\n"
