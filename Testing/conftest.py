"""Fixtures for all rooms: two tiny models, and an oblique volume that looks like ultrasound."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from IoUSynthLib.volume import Volume, write_volume

SHARED = Path(__file__).resolve().parents[2] / "shared"
RESECT_CASE_4 = SHARED / "data" / "resect" / "Case4-US-before.nii.gz"


@pytest.fixture(scope="session")
def resect_case_4() -> Path:
    """Real ultrasound, where the development data are."""
    if not RESECT_CASE_4.exists():
        pytest.skip("the RESECT case is not here")
    return RESECT_CASE_4


def convolution_model(weights: np.ndarray, bias: np.ndarray, repeats: int = 0) -> bytes:
    """Return an ONNX network: one 2D or 3D convolution, after ``repeats`` wide ones that only cost time."""
    from onnx import TensorProto, helper, numpy_helper

    axes = ["d", "h", "w"][-(weights.ndim - 2) :]
    channels, dimensions = weights.shape[1], weights.ndim - 2
    nodes, constants, name = [], [], "image"
    for number in range(repeats):
        kernel = np.zeros((channels, channels, *[7] * dimensions), dtype=np.float32)
        kernel[(range(channels), range(channels), *[3] * dimensions)] = 1.0
        constants.append(numpy_helper.from_array(kernel, f"kernel{number}"))
        pads = [3] * 2 * dimensions
        nodes.append(helper.make_node("Conv", [name, f"kernel{number}"], [f"hidden{number}"], pads=pads))
        name = f"hidden{number}"
    constants += [numpy_helper.from_array(a.astype(np.float32), n) for a, n in ((weights, "weights"), (bias, "bias"))]
    pads = [weights.shape[-1] // 2] * 2 * dimensions
    nodes.append(helper.make_node("Conv", [name, "weights", "bias"], ["prediction"], pads=pads))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", channels, *axes])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", len(bias), *axes])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def write_bundle(folder: Path, network: bytes, **section: object) -> Path:
    """Write a bundle; ``section`` overrides entries of the metadata's section ``iousynth``."""
    (folder / "models").mkdir(parents=True)
    (folder / "configs").mkdir()
    (folder / "docs").mkdir()
    (folder / "models" / "model.onnx").write_bytes(network)
    (folder / "LICENSE").write_text("Apache-2.0\n")
    (folder / "docs" / "README.md").write_text("A tiny model for tests.\n")
    details = {
        "kind": "generator",
        "regime": "2.5D",
        "spacing": [0.8, 0.8, 0.8],
        "slice_axes": [0, 1, 2],
        "window": [32, 32],
        "overlap": 0.25,
        "size_multiple": 8,
        "inputs": ["ioUS"],
        "outputs": ["T2w", "FLAIR", "log_error"],
        "checksums": {"models/model.onnx": hashlib.sha256(network).hexdigest()},
        "licence": "Apache-2.0",
        **section,
    }
    metadata = {"version": "0.0.1", "task": "test", "iousynth": details}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata, indent=1))
    return folder


#: What the tiny generator computes: T2w = -0.5 ioUS, FLAIR = 0.5 ioUS, and an expected error of 0.2 everywhere.
TINY_ERROR = 0.2


def generator_network(repeats: int = 0) -> bytes:
    weights = np.zeros((3, 3, 3, 3))
    weights[0, 1, 1, 1], weights[1, 1, 1, 1] = -0.5, 0.5
    return convolution_model(weights, np.array([0.0, 0.0, math.log(TINY_ERROR)]), repeats)


def segmenter_network() -> bytes:
    """Tumour where the smoothed ioUS is above 0.4; cavity where T2w is above 0.45 (ioUS below -0.9)."""
    weights = np.zeros((3, 9, 3, 3))
    weights[1, 1] = 20.0 / 9.0
    weights[2, 4] = 40.0 / 9.0
    return convolution_model(weights, np.array([0.0, -8.0, -18.0]))


@pytest.fixture(scope="session")
def tiny_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the default generator and segmenter, tiny, and "slow-2.5d", which takes minutes."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("models")
    write_bundle(folder / "ious2mr-2.5d", generator_network())
    write_bundle(folder / "slow-2.5d", generator_network(repeats=60))
    segmenter = {"kind": "segmenter", "inputs": ["ioUS", "T2w", "FLAIR"], "outputs": ["background", "tumour", "cavity"]}
    write_bundle(folder / "lesion-2.5d", segmenter_network(), **segmenter)
    return folder


@pytest.fixture
def tiny_models(tiny_bundles: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny models, found before any other."""
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tiny_bundles))
    return tiny_bundles


def oblique_direction() -> np.ndarray:
    """Return a rotation that is aligned with nothing."""
    a, b = math.radians(35.0), math.radians(-20.0)
    about_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    return about_z @ about_x


@pytest.fixture(scope="session")
def ultrasound() -> Volume:
    """A fan of 64x60x56 voxels of 0.7x0.6x0.65 mm with speckle, a bright lesion and a black ventricle, oblique."""
    rng = np.random.default_rng(3)
    z, y, x = np.mgrid[:56, :60, :64].astype(np.float32)
    radius, angle = np.hypot(x - 32, y + 4), np.abs(np.arctan2(x - 32, y + 4))
    fan = (radius > 8) & (radius < 60) & (angle < 0.6) & (z > 5) & (z < 50)
    array = 60.0 * rng.rayleigh(1.0, fan.shape) / 1.25
    array[np.hypot(np.hypot(x - 34, y - 28), z - 26) < 8] *= 2.5
    array[np.hypot(np.hypot(x - 28, y - 44), z - 30) < 6] = 0.0
    array = np.where(fan, np.clip(array + 8.0 * (array > 0), 0, 255), 0).astype(np.float32)
    return Volume(array, (0.7, 0.6, 0.65), (-31.25, 40.5, 77.125), oblique_direction())


@pytest.fixture
def ultrasound_file(ultrasound: Volume, tmp_path: Path) -> Path:
    """The same as a file named case.nrrd."""
    write_volume(tmp_path / "case.nrrd", ultrasound)
    return tmp_path / "case.nrrd"
