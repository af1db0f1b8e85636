"""The simulated case that comes with the extension, in Slicer's Sample Data module."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import slicer

NAME = "IoUSynthSample"

ULTRASOUND = "IoUSynth sample ioUS"
T2W = "IoUSynth sample T2w (preoperative)"
FLAIR = "IoUSynth sample FLAIR (preoperative)"
LABELS = "IoUSynth sample labels (simulated truth)"
TRANSFORM = "TrackerToRas"

#: File in Resources/SampleData, node name, file type of Slicer. The ultrasound comes last, so that it is the newest.
FILES = (
    ("IoUSynthSample_TrackerToRas.tfm", TRANSFORM, "TransformFile"),
    ("IoUSynthSample_T2w.nrrd", T2W, "VolumeFile"),
    ("IoUSynthSample_FLAIR.nrrd", FLAIR, "VolumeFile"),
    ("IoUSynthSample_labels.nrrd", LABELS, "SegmentationFile"),
    ("IoUSynthSample_ious.nrrd", ULTRASOUND, "VolumeFile"),
)
#: Nodes that were tracked, and lie under the transform of the tracker.
TRACKED = (LABELS, ULTRASOUND)


def register(resources: Path) -> None:
    """Add the case to the Sample Data module. Its files lie in ``resources``; nothing is downloaded.

    Sample Data copies them into its cache and verifies the SHA-256 checksums of ``checksums.json``, as it would after a
    download. Loading by its button goes through :func:`load`, which adds what Sample Data cannot: the parent transform.
    """
    import SampleData

    folder = resources / "SampleData"
    try:
        sha256 = json.loads((folder / "checksums.json").read_text(encoding="utf-8"))
    except OSError as error:
        logging.warning("IoUSynth: the sample data is not installed: %s", error)
        return
    if hasattr(SampleData.SampleDataLogic, "registerCustomSampleDataCategory"):  # from Slicer 5.12 on
        SampleData.SampleDataLogic.registerCustomSampleDataCategory("IoUSynth", title="IoUSynth")
    file_names, node_names, file_types = (list(column) for column in zip(*FILES, strict=True))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="IoUSynth",
        sampleName=NAME,
        thumbnailFileName=str(resources / "Icons" / f"{NAME}.png"),
        uris=[(folder / name).as_uri() for name in file_names],
        fileNames=file_names,
        nodeNames=node_names,
        loadFileTypes=file_types,
        checksums=[f"SHA256:{sha256[name]}" for name in file_names],
        customDownloader=load_or_say_why_not,
    )


def load(source: Any = None) -> dict[str, Any]:
    """Load the case and put what was tracked under the transform of the tracker.

    Parameters
    ----------
    source
        The registered data source, as Sample Data passes it; found by its name if left out.

    Returns
    -------
    dict
        Nodes by node name.

    Raises
    ------
    RuntimeError
        The case is not registered, or not all of its files could be loaded; none of it is in the scene then.
    """
    import SampleData

    from .write import remove_nodes

    logic = SampleData.SampleDataLogic()
    source = source or logic.sourceForSampleName(NAME)
    if source is None:
        raise RuntimeError("The sample data of IoUSynth is not installed; install the extension again.")
    loaded = [node for node in logic.downloadFromSource(source) if node is not None]  # without what failed
    if len(loaded) != len(source.nodeNames):
        remove_nodes(loaded)
        raise RuntimeError(
            f"The sample data of IoUSynth could not be loaded: only {len(loaded)} of the {len(source.nodeNames)} files "
            "could be read. Free space on the disk and try again, or install the extension again."
        )
    nodes = dict(zip(source.nodeNames, loaded, strict=True))
    for name in TRACKED:
        nodes[name].SetAndObserveTransformNodeID(nodes[TRANSFORM].GetID())
    nodes[LABELS].GetDisplayNode().SetVisibility(False)  # the truth must not pass for a result
    return nodes


def load_or_say_why_not(source: Any = None) -> dict[str, Any]:
    """Do what :func:`load` does, for the button of Sample Data, which shows no exception; empty where it failed."""
    try:
        return load(source)
    except RuntimeError as error:
        slicer.util.errorDisplay(str(error))
        return {}
