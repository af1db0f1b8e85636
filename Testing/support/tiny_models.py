"""Networks and bundles of toy size, and where the development data lie."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

#: Real data and other programs' results, where they are at hand; tests skip without them.
SHARED = Path(__file__).resolve().parents[3] / "shared"


def convolution_model(weights: np.ndarray, bias: np.ndarray, repeats: int = 0, features: bool = False) -> bytes:
    """Return an ONNX network: one 2D or 3D convolution, after ``repeats`` wide ones that only cost time; with
    ``features``, the image at half its size stands for what an encoder makes of it.
    """
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
    outputs = [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", len(bias), *axes])]
    if features:
        halves = [2] * dimensions
        nodes.append(helper.make_node("AveragePool", ["image"], ["features_0"], kernel_shape=halves, strides=halves))
        outputs.append(helper.make_tensor_value_info("features_0", TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", channels, *axes])],
        outputs,
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


def generator_network(repeats: int = 0, features: bool = False) -> bytes:
    weights = np.zeros((3, 3, 3, 3))
    weights[0, 1, 1, 1], weights[1, 1, 1, 1] = -0.5, 0.5
    return convolution_model(weights, np.array([0.0, 0.0, math.log(TINY_ERROR)]), repeats, features)


def image_network(regime: str, images: int = 1, scale: float = -0.5) -> bytes:
    """Return a network without an estimate of its error: T2w = scale * ioUS, FLAIR = -scale * ioUS."""
    channels, dimensions = (3 if regime == "2.5D" else 1), (3 if regime == "3D" else 2)
    weights = np.zeros((images, channels, *[3] * dimensions))
    for number in range(images):
        weights[(number, channels // 2, *[1] * dimensions)] = scale * (-1) ** number
    return convolution_model(weights, np.zeros(images))


def refiner_network(images: int, scale: float = -1.0) -> bytes:
    """Return a second stage that multiplies each image by a number."""
    weights = np.zeros((images, images, 3, 3, 3))
    weights[(range(images), range(images), 1, 1, 1)] = scale
    return convolution_model(weights, np.zeros(images))


_PUBLISHED = {"frame": "patient", "spacing": [0.94, 0.94, 2.0]}
#: How generators of all kinds are run, as the section ``iousynth`` of their metadata says it.
KINDS: dict[str, dict[str, object]] = {
    "2D": {"regime": "2D", "slice_axes": [0]},
    "2.5D": {"regime": "2.5D", "slice_axes": [0]},
    "3D": {"regime": "3D", "slice_axes": [], "window": [16, 24, 24]},
    "stretched": {**_PUBLISHED, "regime": "2D", "slice_axes": [0], "window": [48, 48], "stretch": True},
    "triplanar": {
        **_PUBLISHED,
        "regime": "2.5D",
        "spacing": [0.5, 0.5, 2.0],
        "fixed_spacing": True,
        "window": [48, 48],
        "overlap": 0.5,
        "blending": "uniform",
        "padding": "window",
    },
    "3D in the patient's frame": {
        **_PUBLISHED,
        "regime": "3D",
        "slice_axes": [],
        "window": [24, 40, 40],
        "blending": "hanning",
        "padding": "centre",
    },
}


def write_kind(folder: Path, kind: str, images: Sequence[str] = ("T2w",), **section: object) -> Path:
    """Write a bundle of one of :data:`KINDS` that does not predict its error."""
    plan = {**KINDS[kind], "outputs": list(images), **section}
    return write_bundle(folder, image_network(str(plan["regime"]), len(images)), **plan)


def write_refined(
    folder: Path, images: Sequence[str] = ("T2w",), second: bytes | None = None, **refiner: object
) -> Path:
    """Write a bundle of 2D+3D-refine; its own two stages together give T2w = 0.5 ioUS, FLAIR = -0.5 ioUS."""
    second = second or refiner_network(len(images))
    plan = {"window": [16, 24, 24], "overlap": 0.5, "size_multiple": 4, "blending": "uniform", "padding": "reflect"}
    first = image_network("2D", len(images))
    files = {"models/model.onnx": first, "models/refiner.onnx": second}
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    write_bundle(
        folder, first, regime="2D", slice_axes=[0], outputs=list(images), checksums=checksums, refiner=plan | refiner
    )
    (folder / "models" / "refiner.onnx").write_bytes(second)
    return folder


def segmenter_network() -> bytes:
    """Tumour where the smoothed ioUS is above 0.4; cavity where T2w is above 0.45 (ioUS below -0.9)."""
    weights = np.zeros((3, 9, 3, 3))
    weights[1, 1] = 20.0 / 9.0
    weights[2, 4] = 40.0 / 9.0
    return convolution_model(weights, np.array([0.0, -8.0, -18.0]))


def oblique_direction() -> np.ndarray:
    """Return a rotation that is aligned with nothing."""
    a, b = math.radians(35.0), math.radians(-20.0)
    about_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    return about_z @ about_x


#: Inputs of generators that read preoperative MRI beside ultrasound, and which of them may be missing.
WITH_MRI = {"inputs": ["ioUS", "T2w", "ceT1", "FLAIR"], "optional": ["T2w", "ceT1", "FLAIR"]}


def mri_generator_network(gain: float = 0.05) -> bytes:
    """Return a network for :data:`WITH_MRI`: T2w = -0.5 ioUS + gain (T2w + 1), FLAIR = 0.5 ioUS + gain (FLAIR + 1), and
    an expected error of :data:`TINY_ERROR`. MRI that is missing, which is -1, changes nothing.
    """
    weights = np.zeros((3, 12, 3, 3))
    weights[0, 1, 1, 1], weights[1, 1, 1, 1] = -0.5, 0.5
    weights[0, 4, 1, 1] = weights[1, 10, 1, 1] = gain
    return convolution_model(weights, np.array([gain, gain, math.log(TINY_ERROR)]))


def drawing_network(heated: bool = True) -> bytes:
    """Return a network that draws: that of :func:`image_network` in 2.5D, with two images, plus a number of its noise
    for each, by default none; ``heated`` multiplies them by a temperature, which is 0 by default.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(image_network("2.5D", 2))
    graph, defaults = model.graph, {"noise": np.zeros((1, 2), np.float32)}
    if heated:
        defaults["temperature"] = np.array(0.0, np.float32)
    graph.node[-1].output[0] = "mean"
    drawn = "noise"
    if heated:
        graph.node.append(helper.make_node("Mul", ["noise", "temperature"], ["scaled"]))
        drawn = "scaled"
    graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 1, 1]), "shape"))
    graph.node.append(helper.make_node("Reshape", [drawn, "shape"], ["added"]))
    graph.node.append(helper.make_node("Add", ["mean", "added"], ["prediction"]))
    for name, value in defaults.items():
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
        graph.initializer.append(numpy_helper.from_array(value, name))
    return model.SerializeToString()
