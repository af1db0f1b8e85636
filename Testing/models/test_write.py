"""What a bundle says of itself: what its networks are, what whoever writes it says of them, and nothing else."""

import hashlib
import json
import os
import re
import time

import pytest
from support.tiny_models import generator_network, segmenter_network

from IoUSynthLib.models.bundle import NETWORK_FILE, load
from IoUSynthLib.models.write import (
    LICENCE_IN_FILE,
    LICENCE_NOT_STATED,
    Provenance,
    licence_text,
    new_bundle,
    write_bundle,
)
from IoUSynthLib.volume import InputError

GENERATOR = {
    "kind": "generator", "regime": "2.5D", "spacing": [0.8] * 3, "slice_axes": [0, 1, 2], "window": [32, 32],
    "overlap": 0.25, "size_multiple": 8, "inputs": ["ioUS"], "outputs": ["T2w", "FLAIR", "log_error"],
}
SEGMENTER = {
    **GENERATOR, "kind": "segmenter", "inputs": ["ioUS", "T2w", "FLAIR"], "outputs": ["background", "tumour", "cavity"],
    "padding": "window",
}
EVERYTHING = Provenance(
    version="2.0.0", changelog={"2.0.0": "more patients"}, authors="A. Body", copyright="Their hospital",
    citation="Body 2026", licence="CC-BY-4.0", training_data="our 40 patients", generator="own-2.5d",
    training_range={"brightness": [-0.5, 0.0]}, intended_use="Research only.",
)


def write(output, section=GENERATOR, network=generator_network, **more):
    with new_bundle(output) as folder:
        (folder / NETWORK_FILE).write_bytes(network())
        words = {"description": "a small network", "origin": "Made by hand.", "provenance": Provenance()}
        write_bundle(folder, section, **{**words, **more})
    metadata = json.loads((output / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return metadata, (output / "docs" / "README.md").read_text(encoding="utf-8")


def test_what_a_killed_run_left_is_removed_by_a_later_one_and_what_another_is_making_is_not(tmp_path):
    left, made = tmp_path / ".bundle-killed", tmp_path / ".bundle-living"
    for folder in (left, made):
        (folder / "own" / "models").mkdir(parents=True)
    os.utime(left, (time.time() - 2 * 86_400,) * 2)
    write(tmp_path / "own")
    assert {path.name for path in tmp_path.iterdir()} == {"own", made.name}


def test_nothing_is_said_that_nobody_has_said(tmp_path):
    metadata, card = write(tmp_path / "own")
    bundle = load(tmp_path / "own")
    bundle.verify()
    assert (bundle.name, bundle.version, bundle.licence) == ("own", "0.1.0", LICENCE_NOT_STATED)
    assert bundle.sha256 == hashlib.sha256(generator_network()).hexdigest()
    assert not {"authors", "copyright", "changelog", "data_source"} & set(metadata)
    unknown = {"citation", "training_data", "training_range", "generator"}
    assert not unknown & set(metadata["iousynth"])
    assert metadata["task"] == "synthesis of T2w and FLAIR MRI from intraoperative ultrasound"
    assert "No licence was stated" in (tmp_path / "own" / "LICENSE").read_text()
    assert re.findall("^#+ .*", card, re.MULTILINE) == ["# own", "## What it does", "## Limits"]
    assert "predicts, for every voxel inside the ultrasound fan, T2w and FLAIR and the error to be expected" in card
    assert "a small network, on voxels of 0.8 x 0.8 x 0.8 mm. Made by hand." in card
    assert "`image` (B, 3, 8*n, 8*n): ioUS slice k-1, ioUS slice k and ioUS slice k+1, each in [-1, 1]" in card
    assert card.endswith("not everywhere it\n  may fail.\n")
    assert not re.search(r"[{}|]", card)


def test_all_that_is_said_stands_in_metadata_and_card(tmp_path):
    metadata, card = write(tmp_path / "own", provenance=EVERYTHING, results={"results": "It | works."})
    assert Provenance.of(metadata) == EVERYTHING
    assert metadata["data_source"] == "our 40 patients"
    assert "\n## Training\n\nTraining data: our 40 patients\n" in card
    assert "\n## Results on simulated cases\n\nIt | works.\n" in card
    assert card.endswith("\n## Citation\n\nCite: Body 2026\n")
    assert "**Research only.** Its images are synthetic" in card


def test_a_segmenter_makes_no_images(tmp_path):
    metadata, card = write(tmp_path / "own", SEGMENTER, segmenter_network)
    assert load(tmp_path / "own").kind == "segmenter"
    assert "synthetic: they show" not in card
    assert "## Limits" not in card
    assert "Outlines tumour and resection cavity on volumes of ioUS, T2w and FLAIR." in card
    assert "`prediction` (B, 3, 32, 32): logits of background, tumour and cavity\n" in card
    prediction = metadata["network_data_format"]["outputs"]["prediction"]
    assert (prediction["type"], prediction["spatial_shape"]) == ("probabilities", [32, 32])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", LICENCE_NOT_STATED),
        ("Ask the ethics committee.\n", LICENCE_IN_FILE),
        (licence_text("Apache-2.0"), "Apache-2.0"),
    ],
)
def test_a_licence_is_known_by_its_text_alone(tmp_path, text, expected):
    write(tmp_path / "own", licence=text)
    assert load(tmp_path / "own").licence == expected
    assert (tmp_path / "own" / "LICENSE").read_text(encoding="utf-8").startswith(text)


def test_a_card_of_ones_own_is_kept(tmp_path):
    _, card = write(tmp_path / "own", card="# Mine\n\nOf {our} own.\n")
    assert card == "# Mine\n\nOf {our} own.\n"


def test_a_bundle_is_whole_or_not_there(tmp_path):
    def fail():
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write(tmp_path / "own", network=fail)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "own")
    with pytest.raises(InputError, match="own: exists already; remove it"), new_bundle(tmp_path / "own"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), new_bundle(tmp_path / "file" / "own"):
        pass
