"""Fixtures for all rooms: two tiny models, and an oblique volume that looks like ultrasound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.noise import speckle
from support.tiny_models import (
    SHARED,
    generator_network,
    oblique_direction,
    segmenter_network,
    write_bundle,
    write_kind,
)

from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.volume import Volume

pytest_plugins = ["SlicerHost.plugin"]

RESECT_CASE_4 = SHARED / "data" / "resect" / "Case4-US-before.nii.gz"


@pytest.fixture(scope="session")
def resect_case_4() -> Path:
    """Real ultrasound, where the development data are."""
    if not RESECT_CASE_4.exists():
        pytest.skip("the RESECT case is not here")
    return RESECT_CASE_4


@pytest.fixture(scope="session")
def tiny_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the default generator and segmenter, tiny, "slow-2.5d", which takes minutes, and "published-2d",
    which gives T2w alone, without its error, from axial slices in the patient's frame.
    """
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("models")
    write_bundle(folder / "ious2mr-2.5d", generator_network())
    # Many windows rather than a heavier network: it is slow on any machine, and still cancels quickly.
    write_bundle(folder / "slow-2.5d", generator_network(repeats=60), overlap=0.75)
    write_kind(folder / "published-2d", "stretched")
    segmenter = {"kind": "segmenter", "inputs": ["ioUS", "T2w", "FLAIR"], "outputs": ["background", "tumour", "cavity"]}
    write_bundle(folder / "lesion-3d", segmenter_network(), generator="ious2mr-2.5d", **segmenter)
    return folder


@pytest.fixture
def tiny_models(tiny_bundles: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny models, found before any other."""
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tiny_bundles))
    return tiny_bundles


@pytest.fixture(scope="session")
def wide_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the default models, tiny but with windows as wide as the sample case, which they are quick on."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("wide")
    wide = {"window": [256, 256], "slice_axes": [0], "overlap": 0.0, "spacing": [1.6, 1.6, 1.6]}
    segmenter = {"kind": "segmenter", "inputs": ["ioUS", "T2w", "FLAIR"], "outputs": ["background", "tumour", "cavity"]}
    write_bundle(folder / "ious2mr-2.5d", generator_network(), **wide)
    write_bundle(folder / "lesion-3d", segmenter_network(), generator="ious2mr-2.5d", **segmenter, **wide)
    return folder


@pytest.fixture(scope="session")
def flawed_tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A tree like ReMIND's, with a flaw each, which is only read, and what the table says of the flaws, by patient."""
    from support import remind  # needs pydicom

    folder = tmp_path_factory.mktemp("download") / "ReMIND"
    return folder, remind.flawed_tree(folder)


@pytest.fixture(scope="session")
def ultrasound() -> Volume:
    """A fan of 64x60x56 voxels of 0.7x0.6x0.65 mm with speckle, a bright lesion and a black ventricle, oblique."""
    rng = np.random.default_rng(3)
    z, y, x = np.mgrid[:56, :60, :64].astype(np.float32)
    radius, angle = np.hypot(x - 32, y + 4), np.abs(np.arctan2(x - 32, y + 4))
    fan = (radius > 8) & (radius < 60) & (angle < 0.6) & (z > 5) & (z < 50)
    array = 60.0 * (0.3 + 0.7 * speckle(rng, fan.shape))
    array[np.hypot(np.hypot(x - 34, y - 28), z - 26) < 8] *= 2.5
    array[np.hypot(np.hypot(x - 28, y - 44), z - 30) < 6] = 0.0
    array = np.where(fan, np.clip(array + 8.0 * (array > 0), 0, 255), 0).astype(np.float32)
    return Volume(array, (0.7, 0.6, 0.65), (-31.25, 40.5, 77.125), oblique_direction())


@pytest.fixture
def ultrasound_file(ultrasound: Volume, tmp_path: Path) -> Path:
    """The same as a file named case.nrrd."""
    write_volume(tmp_path / "case.nrrd", ultrasound)
    return tmp_path / "case.nrrd"
