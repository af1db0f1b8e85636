"""Published Keras weights of the GAN families: every layer kind against Keras itself, and refusal of what does not fit.

``keras_answers.npz`` was recorded once from Keras 3.11.3: for each network in miniature the keys and shapes of the file
that Keras wrote for the layers of the released code, and samples of its output for weights and an image drawn as below.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from IoUSynthLib.published import gan, plans
from IoUSynthLib.published.gan import RefinedSlices, identify, load_gan
from IoUSynthLib.volume import InputError

ANSWERS = Path(__file__).with_name("keras_answers.npz")
TARGETS = ("T2w", "FLAIR")
CASES = [
    ("pix2pix", "2.5D", 1),
    ("pix2pix", "3D", 2),
    ("swin_pix2pix", "2.5D", 2),
    ("swin_pix2pix", "3D", 1),
    ("cyclegan", "2.5D", 2),
    ("cyclegan", "3D", 1),
    ("cut", "2D", 2),
    ("cut", "3D", 1),
]


@pytest.fixture(scope="module")
def answers():
    with np.load(ANSWERS) as file:
        return dict(file)


def _draw(key, shape):
    """Weights that depend on the key alone: a confusion of two equally shaped layers changes the output."""
    numbers = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    if len(shape) == 1:
        return np.float32(0.3 * numbers + key.endswith("/0"))
    return np.float32(numbers / np.sqrt(np.prod(shape[:-1])))


def _weights(answers, name):
    rows = [row.split() for row in answers[f"{name}/layout"]]
    return {key: _draw(key, tuple(int(n) for n in shape.split("x"))) for key, shape in rows}


def _write(path, weights):
    with h5py.File(path, "w") as file:
        for key, array in weights.items():
            file[key] = array
    return path


def _image(answers, name):
    return torch.from_numpy(np.random.default_rng(7).uniform(-1, 1, answers[f"{name}/input"]).astype(np.float32))


def _check(network, answers, name):
    with torch.no_grad():
        result = network(_image(answers, name).movedim(-1, 1)).movedim(1, -1).numpy()
    expected = answers[f"{name}/output"]
    assert expected.std() > 0.1
    assert np.abs(result.reshape(-1)[:: max(1, result.size // 301)] - expected).max() < 1e-3


@pytest.fixture
def cut(answers, tmp_path):
    weights = _weights(answers, "cut 2D 2")
    return weights, _write(tmp_path / "generator_ema.weights.h5", weights)


@pytest.mark.parametrize(("family", "regime", "count"), CASES)
def test_output_is_that_of_keras(answers, tmp_path, family, regime, count):
    name = f"{family} {regime} {count}"
    path = _write(tmp_path / "g.weights.h5", _weights(answers, name))
    network = load_gan(path, family, regime, targets=TARGETS[:count])
    assert not network.training
    _check(network, answers, name)


@pytest.mark.parametrize(("name", "regime", "count"), [("cut 2D 2", "2D", 2), ("cut 3D 1", "3D", 1)])
def test_cut_features_are_those_of_keras(answers, tmp_path, name, regime, count):
    path = _write(tmp_path / "g.weights.h5", _weights(answers, name))
    network = load_gan(path, "cut", regime, targets=TARGETS[:count])
    with torch.no_grad():
        _, features = network.forward_with_features(_image(answers, name).movedim(-1, 1))
    moments = [[float(f.mean()), float(f.std(unbiased=False))] for f in features]
    assert np.allclose(moments, answers[f"{name}/features"], atol=1e-4)


def test_generator_and_refiner_load_together(answers, cut, tmp_path):
    refiner = _write(tmp_path / "refiner_ema.weights.h5", _weights(answers, "refiner 3D 2"))
    network = load_gan(cut[1], "cut", "2D+3D-refine", targets=TARGETS, refiner=refiner)
    assert isinstance(network, RefinedSlices)
    plan, patches = plans.plan("cut", "2D+3D-refine"), plans.refiner_plan("cut")["window"]
    assert (plan["slice_axes"], plan["window"], patches) == ([0, 1, 2], [192, 192], [32, 64, 64])  # z, y, x
    _check(network.slice_network, answers, "cut 2D 2")
    _check(network.refiner, answers, "refiner 3D 2")


def test_every_weight_counts(answers, cut, tmp_path):
    before = load_gan(cut[1], "cut", "2D", targets=TARGETS).state_dict()
    weights = {key: array + 1 for key, array in cut[0].items()}
    after = load_gan(_write(tmp_path / "b.weights.h5", weights), "cut", "2D", targets=TARGETS).state_dict()
    assert all(torch.allclose(after[name], before[name] + 1) for name in before)


def test_optimizer_and_random_state_are_ignored(answers, cut, tmp_path):
    extra = {
        "optimizer/vars/1": np.ones((4, 4), np.float32),
        "layers/dropout/seed_generator/vars/0": np.zeros(2, np.uint32),
        "discriminator/layers/conv2d/vars/0": np.ones((4, 4, 1, 8), np.float32),
    }
    path = _write(tmp_path / "b.weights.h5", cut[0] | extra)
    _check(load_gan(path, "cut", "2D", targets=TARGETS), answers, "cut 2D 2")


@pytest.mark.parametrize(
    ("family", "regime", "count", "message"),
    [
        ("pix2pix", "2D", 2, "'layers/conv2d/vars/0' has the shape (7, 7, 1, 4), but the pix2pix generator in 2D"),
        ("cyclegan", "2D", 2, "lacks 'layers/instance_normalization2d/vars/0'"),
        ("swin_pix2pix", "2D", 2, "multiple of 6"),
        ("cut", "2.5D", 2, "'layers/conv2d/vars/0' has the shape (7, 7, 1, 4), but the cut generator in 2.5D"),
        ("cut", "3D", 2, "lacks 'layers/conv3d/vars/0'"),
        ("cut", "2D", 1, "'layers/conv2d_46/vars/0' has the shape (3, 3, 4, 2)"),
    ],
)
def test_another_network_than_said_is_refused(cut, family, regime, count, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_gan(cut[1], family, regime, targets=TARGETS[:count])


def test_missing_and_superfluous_variables_are_named(cut, tmp_path):
    weights = dict(cut[0])
    del weights["layers/layer_normalization_3/vars/1"]
    with pytest.raises(InputError, match=r"lacks 'layers/layer_normalization_3/vars/1'.*check"):
        load_gan(_write(tmp_path / "a.weights.h5", weights), "cut", "2D", targets=TARGETS)
    weights = cut[0] | {"layers/conv2d_47/vars/0": np.zeros((3, 3, 4, 4), np.float32)}
    with pytest.raises(InputError, match="holds 'layers/conv2d_47/vars/0', which the cut generator in 2D"):
        load_gan(_write(tmp_path / "b.weights.h5", weights), "cut", "2D", targets=TARGETS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(cut, tmp_path, value):
    weights = {key: array.copy() for key, array in cut[0].items()}
    weights["layers/conv2d_5/vars/0"].flat[0] = value
    with pytest.raises(InputError, match="'layers/conv2d_5/vars/0' holds values that are not finite"):
        load_gan(_write(tmp_path / "a.weights.h5", weights), "cut", "2D", targets=TARGETS)


def test_data_outside_the_file_is_refused(cut, tmp_path):
    key = "layers/conv2d_5/vars/0"
    (tmp_path / "secret").write_bytes(bytes(4 * cut[0][key].size))
    for number, options in enumerate(({"external": [(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)]}, {})):
        path = _write(tmp_path / f"{number}.weights.h5", {k: v for k, v in cut[0].items() if k != key})
        with h5py.File(path, "a") as file:
            file.create_dataset(key, cut[0][key].shape, "f4" if options else "f8", **options)
        with pytest.raises(InputError, match=f"'{key}' is not an array of float32 in this file"):
            load_gan(path, "cut", "2D", targets=TARGETS)
    with h5py.File(path, "a") as file:
        del file[key]
        file.create_dataset(key, (3, 3, 1 << 20, 1 << 10), "f4")
    with pytest.raises(InputError, match="smaller than the arrays"):
        load_gan(path, "cut", "2D", targets=TARGETS)


def test_damaged_and_foreign_files_are_refused(cut, tmp_path):
    content = cut[1].read_bytes()
    for number, data in enumerate((content[: len(content) // 2], pickle.dumps({"a": 1}), b"")):
        (tmp_path / f"{number}.weights.h5").write_bytes(data)
        with pytest.raises(InputError, match="is not a whole HDF5 file"):
            load_gan(tmp_path / f"{number}.weights.h5", "cut", "2D", targets=TARGETS)
    with pytest.raises(InputError, match="holds no generator"):
        load_gan(_write(tmp_path / "c.weights.h5", {"anything": np.zeros(3, np.float32)}), "cut", "2D", targets=TARGETS)
    with pytest.raises(InputError, match="cannot be read"):
        load_gan(tmp_path / "absent.weights.h5", "cut", "2D", targets=TARGETS)


def test_a_request_that_nothing_was_published_for_is_refused(cut):
    for family, regime, targets in (("unet", "2D", TARGETS), ("cut", "4D", TARGETS), ("cut", "2D", ("FLAIR",))):
        with pytest.raises(InputError, match="there are no published weights"):
            load_gan(cut[1], family, regime, targets=targets)
    with pytest.raises(InputError, match="give its refiner_ema"):
        load_gan(cut[1], "cut", "2D+3D-refine", targets=TARGETS)
    with pytest.raises(InputError, match=r"leave .*refiner\.h5 away"):
        load_gan(cut[1], "cut", "2D", targets=TARGETS, refiner="refiner.h5")


def test_a_renamed_published_file_is_recognised(cut, tmp_path, monkeypatch):
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"cyclegan_3d_t2": hashlib.sha256(cut[1].read_bytes()).hexdigest()}))
    assert identify(cut[1]) is None
    monkeypatch.setattr(gan, "_CHECKSUMS", table)
    assert identify(cut[1]) == "cyclegan_3d_t2"
    with pytest.raises(InputError, match="is the published cyclegan_3d_t2, not cut_2d_t2_flair"):
        load_gan(cut[1], "cut", "2D", targets=TARGETS)


def test_checksums_cover_all_published_files():
    table = json.loads(gan._CHECKSUMS.read_text())
    names = {
        f"{family}_{regime}_{target}"
        for family in gan.FAMILIES.values()
        for regime in ("2d", "25d", "3d", "2d_3dpost")
        for target in ("t2", "t2_flair")
    }
    assert set(table) == names
    assert len(set(table.values())) == 32
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in table.values())


def test_without_h5py_the_remedy_is_named(cut, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match="pip install h5py"):
        load_gan(cut[1], "cut", "2D", targets=TARGETS)
