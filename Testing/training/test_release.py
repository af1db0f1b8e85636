"""What a bundle of a run says of itself: what is known of the run and what its maker states, and nothing of others."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.finished_runs import write_run
from support.machine_names import machine_names
from support.tiny_models import generator_network, write_bundle

from IoUSynthLib import cli
from IoUSynthLib.cases.index import INDEX, write_index
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.inference import open_session, predict
from IoUSynthLib.models.bundle import FAMILIARITY_FILE, load
from IoUSynthLib.models.write import LICENCE_IN_FILE, LICENCE_NOT_STATED, Provenance
from IoUSynthLib.synthesis.familiarity import Familiarity, compare
from IoUSynthLib.synthesis.grid import FieldOfView, network_grid
from IoUSynthLib.synthesis.quality import assess_quality
from IoUSynthLib.training import familiarity, release
from IoUSynthLib.training.familiarity import measure_familiarity, renew_familiarity
from IoUSynthLib.training.initial import _weights
from IoUSynthLib.training.release import describe_run, export_run
from IoUSynthLib.training.run_folder import FinishedRun
from IoUSynthLib.volume import InputError, Volume

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


@pytest.fixture
def cohort(tmp_path):
    """Eight cases for training and two for validation, of which only the ultrasound is looked at: cubes of noise."""
    rng, entries = np.random.default_rng(0), []
    for number in range(10):
        image = rng.uniform(20 + number, 255, (24, 24, 24)).astype(np.uint8)
        folder = tmp_path / "cohort" / f"case-{number:04d}"
        folder.mkdir(parents=True)
        write_volume(folder / "ioUS.mha", Volume(np.pad(image, 4), (0.8, 0.8, 0.8)))
        entries.append({"name": folder.name, "head": "noise", "split": "train" if number < 8 else "validation"})
    write_index(tmp_path / "cohort", entries)
    return tmp_path / "cohort"


def test_export_is_a_bundle_that_the_operating_room_opens(tmp_path, monkeypatch, cohort):
    """It carries the averaged weights, passes its own comparison and its checksum, and compares inputs."""
    pytest.importorskip("onnxscript")
    folder = write_run(monkeypatch, tmp_path / "run", "ious2mr-2.5d", cohort_folder=str(cohort))
    assert export_run(folder, tmp_path / "own", licence="a licence") < 2e-2
    bundle = load(tmp_path / "own")
    bundle.verify()
    assert bundle.outputs == ("T2w", "FLAIR", "log_error")
    assert (bundle.window, bundle.fusion_scale, bundle.padding) == ((192, 192), 5, "multiple")
    assert (tmp_path / "own" / "models" / "model.ts").is_file()
    assert machine_names(tmp_path / "own") == []
    assert (tmp_path / "own" / "LICENSE").read_text() == "a licence"
    assert "down_1.convs.conv_0.conv.weight" in _weights(bundle), "trainings start from what they know by name"
    known = Familiarity.of(bundle)
    assert (known.cases, known.mean.shape) == ({"train": 8, "validation": 2}, (12,)), "of 4 and 8 channels"
    session = open_session(bundle, "cpu")
    near, far = read_volume(cohort / "case-0009" / "ioUS.mha"), phantom_of_stripes()
    grids = [network_grid(FieldOfView.of(volume), bundle) for volume in (near, far)]
    distances = [compare(session, grid, bundle)["distance"] for grid in grids]
    assert distances[0] < known.limit < distances[1]
    shutil.rmtree(tmp_path / "own")
    describe_run(FinishedRun.read(folder), tmp_path / "own")
    assert (tmp_path / "own" / FAMILIARITY_FILE).read_bytes() == (folder / "familiarity.json").read_bytes(), "kept"


def phantom_of_stripes() -> Volume:
    """A cube with an even grey and one bright plane in three."""
    cube = np.where(np.arange(24) % 3 == 0, 250, 60).astype(np.uint8) * np.ones((24, 24, 1), np.uint8)
    return Volume(np.pad(cube, 4), (0.8, 0.8, 0.8))


@pytest.fixture
def telling(tmp_path):
    """A bundle whose network gives features of the ultrasound."""
    return load(write_bundle(tmp_path / "telling", generator_network(features=True)))


def test_what_is_familiar_is_measured_once_for_the_weights_of_a_run(tmp_path, monkeypatch, cohort, telling):
    folder = write_run(monkeypatch, tmp_path / "run", "ious2mr-2.5d", cohort_folder=str(cohort))
    kept, measured = folder / "familiarity.json", []

    def measure(bundle, place):
        measured.append(place)
        return measure_familiarity(bundle, place)

    monkeypatch.setattr(familiarity, "measure_familiarity", measure)
    for _ in range(2):
        renew_familiarity(FinishedRun.read(folder), telling)
    assert (measured, json.loads(kept.read_text())["cases"]) == ([cohort], {"train": 8, "validation": 2})
    os.utime(folder / "checkpoint.pt", (2**31, 2**31))  # it was trained on
    moved = cohort.rename(tmp_path / "elsewhere")
    renew_familiarity(FinishedRun.read(folder), telling)
    assert not kept.exists(), "of other weights, and nothing to measure anew with"
    renew_familiarity(FinishedRun.read(folder), telling, moved)
    assert kept.exists()


def test_an_export_says_if_its_bundle_does_not_compare_inputs(run, tmp_path, capsys):
    for name, told in (("ious2mr-2.5d", True), ("lesion-3d", False)):
        assert cli.main(["models", "export", str(run(name)), "-o", str(tmp_path / f"own-{name}")]) == 0
        assert ("since the run's cohort is not where it was, or too small" in capsys.readouterr().out) == told


def test_a_cohort_that_says_too_little_is_refused(tmp_path, cohort, telling):
    index = json.loads((cohort / INDEX).read_text())
    write_index(cohort, index["cases"][3:])
    with pytest.raises(InputError, match="has 5 cases for training with an image, and inputs cannot be compared"):
        measure_familiarity(telling, cohort)
    silent = load(write_bundle(tmp_path / "silent", generator_network()))
    with pytest.raises(InputError, match="silent: its network tells nothing of its input; export it without a cohort"):
        measure_familiarity(silent, cohort)


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
    assert open_session(bundle, "cpu").features == (), "it is a generator's input that is compared"
