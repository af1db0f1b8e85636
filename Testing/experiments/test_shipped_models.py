"""The models that ship are described by the same rules as all others, and their cards are kept but for their tables."""

import json
import re
from argparse import Namespace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from support.finished_runs import write_run

from IoUSynthLib.evaluation.tables import fidelity_table, overlap_table, uncertainty_table
from IoUSynthLib.experiments import shipped_models
from IoUSynthLib.experiments.agreement import MEASURES
from IoUSynthLib.experiments.cards import describe_results, make_tables, renew_tables
from IoUSynthLib.models.bundle import load
from IoUSynthLib.models.write import Provenance, describe
from IoUSynthLib.training import release
from IoUSynthLib.training.presets import PRESETS
from IoUSynthLib.training.release import describe_network, describe_stage, export_run

SHIPPED = Path(__file__).resolve().parents[2] / "Resources" / "Models"
MODELS = ("ious2mr-2.5d", "lesion-3d")


def read(folder):
    """Metadata and card."""
    metadata, card = folder / "configs" / "metadata.json", folder / "docs" / "README.md"
    return json.loads(metadata.read_text(encoding="utf-8")), card.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def evaluation():
    return json.loads((SHIPPED / "lesion-3d" / "docs" / "evaluation.json").read_text(encoding="utf-8"))


def test_what_was_measured_is_told_with_what_it_means(evaluation):
    agreement = {"our case": {measure: [0.25] for measure in MEASURES}}
    found = describe_results("generator", evaluation, agreement)
    assert set(found) == {"results", "agreement"}
    assert found["results"].startswith(f"{len(evaluation['cases'])} simulated cases, the whole pipeline;")
    assert fidelity_table(evaluation["summary"]) in found["results"]
    assert "\n| our case | 1 | 0.25 |" in found["agreement"]
    found = describe_results("segmenter", evaluation)
    assert set(found) == {"results", "trust"}
    assert overlap_table(evaluation["summary"]) in found["results"]
    assert "\n| tumour, overlay | " in found["trust"]
    assert set(describe_results("generator", None, agreement)) == {"agreement"}
    assert describe_results("segmenter", None) == {}


def test_a_card_is_kept_but_for_its_tables(evaluation):
    kept = "# Mine\n\nOf {our} own.\n\n| measure | mean (95 % interval) |\n|---|---|\n| correlation | 0.1 |\n\nEnd.\n"
    fidelity, tables = fidelity_table(evaluation["summary"]), make_tables("generator", evaluation)
    with pytest.raises(ValueError, match="the card holds 0 tables with the headings of fidelity"):
        renew_tables(kept, tables)
    kept = kept.replace("End.", f"{fidelity[: fidelity.index('| T2w')]}\nEnd.")
    uncertainty = uncertainty_table(evaluation["summary"])
    assert renew_tables(kept, tables) == f"# Mine\n\nOf {{our}} own.\n\n{uncertainty}\n\n{fidelity}\n\nEnd.\n"


def test_made_anew_the_models_that_ship_keep_their_words_where_somebody_says_so(tmp_path, monkeypatch):
    def exported(network, channels, path, **how):
        path.write_bytes(b"network")
        return 0.0

    monkeypatch.setattr(release, "export_onnx", exported)
    run, bundle = tmp_path / "runs" / "lesion-3d", tmp_path / "models" / "lesion-3d"
    export_run(write_run(monkeypatch, run, "lesion-3d"), bundle, torchscript=False)
    metadata, card = read(shipped_models._describe("lesion-3d", Namespace(output=tmp_path, described=None)))
    assert metadata["data_source"] == "2048 simulated cases of IoUSynth (seed 4), no real ultrasound"
    assert not re.search(r"developers|0\.3|\|", json.dumps(metadata) + card)
    kept, kept_card = read(shipped_models._describe("lesion-3d", Namespace(output=tmp_path, described=SHIPPED)))
    ours, our_card = read(SHIPPED / "lesion-3d")
    assert kept_card == our_card
    assert Provenance.of(kept) == Provenance.of(ours)
    assert kept["data_source"] == ours["data_source"]
    assert load(bundle).licence == "Apache-2.0"


@pytest.mark.parametrize("name", MODELS)
def test_the_models_that_ship_are_described_by_the_same_rules(name):
    """From what their makers say, their metadata and the tables of their cards come out as they are."""
    metadata, card = read(SHIPPED / name)
    section, stage = metadata["iousynth"], PRESETS[name].last
    own = ("class_weights", "expected_dice", "preset", "recipe")
    point = {key: value for key, value in section.items() if key.startswith(own)}
    network = {**describe_stage(stage, stage.recipe.window), **point}
    made = describe(
        name, network, description=describe_network(PRESETS[name]), provenance=Provenance.of(metadata)
    )
    programs = {key: metadata[key] for key in metadata if key.endswith("_version")}
    assert {**made, **programs, "iousynth": {**made["iousynth"], "checksums": section["checksums"]}} == metadata
    evaluation = json.loads((SHIPPED / name / "docs" / "evaluation.json").read_text(encoding="utf-8"))
    assert renew_tables(card, make_tables(stage.kind, evaluation)) == card
    assert "IoUSynth developers" in metadata["authors"]
