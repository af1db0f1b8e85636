"""Models on disk: where they are found, what is refused, and checksums before sessions."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from support.tiny_models import generator_network, write_bundle, write_refined

from IoUSynthLib.inference import open_session
from IoUSynthLib.models import bundle
from IoUSynthLib.outputs.case_files import image_header
from IoUSynthLib.volume import InputError

SEGMENTER = {"kind": "segmenter", "inputs": ["ioUS", "T2w"], "outputs": ["background", "tumour", "cavity"]}
REFINER = {"window": [8, 8, 8], "overlap": 0.5, "size_multiple": 4}


def test_metadata_are_read(tiny_models):
    model = bundle.load(bundle.DEFAULT_GENERATOR)
    assert (model.name, model.version, model.kind, model.regime) == ("ious2mr-2.5d", "0.0.1", "generator", "2.5D")
    assert (model.spacing, model.slice_axes, model.window) == ((0.8, 0.8, 0.8), (0, 1, 2), (32, 32))
    assert (model.inputs, model.outputs) == (("ioUS",), ("T2w", "FLAIR", "log_error"))
    assert len(model.sha256) == 64
    model.verify()


def test_a_model_without_version_or_licence_is_named_alone(tmp_path):
    folder = write_bundle(tmp_path / "own", generator_network())
    content = json.loads((folder / bundle.METADATA).read_text())
    del content["version"], content["iousynth"]["licence"]
    (folder / bundle.METADATA).write_text(json.dumps(content))
    model = bundle.load(folder)
    assert (model.version, model.title, model.licence, model.permissive) == ("", "own", "not stated", False)
    assert image_header("T2w", {"model": model.describe()})["descrip"].endswith("; own")
    assert bundle.titled({"name": "own", "version": "1.0"}) == "own 1.0"


def test_found_by_name_and_by_path(tiny_bundles, tiny_models, tmp_path, monkeypatch):
    assert bundle.load(tiny_bundles / "lesion-3d").kind == "segmenter"
    monkeypatch.chdir(tiny_bundles)
    assert bundle.load("./lesion-3d").path == (tiny_bundles / "lesion-3d").resolve()
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tmp_path))
    shutil.copytree(tiny_bundles / "lesion-3d", tmp_path / "own")
    assert bundle.load("own").kind == "segmenter"


def test_first_folder_wins(tiny_bundles, tmp_path, monkeypatch):
    path = write_bundle(tmp_path / "ious2mr-2.5d", generator_network(), licence="MIT")
    monkeypatch.setenv("IOUSYNTH_MODELS", f"{tmp_path}{bundle.os.pathsep}{tiny_bundles}")
    assert bundle.load("ious2mr-2.5d").path == path.resolve()
    listed = {model.name: model for model in bundle.list_bundles()}
    assert listed["ious2mr-2.5d"].licence == "MIT"
    assert "lesion-3d" in listed


def test_unknown_model_lists_those_there(tiny_models):
    with pytest.raises(InputError, match=r"no such model \(found: .*lesion-3d"):
        bundle.load("nothing")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"kind": "magic"}, "kind 'magic' is unknown"),
        ({"regime": "4D"}, "regime '4D' is unknown"),
        ({"spacing": [0.8, 0.8, 0]}, "spacing"),
        ({"slice_axes": []}, "slice_axes"),
        ({"slice_axes": [0, 3]}, "slice_axes"),
        ({"window": [30, 32]}, "multiples of size_multiple"),
        ({"window": [32, 32, 32]}, "window must be 2"),
        ({"overlap": 1.0}, "overlap"),
        ({"inputs": ["CT"]}, "inputs must be among ioUS, T2w, FLAIR"),
        ({"outputs": ["log_error"]}, "outputs do not fit"),
        ({"outputs": ["T2w", "T2w"]}, "outputs do not fit"),
        ({"outputs": ["T2w", "CT"]}, "outputs do not fit"),
        ({"frame": "scanner"}, "frame must be one of volume, patient"),
        ({"blending": "cosine"}, "blending must be one of hann, hanning, uniform"),
        ({"padding": "none"}, "padding must be one of multiple, window, centre, reflect"),
        ({"slice_axes": [0], "fusion_scale": 4}, "fusion_scale must be from 0 to 32 voxels, and is for several"),
        ({"stretch": True, "regime": "3D", "slice_axes": [], "window": [32, 32, 32]}, "only slices can be stretched"),
        ({"class_weights": [1.0, 0.0, 1.0]}, "class_weights must be positive"),
        ({"class_weights": [1.0, 2.0]}, "class_weights must be positive"),
        ({"expected_dice": {"tumour": {"confidence": [0.5, 0.5], "dice": [0.1, 0.2]}}}, "rising confidences"),
        ({"expected_dice": {"tumour": {"confidence": [0.5], "dice": []}}}, "rising confidences"),
        ({"class_weights_with_cavity": [1.0, 2.0]}, "class_weights_with_cavity must be positive"),
        ({"checksums": {}}, "checksums must hold"),
        ({"generator": "ious2mr-2.5d"}, "generator must be the name of a model, and only a segmenter has one"),
        ({**SEGMENTER, "generator": ""}, "generator must be the name of a model"),
        ({**SEGMENTER, "generator": "../other"}, "generator must be the name of a model"),
        ({**SEGMENTER, "generator": 3}, "generator must be the name of a model"),
        ({"refiner": REFINER}, "refiner: checksums must hold models/refiner.onnx"),
        ({"refiner": {**REFINER, "window": [8, 8]}}, "refiner: window must be 3 multiples"),
        ({"refiner": {**REFINER, "padding": "none"}}, "refiner: padding must be one of"),
        ({"refiner": {"window": [8, 8, 8]}}, "not the metadata"),
        ({**SEGMENTER, "refiner": REFINER}, "only a generator has a refiner"),
        ({"checksums": None}, "not the metadata"),
        ({"window": "large"}, "not the metadata"),
    ],
)
def test_incomplete_metadata_are_refused(tmp_path, change, cause):
    path = write_bundle(tmp_path / "bad", b"", **change)
    with pytest.raises(InputError, match=cause):
        bundle.load(path)


def test_damaged_metadata_are_refused_and_not_listed(tiny_bundles, tmp_path, monkeypatch):
    path = write_bundle(tmp_path / "bad", b"")
    for text in ("{", "[]", '"text"', json.dumps({"version": "1"})):
        (path / "configs" / "metadata.json").write_text(text)
        with pytest.raises(InputError, match="install it again"):
            bundle.load(path)
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tmp_path))
    assert "bad" not in {model.name for model in bundle.list_bundles()}


def test_the_second_stage_is_described_as_a_bundle_of_its_own(tmp_path):
    model = bundle.load(write_refined(tmp_path / "refined", ("T2w", "FLAIR")))
    second = model.refiner
    assert (model.regime, second.regime, second.window, second.slice_axes) == ("2D", "3D", (16, 24, 24), ())
    assert second.inputs == second.outputs == ("T2w", "FLAIR")
    assert (second.blending, second.padding) == ("uniform", "reflect")
    assert second.sha256 != model.sha256
    assert open_session(second).run(np.ones((1, 2, 4, 4, 4), np.float32))[0, 0, 0, 0, 0] == -1
    model.verify()
    (model.path / "models" / "refiner.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match=r"refiner\.onnx: its checksum does not match"):
        model.verify()


def test_the_paired_generator_of_a_segmenter_lies_beside_it(tmp_path, tiny_models):
    """Not the first one of its name that is found, which the segmenter was not trained with."""
    path = write_bundle(tmp_path / "lesion", b"", **SEGMENTER, generator="pair")
    with pytest.raises(InputError, match=r"lesion: reads the images of another model, and pair: no such model"):
        bundle.paired_generator(bundle.load(path))
    write_bundle(tmp_path / "pair", b"")
    assert bundle.paired_generator(bundle.load(path)).path == tmp_path / "pair"
    write_bundle(tmp_path / "ious2mr-2.5d", b"")
    default = write_bundle(tmp_path / "older", b"", **SEGMENTER)  # names none: that of the default model
    assert bundle.paired_generator(bundle.load(default)).path == tmp_path / "ious2mr-2.5d"
    assert bundle.load("ious2mr-2.5d").path == (tiny_models / "ious2mr-2.5d").resolve()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"outputs": ["FLAIR", "log_error"]}, "pair: does not predict T2w, and lesion needs it"),
        (SEGMENTER, "pair: is a segmenter, and lesion needs it"),
        ({"spacing": [1, 1, 1]}, "lesion: works on another grid than pair"),
        ({"frame": "patient"}, "lesion: works on another grid than pair"),
    ],
)
def test_a_paired_generator_that_does_not_fit_is_named(tmp_path, change, cause):
    path = write_bundle(tmp_path / "lesion", b"", **{**SEGMENTER, "inputs": ["T2w"]}, generator="pair")
    write_bundle(tmp_path / "pair", b"", **change)
    with pytest.raises(InputError, match=cause):
        bundle.paired_generator(bundle.load(path))


def test_changed_weights_never_reach_a_session(tmp_path):
    path = write_bundle(tmp_path / "changed", generator_network())
    model = bundle.load(path)
    content = bytearray((path / "models" / "model.onnx").read_bytes())
    content[-1] ^= 1
    (path / "models" / "model.onnx").write_bytes(content)
    for use in (model.verify, lambda: open_session(model)):
        with pytest.raises(InputError, match="checksum does not match"):
            use()
    (path / "models" / "model.onnx").unlink()
    with pytest.raises(InputError, match="is missing"):
        model.verify()
