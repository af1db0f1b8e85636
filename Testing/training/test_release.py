"""What a released bundle says of itself: what is known of the run and what its maker says, and nothing of others."""

import json
import re
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.toy_presets import toy_unet
from torch.optim.swa_utils import AveragedModel

from IoUSynthLib.experiments import shipped_models
from IoUSynthLib.experiments.agreement import MEASURES
from IoUSynthLib.models.bundle import load
from IoUSynthLib.synthesis.quality import judge
from IoUSynthLib.training import release as module
from IoUSynthLib.training.export import LICENCE_IN_FILE, LICENCE_NOT_STATED
from IoUSynthLib.training.presets import PRESETS
from IoUSynthLib.training.release import About, bundle_metadata, release

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "Resources" / "Models"
MODELS = ("ious2mr-2.5d", "lesion-3d")
#: Words of the models that ship, which are true of no other.
OURS = r"developers|[Ss]imulat|BrainWeb|SynthSeg|TCGA|RESECT|H100|0\.[234]\.\d|[Dd]ice of|residual"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run of each preset, of toy size; what is exported is not looked at here."""
    monkeypatch.setattr(module, "export_onnx", lambda network, channels, path, *_, **__: path.write_bytes(b"network"))

    def make(name):
        monkeypatch.setitem(PRESETS, name, toy_unet(PRESETS[name]))
        folder = tmp_path / f"run of {name}"
        folder.mkdir()
        average = AveragedModel(PRESETS[name].last.network(), use_buffers=True)
        torch.save({"average": average.state_dict()}, folder / "checkpoint.pt")
        return folder

    return make


def read(folder):
    """Metadata and card."""
    return json.loads((folder / "configs" / "metadata.json").read_text()), (folder / "docs" / "README.md").read_text()


@pytest.mark.parametrize("name", [*MODELS, "lesion-3d-ultrasound-only"])
def test_a_users_run_says_nothing_that_is_not_known_of_it(run, tmp_path, name):
    folder = release(name, run(name), tmp_path / "models", training="our 40 patients, 4000 steps", bundle="own")
    metadata, card = read(folder)
    assert folder == tmp_path / "models" / "own"
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
    assert not {"citation", "training_range", "generator", "expected_dice", "class_weights"} & set(section)
    assert card.startswith("# own\n")
    assert f"preset `{name}`" in card
    assert re.findall("^## .*", card, re.MULTILINE)[:2] == ["## What it does", "## Training"]
    assert not re.search(r"## (Results|On real|How far)|[{}|]", card), "nothing was measured"
    assert "No licence was stated" in (folder / "LICENSE").read_text()
    bundle = load(folder)
    bundle.verify()
    assert not bundle.permissive


def test_of_the_training_nothing_is_said_where_nothing_is_known(run, tmp_path):
    metadata, card = read(release("ious2mr-2.5d", run("ious2mr-2.5d"), tmp_path / "models"))
    assert not {"data_source"} & set(metadata)
    assert not {"training_data"} & set(metadata["iousynth"])
    assert "## Training" not in card


def test_an_input_is_compared_with_the_training_only_where_its_range_is_given(run, tmp_path, ultrasound):
    """Inverted, the ultrasound is unlike all that the models that ship have learned from."""
    folder, unlike = run("ious2mr-2.5d"), np.where(ultrasound.array > 0, 256 - ultrasound.array, 0)
    own, shipped = release("ious2mr-2.5d", folder, tmp_path / "own"), load(SHIPPED / "ious2mr-2.5d")
    said = judge(ultrasound.with_array(unlike), shipped).findings
    assert any("was trained on" in finding for finding in said)
    assert not any("trained" in finding for finding in judge(ultrasound.with_array(unlike), load(own)).findings)
    about = About(training_range={"brightness": [-0.5, 0.0]})
    told = load(release("ious2mr-2.5d", folder, tmp_path / "told", about=about))
    assert "trained on -0.5 to 0)" in " ".join(judge(ultrasound.with_array(unlike), told).findings)


def test_what_its_maker_says_is_said(run, tmp_path):
    about = About(
        version="2.0.0", changelog={"2.0.0": "more patients"}, authors="A. Body", copyright="Their hospital",
        citation="Body 2026", generator="own-2.5d",
    )
    folder = release("lesion-3d", run("lesion-3d"), tmp_path, ROOT / "LICENSE", about=about)
    metadata, _card = read(folder)
    assert [metadata[key] for key in ("version", "changelog", "authors", "copyright")] == [
        "2.0.0", {"2.0.0": "more patients"}, "A. Body", "Their hospital",
    ]
    assert [metadata["iousynth"][key] for key in ("citation", "generator")] == ["Body 2026", "own-2.5d"]
    bundle = load(folder)
    assert (bundle.licence, bundle.permissive) == ("Apache-2.0", True)
    assert About.of(metadata) == replace(about, licence="Apache-2.0")


@pytest.mark.parametrize(("given", "expected"), [("", LICENCE_IN_FILE), ("CC-BY-4.0", "CC-BY-4.0")])
def test_another_licence_is_named_by_its_maker_or_not_at_all(run, tmp_path, given, expected):
    licence = tmp_path / "LICENSE"
    licence.write_text("Ask the ethics committee.\n")
    folder = release("ious2mr-2.5d", run("ious2mr-2.5d"), tmp_path / "models", licence, about=About(licence=given))
    assert load(folder).licence == expected
    assert (folder / "LICENSE").read_text() == "Ask the ethics committee.\n"


def test_what_was_measured_stands_in_the_card(run, tmp_path):
    evaluation = json.loads((SHIPPED / "lesion-3d" / "docs" / "evaluation.json").read_text())
    agreement = {"our case": {measure: [0.25] for measure in MEASURES}}
    _metadata, card = read(release("ious2mr-2.5d", run("ious2mr-2.5d"), tmp_path, None, evaluation, "", agreement))
    assert "\n200 simulated cases, the whole pipeline;" in card
    assert "\n| T2w | generator | 17.08 (16.69 to 17.48) |" in card
    assert "\n| our case | 1 | 0.25 |" in card
    _metadata, card = read(release("lesion-3d", run("lesion-3d"), tmp_path, None, evaluation))
    assert "\n| overlay | 0.472 (0.422 to 0.521) |" in card
    assert "\n| tumour, overlay | " in card


def test_a_card_is_kept_but_for_its_tables(run, tmp_path):
    evaluation = json.loads((SHIPPED / "lesion-3d" / "docs" / "evaluation.json").read_text())
    kept = "# Mine\n\nOf {our} own.\n\n| measure | mean (95 % interval) |\n|---|---|\n| correlation | 0.1 |\n\nEnd.\n"
    fidelity = module.fidelity_table(evaluation["summary"])
    folder = run("ious2mr-2.5d")
    with pytest.raises(ValueError, match="the card holds 0 tables with the headings of fidelity"):
        release("ious2mr-2.5d", folder, tmp_path, None, evaluation, card=kept)
    kept = kept.replace("End.", f"{fidelity[: fidelity.index('| T2w')]}\nEnd.")
    _metadata, card = read(release("ious2mr-2.5d", folder, tmp_path, None, evaluation, card=kept))
    expected = f"# Mine\n\nOf {{our}} own.\n\n{module.uncertainty_table(evaluation['summary'])}\n\n{fidelity}\n\nEnd.\n"
    assert card == expected


def test_made_anew_the_models_that_ship_keep_their_words_where_somebody_says_so(run, tmp_path):
    run("lesion-3d").rename(tmp_path / "run")
    (tmp_path / "runs").mkdir()
    (tmp_path / "run").rename(tmp_path / "runs" / "lesion-3d")
    metadata, card = read(shipped_models._release("lesion-3d", Namespace(output=tmp_path, described=None)))
    assert metadata["data_source"] == "2048 simulated cases of IoUSynth (seed 4), no real ultrasound"
    assert not re.search(r"developers|0\.3|\|", json.dumps(metadata) + card)
    kept, kept_card = read(shipped_models._release("lesion-3d", Namespace(output=tmp_path, described=SHIPPED)))
    ours, our_card = read(SHIPPED / "lesion-3d")
    assert kept_card == our_card
    assert About.of(kept) == About.of(ours)
    assert kept["data_source"] == ours["data_source"]
    assert load(tmp_path / "models" / "lesion-3d").licence == "Apache-2.0"


@pytest.mark.parametrize("name", MODELS)
def test_the_models_that_ship_are_released_by_the_same_rules(name):
    """From what their makers say, their metadata and the tables of their cards come out as they are."""
    metadata, card = read(SHIPPED / name)
    section = metadata["iousynth"]
    point = {key: value for key, value in section.items() if key.startswith(("class_weights", "expected_dice"))}
    made = bundle_metadata(name, PRESETS[name].last, point, About.of(metadata), section["training_data"])
    programs = {key: metadata[key] for key in metadata if key.endswith("_version")}
    assert {**made, **programs, "iousynth": {**made["iousynth"], "checksums": section["checksums"]}} == metadata
    evaluation = json.loads((SHIPPED / name / "docs" / "evaluation.json").read_text())
    tables = module._tables(PRESETS[name].last.kind, evaluation, None)
    assert module._renewed(card, tables) == card
    assert "IoUSynth developers" in metadata["authors"]
