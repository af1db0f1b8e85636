"""Latent variables of an untrained autoencoder whose means and variances are set by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from IoUSynthLib.cases.case import Case, write_case
from IoUSynthLib.experiments import latent
from IoUSynthLib.experiments.__main__ import main
from IoUSynthLib.generators.vae import Autoencoder
from IoUSynthLib.training.presets import PRESETS
from IoUSynthLib.training.run_folder import FinishedRun
from IoUSynthLib.volume import InputError, Volume

EDGE = 48


@pytest.fixture
def cohort(tmp_path):
    """Two test cases of T1w and T2w, half of whose slices have a tumour."""
    folder, entries = tmp_path / "cohort", []
    fan = np.zeros((4, EDGE, EDGE), np.uint8)
    fan[:, 1:-1, 1:-1] = 1
    labels = np.zeros_like(fan)
    labels[:2, 20:30, 20:30] = 1
    for number in range(2):
        rng = np.random.default_rng(number)
        images = {name: Volume(rng.integers(0, 1100, fan.shape).astype(np.int16)) for name in ("T1w", "T2w")}
        about = {"simulated": False, "input": "T1w", "targets": ["T2w"], "labelled": True, "spacing_mm": [1, 1, 1]}
        write_case(Case(images, Volume(labels), Volume(fan), about), folder / f"case-{number}")
        entries.append({"name": f"case-{number}", "head": str(number), "split": "test"})
    (folder / "dataset.json").write_text(json.dumps({"simulated": False, "cases": entries}))
    return folder


def finished(network):
    preset = PRESETS["vae-2d-t2w"].reading("T1w", (1, 1, 1))
    return SimpleNamespace(
        preset=preset, folder="run", network=lambda stage: network.eval(), window=lambda stage: [64, 64]
    )


@pytest.fixture
def network():
    """Every slice has the mean 2 of the first latent variable, and the deviations are 1; the others are at rest."""
    torch.manual_seed(0)
    network = Autoencoder(1, 1, widths=(4, 4, 4, 4), latent=5)
    with torch.no_grad():
        for layer in (network.mean, network.log_variance):
            layer.weight.zero_()
            layer.bias.zero_()
        network.mean.bias[0] = 2.0
    return network


def test_figures_by_hand(cohort, network):
    """The divergence of N(m, 1) from N(0, 1) is m squared over two."""
    found, picture = latent.explore(finished(network), cohort)
    assert (found["cases"], found["slices"], found["latent variables"]) == (2, 8, 5)
    assert found["of these carry something"] == 1
    assert found["divergence"] == {"with tumour": pytest.approx(2.0), "without tumour": pytest.approx(2.0)}
    assert found["mean spread"] > 0
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 4 * 64  # a path, draws, and two cases
    with torch.no_grad():
        network.log_variance.bias.fill_(-60)
    assert latent.explore(finished(network), cohort)[0]["mean spread"] == pytest.approx(0, abs=1e-6)


def test_figures_and_picture_are_written(cohort, network, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(FinishedRun, "read", lambda folder, preset=None: finished(network))
    arguments = ["latent", str(tmp_path / "run"), "--data", str(cohort), "-o", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert json.loads((tmp_path / "out" / "latent.json").read_text()) == json.loads(capsys.readouterr().out)
    assert (tmp_path / "out" / "latent.png").stat().st_size > 1000


def test_bad_input(cohort, tmp_path, capsys):
    with pytest.raises(InputError, match="give one of a vae preset"):
        latent.explore(finished(torch.nn.Identity()), cohort)
    for more in ([], ["--reduced"]):
        assert main(["latent", str(tmp_path), "-o", str(tmp_path / "out"), *more]) == 2
        assert "is no run of a preset" in capsys.readouterr().err
