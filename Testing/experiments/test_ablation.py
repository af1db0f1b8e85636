"""The ablation with two variants, cases of noise and a network of toy size."""

import inspect
import json

import numpy as np
import pytest
import torch
from support.tiny_models import generator_network

from IoUSynthLib.cases.case import Case, write_case
from IoUSynthLib.cases.index import INDEX
from IoUSynthLib.experiments import ablation
from IoUSynthLib.experiments.__main__ import main
from IoUSynthLib.experiments.ablation_tables import tables
from IoUSynthLib.preprocessing import resample_to_spacing
from IoUSynthLib.simulation.patient import FILES
from IoUSynthLib.training.export import export_onnx
from IoUSynthLib.volume import InputError, Volume

SETTINGS = ablation.Settings(2, 1, 2, steps=2, features=(4, 4, 8, 8, 8, 4), size=32, batch_size=2)


def write_noise(count, output, anatomy, seed, workers, split, without):
    """A cohort of noise in the place of :func:`simulate_cohort`, which tests of its own cover."""
    fan = np.zeros((40, 40, 40), np.uint8)
    fan[4:-4, 4:-4, 4:-4] = 1
    entries = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        images = {
            "ioUS": Volume((rng.uniform(20, 255, fan.shape) * fan).astype(np.uint8)),
            "T2w": Volume(rng.integers(0, 1000, fan.shape).astype(np.int16)),
            "FLAIR": Volume(rng.integers(0, 1000, fan.shape).astype(np.int16)),
        }
        parameters = {"simulated": True, "head": "noise", "without": list(without)}
        name = f"case-{number:04d}"
        write_case(Case(images, Volume(np.zeros_like(fan)), Volume(fan), parameters), output / name)
        entries.append({"name": name, "head": "noise", "split": split})
    (output / INDEX).write_text(json.dumps({"simulated": True, "seed": seed, "cases": entries}))


@pytest.fixture
def anatomy(tmp_path):
    """A folder with the names of five heads."""
    folder = tmp_path / "anatomy"
    folder.mkdir()
    for number in range(5):
        (folder / f"subject{number}.nii.gz").touch()
    return folder


@pytest.fixture
def simulated(monkeypatch, tiny_models, ultrasound):
    """What was simulated: split, seed, number and parts left out; one small volume is the real ultrasound."""
    calls = []

    def simulate(count, output, anatomy, seed, workers, split, without):
        calls.append((split, seed, count, *without))
        output.mkdir(parents=True)
        write_noise(count, output, anatomy, seed, workers, split, without)

    learned = []

    def export(network, channels, path, size_multiple):
        """Write the tiny generator: all variants learn from the same noise here, so all networks must be the same."""
        inspect.signature(export_onnx).bind(network, channels, path, size_multiple=size_multiple)
        size = (2 * size_multiple, size_multiple)
        assert network.eval()(torch.zeros(2, channels, *size)).shape == (2, 3, *size)
        learned.append(torch.cat([value.flatten().float() for value in network.state_dict().values()]))
        assert torch.equal(learned[-1], learned[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(generator_network())

    monkeypatch.setattr(ablation, "export_onnx", export)
    monkeypatch.setattr(ablation, "simulate_cohort", simulate)
    monkeypatch.setattr(ablation, "PARTS", {"turn": "the turn", "real MRI": "the MRI"})
    volume = resample_to_spacing(ultrasound, (0.8,) * 3)
    monkeypatch.setattr(ablation, "read_real", lambda folder: {"sweep": (volume, [], None, None)})
    return calls


def test_variants_are_compared_on_the_same_cases_and_resumed(anatomy, simulated, tmp_path):
    output, lines = tmp_path / "out", []
    text = ablation.ablate(SETTINGS, anatomy, tmp_path, output=output, report=lines.append)
    assert simulated == [("validation", 12, 1), ("test", 13, 2), ("train", 11, 2), ("train", 11, 2, "turn")]
    assert lines.count("training whole simulator") == lines.count("training without turn") == 1
    assert (output / "ablation.md").read_text() == text
    assert text.count("| whole simulator |") == text.count("| without turn |") == 2
    content = json.loads((output / "ablation.json").read_text())
    assert content["simulated"]
    whole, other = content["arms"].values()
    assert (whole["without"], other["without"]) == ([], ["turn"])
    assert [row["case"] for row in whole["cases"]] == [row["case"] for row in other["cases"]]
    assert (whole["cases"], whole["real"]) == (other["cases"], other["real"])
    assert set(whole["real"]["sweep"]) == {"edges", "streaks", "FLAIR against ultrasound"}

    (output / "without-turn" / "scores.json").unlink()
    lines.clear()
    assert ablation.ablate(SETTINGS, anatomy, tmp_path, output=output, report=lines.append) == text
    assert len(simulated) == 4
    assert not [line for line in lines if "whole simulator" in line or line.startswith(("simulating", "step"))]

    with pytest.raises(InputError, match="is of other settings or anatomies; repeat those, or choose another"):
        ablation.ablate(ablation.Settings(), anatomy, tmp_path, output=output)


def test_real_mri_is_taken_away_only_where_there_is_some(anatomy):
    assert list(ablation.variants_of(anatomy)) == ["whole simulator", "without shadow", "without sweep", "without turn"]
    (anatomy / "patient").mkdir()
    for name in FILES.values():
        (anatomy / "patient" / name).touch()
    assert ablation.variants_of(anatomy)["without real MRI"] == ("real MRI",)


def test_differences_are_paired():
    def variant(*values, **without):
        metrics = ("PSNR", "SSIM fan", "MAE", "LPIPS")
        keys = [f"{target}/generator/{metric}" for target in ("T2w", "FLAIR") for metric in metrics]
        rows = [{key: None if key.endswith("LPIPS") else value for key in keys} for value in values]
        return {"cases": rows, "real": {"sweep": dict.fromkeys(ablation.REAL_MEASURES, 0.5)}, "without": [], **without}

    text = tables({"whole": variant(20.0, 30.0, 25.0), "less": variant(19.0, 29.0, 24.0, without=["turn"])}, 4, 7)
    assert "| whole | 25.00 | 25.000 | 25.0000 | - |" in text
    assert "| less | 24.00 (-1.00 to -1.00) |" in text
    assert "- turn: the grid's rotation" in text
    assert "for 7 steps on 4 simulated cases" in text


def test_bad_input_is_one_line(anatomy, tmp_path, capsys):
    arguments = ["ablation", "--anatomy", str(anatomy), "--real", str(tmp_path), "-o", str(tmp_path / "out")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Case4-US-before.nii.gz: no such file" in error
    assert main(["ablation", "--anatomy", str(tmp_path / "none"), *arguments[3:]]) == 2
    assert "no anatomies" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        main([*arguments, "--steps", "0"])
