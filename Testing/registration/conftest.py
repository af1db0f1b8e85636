"""A search on few voxels, for what does not depend on how exact it is, and a cohort of phantoms with landmarks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.phantom import FEW_VOXELS, displaced, displacement, field_of_view, head, points_of

from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.registration import search


@pytest.fixture
def few_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer voxels at all levels."""
    monkeypatch.setattr(search, "_VOXELS", FEW_VOXELS)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimpleNamespace]:
    """Two patients of one phantom, the second without landmarks; and its synthetic images."""
    folder, images = tmp_path_factory.mktemp("cohort"), head()
    ultrasound, synthetic, fan = field_of_view(images)
    truth = displacement(3, 5)
    fixed = points_of(fan, 10)
    moving = fixed @ truth[:3, :3].T + truth[:3, 3]
    for patient in ("P1", "P2"):
        (folder / patient).mkdir()
        write_volume(folder / patient / "ious.nii.gz", ultrasound)
        write_volume(folder / patient / "T2w.nii.gz", displaced(images, truth)["T2w"])
    rows = (" ".join(f"{value:.4f}" for value in (*a, *b)) for a, b in zip(*map(to_ras, (moving, fixed)), strict=True))
    points = "\n".join(f' {row} ""' for row in rows)
    tag = f"MNI Tag Point File\nVolumes = 2;\n\nPoints =\n{points};\n"
    (folder / "P1" / "P1-MRI-beforeUS.tag").write_text(tag, encoding="utf-8")
    return folder, SimpleNamespace(images=synthetic, valid=fan)


def to_ras(points: np.ndarray) -> np.ndarray:
    return points * (-1, -1, 1)
