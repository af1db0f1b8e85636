"""Models on disk: where they are found, what is refused, and checksums before sessions."""

from __future__ import annotations

import json
import shutil

import pytest
from tiny_models import generator_network, write_bundle

from IoUSynthLib import bundle
from IoUSynthLib.inference import open_session
from IoUSynthLib.volume import InputError


def test_metadata_are_read(tiny_models):
    model = bundle.load(bundle.DEFAULT_GENERATOR)
    assert (model.name, model.version, model.kind, model.regime) == ("ious2mr-2.5d", "0.0.1", "generator", "2.5D")
    assert (model.spacing, model.slice_axes, model.window) == ((0.8, 0.8, 0.8), (0, 1, 2), (32, 32))
    assert (model.inputs, model.outputs) == (("ioUS",), ("T2w", "FLAIR", "log_error"))
    assert len(model.sha256) == 64
    model.verify()


def test_found_by_name_and_by_path(tiny_bundles, tiny_models, tmp_path, monkeypatch):
    assert bundle.load(tiny_bundles / "lesion-2.5d").kind == "segmenter"
    monkeypatch.chdir(tiny_bundles)
    assert bundle.load("./lesion-2.5d").path == (tiny_bundles / "lesion-2.5d").resolve()
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tmp_path))
    shutil.copytree(tiny_bundles / "lesion-2.5d", tmp_path / "own")
    assert bundle.load("own").kind == "segmenter"


def test_first_folder_wins(tiny_bundles, tmp_path, monkeypatch):
    path = write_bundle(tmp_path / "ious2mr-2.5d", generator_network(), licence="MIT")
    monkeypatch.setenv("IOUSYNTH_MODELS", f"{tmp_path}{bundle.os.pathsep}{tiny_bundles}")
    assert bundle.load("ious2mr-2.5d").path == path.resolve()
    listed = {model.name: model for model in bundle.list_bundles()}
    assert listed["ious2mr-2.5d"].licence == "MIT"
    assert "lesion-2.5d" in listed


def test_unknown_model_lists_those_there(tiny_models):
    with pytest.raises(InputError, match=r"no such model \(found: .*lesion-2\.5d"):
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
        ({"stretch": True, "regime": "3D", "slice_axes": [], "window": [32, 32, 32]}, "only slices can be stretched"),
        ({"class_weights": [1.0, 0.0, 1.0]}, "class_weights must be positive"),
        ({"class_weights": [1.0, 2.0]}, "class_weights must be positive"),
        ({"checksums": {}}, "checksums must hold"),
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
