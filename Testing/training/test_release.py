"""What a bundle of a run says of itself: what is known of the run and what its maker states, and nothing of others."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.finished_runs import write_run
from support.machine_names import machine_names

from IoUSynthLib import cli
from IoUSynthLib.inference import open_session, predict
from IoUSynthLib.models.bundle import load
from IoUSynthLib.models.write import LICENCE_IN_FILE, LICENCE_NOT_STATED, Provenance
from IoUSynthLib.synthesis.quality import assess_quality
from IoUSynthLib.training import release
from IoUSynthLib.training.release import export_run
from IoUSynthLib.volume import InputError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "Resources" / "Models"
#: Words of the models that ship, which are true of no other.
OURS = r"developers|[Ss]imulat|BrainWeb|SynthSeg|TCGA|RESECT|H100|0\.[234]\.\d|[Dd]ice of|residual"
PATIENTS = {"simulated": False, "cases": {"train": 36, "validation": 4}, "heads": 40}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run of a preset of toy size; what is exported is not looked at here."""

    def exported(network, channels, path, **how):
        path.write_bytes(b"network")
        return 0.0

    monkeypatch.setattr(release, "export_onnx", exported)
    monkeypatch.setattr(release, "export_torchscript", exported)
    return lambda name, **record: write_run(monkeypatch, tmp_path / f"run of {name}", name, **record)


def export(folder, output, **how):
    """Metadata and card of a run's bundle."""
    export_run(folder, output, **how)
    return (
        json.loads((output / "configs" / "metadata.json").read_text(encoding="utf-8")),
        (output / "docs" / "README.md").read_text(encoding="utf-8"),
    )


@pytest.mark.parametrize("name", ["ious2mr-2.5d", "lesion-3d", "lesion-3d-ultrasound-only"])
def test_a_users_run_says_nothing_that_is_not_known_of_it(run, tmp_path, name):
    stated = Provenance(training_data="our 40 patients, 4000 steps")
    metadata, card = export(run(name), tmp_path / "own", provenance=stated)
    for text in (json.dumps(metadata), card):
        assert not re.search(OURS, text)
        assert "our 40 patients, 4000 steps" in text
    assert (metadata["name"], metadata["version"], metadata["data_source"]) == (
        "own", "0.1.0", "our 40 patients, 4000 steps",
    )
    assert not {"authors", "copyright", "changelog"} & set(metadata)
    section = metadata["iousynth"]
    assert section["training_data"] == "our 40 patients, 4000 steps"
    assert section["licence"] == LICENCE_NOT_STATED
    assert section["preset"] == name
    assert not {"citation", "training_range", "generator", "expected_dice", "class_weights"} & set(section)
    assert card.startswith("# own\n")
    assert f"preset `{name}`" in card
    assert re.findall("^## .*", card, re.MULTILINE)[:2] == ["## What it does", "## Training"]
    assert not re.search(r"## (Results|On real|How far)|[{}|]", card), "nothing was measured"
    assert "No licence was stated" in (tmp_path / "own" / "LICENSE").read_text()
    bundle = load(tmp_path / "own")
    bundle.verify()
    assert not bundle.permissive


def test_of_the_training_nothing_is_said_where_nothing_is_known(run, tmp_path):
    metadata, card = export(run("ious2mr-2.5d"), tmp_path / "own")
    assert not {"data_source"} & set(metadata)
    assert not {"training_data"} & set(metadata["iousynth"])
    assert "## Training" not in card


def test_what_the_run_has_kept_is_said_where_its_maker_states_nothing(run, tmp_path):
    kept = {**PATIENTS, "training_range": {"brightness": [-0.5, 0.0]}}
    stages = [{"name": "main", "window": [32, 32], "steps": 4000, "recipe": "batches of 2 x 32x32"}]
    folder = run("ious2mr-2.5d", cohort=kept, stages=stages, initial="ious2mr-2.5d 0.3.4")
    metadata, card = export(folder, tmp_path / "kept")
    assert metadata["data_source"] == "36 cases for training of a prepared cohort of 40 patients"
    assert metadata["iousynth"]["training_range"] == {"brightness": [-0.5, 0.0]}
    assert "Trained with the preset `ious2mr-2.5d` of IoUSynth: batches of 2 x 32x32; 4000 steps. It began with" in card
    assert "the weights of ious2mr-2.5d 0.3.4." in card
    stated = Provenance(training_data="ours", training_range={"grain": [0, 1]})
    metadata, _card = export(folder, tmp_path / "stated", provenance=stated)
    assert (metadata["data_source"], metadata["iousynth"]["training_range"]) == ("ours", {"grain": [0, 1]})


def test_simulated_cohorts_are_called_so(run, tmp_path):
    simulated = {"simulated": True, "seed": 4, "cases": {"train": 72, "test": 8}, "heads": 36}
    metadata, _card = export(run("lesion-3d", cohort=simulated), tmp_path / "own")
    assert metadata["data_source"] == (
        "72 cases for training of a simulated cohort of 36 heads (seed 4), no real ultrasound"
    )


def test_an_input_is_compared_with_the_training_only_where_its_range_is_given(run, tmp_path, ultrasound):
    """Inverted, the ultrasound is unlike all that the models that ship have learned from."""
    folder, unlike = run("ious2mr-2.5d"), np.where(ultrasound.array > 0, 256 - ultrasound.array, 0)
    export_run(folder, tmp_path / "own")
    own, shipped = load(tmp_path / "own"), load(SHIPPED / "ious2mr-2.5d")
    said = assess_quality(ultrasound.with_array(unlike), shipped).findings
    assert any("was trained on" in finding for finding in said)
    assert not any("trained" in finding for finding in assess_quality(ultrasound.with_array(unlike), own).findings)
    export_run(folder, tmp_path / "told", provenance=Provenance(training_range={"brightness": [-0.5, 0.0]}))
    told = load(tmp_path / "told")
    assert "trained on -0.5 to 0)" in " ".join(assess_quality(ultrasound.with_array(unlike), told).findings)


def test_what_its_maker_says_is_said(run, tmp_path):
    stated = Provenance(
        version="2.0.0", changelog={"2.0.0": "more patients"}, authors="A. Body", copyright="Their hospital",
        citation="Body 2026", generator="own-2.5d",
    )
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    metadata, _card = export(run("lesion-3d"), tmp_path / "own", provenance=stated, licence=licence)
    assert [metadata[key] for key in ("version", "changelog", "authors", "copyright")] == [
        "2.0.0", {"2.0.0": "more patients"}, "A. Body", "Their hospital",
    ]
    assert [metadata["iousynth"][key] for key in ("citation", "generator")] == ["Body 2026", "own-2.5d"]
    bundle = load(tmp_path / "own")
    assert (bundle.licence, bundle.permissive) == ("Apache-2.0", True)
    assert Provenance.of(metadata) == replace(stated, licence="Apache-2.0")


@pytest.mark.parametrize(("given", "expected"), [("", LICENCE_IN_FILE), ("CC-BY-4.0", "CC-BY-4.0")])
def test_another_licence_is_named_by_its_maker_or_not_at_all(run, tmp_path, given, expected):
    text, stated = "Ask the ethics committee.\n", Provenance(licence=given)
    export_run(run("ious2mr-2.5d"), tmp_path / "own", provenance=stated, licence=text)
    assert load(tmp_path / "own").licence == expected
    assert (tmp_path / "own" / "LICENSE").read_text() == text


def test_from_the_command_line(run, tmp_path, capsys):
    licence = str(ROOT / "LICENSE")
    stated = ["--weights-version", "1.0.0", "--authors", "A. Body", "--citation", "Body 2026", "--licence", licence]
    stated += ["--trained-on", "our 40 patients", "--generator", "ours-2.5d"]
    arguments = ["models", "export", str(run("lesion-3d")), "-o", str(tmp_path / "ours-3d"), *stated]
    assert cli.main(arguments) == 0
    assert "ours-3d: exported; ONNX Runtime, TorchScript and torch differ by" in capsys.readouterr().out
    bundle = load(tmp_path / "ours-3d")
    assert (bundle.version, bundle.licence, bundle.generator) == ("1.0.0", "Apache-2.0", "ours-2.5d")
    assert (bundle.details["citation"], bundle.details["training_data"]) == ("Body 2026", "our 40 patients")


def test_what_is_no_run_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="is no run of a preset; give the output folder of iousynth train"):
        export_run(tmp_path, tmp_path / "own")
    folder = run("lesion-3d")
    (folder / "checkpoint.pt").unlink()
    with pytest.raises(InputError, match="has no checkpoint of a known preset; let iousynth train finish"):
        export_run(folder, tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_export_is_a_bundle_that_the_operating_room_opens(tmp_path, monkeypatch):
    """It carries the averaged weights, passes its own comparison and its checksum."""
    pytest.importorskip("onnxscript")
    folder = write_run(monkeypatch, tmp_path / "run", "ious2mr-2.5d")
    assert export_run(folder, tmp_path / "own", licence="a licence") < 2e-2
    bundle = load(tmp_path / "own")
    bundle.verify()
    assert bundle.outputs == ("T2w", "FLAIR", "log_error")
    assert (bundle.window, bundle.fusion_scale, bundle.padding) == ((192, 192), 5, "multiple")
    assert (tmp_path / "own" / "models" / "model.ts").is_file()
    assert machine_names(tmp_path / "own") == []
    assert (tmp_path / "own" / "LICENSE").read_text() == "a licence"


def test_a_segmenter_of_volumes_is_released_as_one(released_segmenter):
    bundle, stage = released_segmenter
    assert not (bundle.path / "models" / "model.ts").exists()
    assert machine_names(bundle.path) == []
    assert (bundle.regime, bundle.spacing, bundle.slice_axes, len(bundle.window)) == ("3D", (1.6,) * 3, (), 3)
    image = np.random.default_rng(0).uniform(-1, 1, (3, 32, 16, 48)).astype(np.float32)
    found = predict(open_session(bundle, "cpu"), image, np.ones(image.shape[1:], bool), bundle)
    torch.manual_seed(1)
    network = stage.network().eval()
    expected = network(torch.from_numpy(image)[None])[0].detach().numpy()
    assert np.allclose(found, expected, atol=1e-4)
