"""The picture of a registration: what is acquired, what is synthetic, and the MRI where the transform brings it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from support.phantom import displaced, displacement, field_of_view, head
from support.pictures import contains

from IoUSynthLib.constants import MARK
from IoUSynthLib.outputs.drawing import LARGE, WARNING, Text
from IoUSynthLib.registration.picture import write_picture
from IoUSynthLib.registration.rigid import to_sitk


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Of a known displacement, undone."""
    images, truth = head(), displacement(4, 7)
    ultrasound, synthetic, _ = field_of_view(images)
    result = SimpleNamespace(transform=to_sitk(truth), report={"summary": "AGREES (0.1 mm apart); MRI moved 7.0 mm"})
    path: Path = tmp_path_factory.mktemp("picture") / "t.png"
    write_picture(
        path, ultrasound, synthetic=synthetic["T2w"], moving=displaced(images, truth)["T2w"], result=result, name="T2w"
    )
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_words_are_burned_in(picture: np.ndarray) -> None:
    for title in ("ioUS", "T2w before", "T2w after", "ioUS / MRI after", "Synthetic / MRI after"):
        assert contains(picture, Text(title, LARGE))
    assert contains(picture, Text(MARK, colour=WARNING))
    assert contains(picture, Text("AGREES (0.1 mm apart); MRI moved 7.0 mm"))


def test_the_mri_after_continues_the_synthetic_one_in_the_checkerboard(picture: np.ndarray) -> None:
    """Smooth across the squares' edges, which the ultrasound's checkerboard is not, nor is the MRI as it lay before."""
    step = (picture.shape[1] - 6) // 5
    before, after, mixed = (picture[60:300, 6 + n * step : n * step + step, 0].astype(float) for n in (1, 2, 4))
    inside = (mixed > 60) & (after > 60) & (before > 60)
    assert np.corrcoef(mixed[inside], after[inside])[0, 1] > 0.8
    assert np.corrcoef(mixed[inside], before[inside])[0, 1] < 0.6
