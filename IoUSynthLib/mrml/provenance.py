"""What is written on the nodes that IoUSynth made: that they are synthetic, and what they were made of and with."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any

from ..constants import NOTICE
from ..models.bundle import titled

if TYPE_CHECKING:
    import slicer

#: Node attributes and node references of IoUSynth start with this.
PREFIX = "IoUSynth."
INPUT_ROLE = PREFIX + "input"
PREOPERATIVE_ROLE = PREFIX + "preoperative"


def is_synthetic(node: slicer.vtkMRMLNode | None) -> bool:
    """Tell whether IoUSynth made the node."""
    return node is not None and node.GetAttribute(PREFIX + "Synthetic") == "true"


def report_of(node: slicer.vtkMRMLNode | None) -> dict[str, Any]:
    """Return the report of the run that made a node, also after its scene was saved and loaded; empty for any other."""
    return json.loads(node.GetAttribute(PREFIX + "Report") or "{}") if is_synthetic(node) else {}


def attributes_of(report: dict[str, Any], input_node: slicer.vtkMRMLNode) -> dict[str, str]:
    """Return the attributes, without :data:`PREFIX`, that say with what a node was made."""
    model, segmenter, companion = (report.get(key) or {} for key in ("model", "segmenter", "companion"))
    transform = input_node.GetParentTransformNode()
    chain = report.get("input", {}).get("transforms", [])
    contribution, mri = report.get("contribution") or {}, report.get("input", {}).get("preoperative_mri") or {}
    given, drawn = mri.get("images", {}), report.get("spread") or {}
    return {
        "Synthetic": "true",
        "Notice": report.get("notice", NOTICE),
        "Model": titled(model),
        "ModelSHA256": str(model.get("sha256", "")),
        "Segmenter": titled(segmenter),
        "SegmenterSHA256": str(segmenter.get("sha256", "")),
        "OutlinedOn": titled(companion),
        "OutlinedOnSHA256": str(companion.get("sha256", "")),
        # MRI that a model was given beside the ultrasound, where it was, and whether the images are made with it.
        "MRIUsed": str(contribution.get("used", False)).lower(),
        "MRI": json.dumps({contrast: image["name"] for contrast, image in given.items()}),
        "MRISHA256": json.dumps({contrast: image["sha256"] for contrast, image in given.items()}),
        "MRITransform": json.dumps(mri.get("transform", {})),
        # How many samples the images are the mean of, and what repeats them; empty where none were drawn.
        "Samples": json.dumps({name: drawn.get(name) for name in ("samples", "seed", "temperature")} if drawn else {}),
        "Versions": json.dumps(report.get("versions", {}), sort_keys=True),
        "Device": str(report.get("device", {}).get("used", "")),
        "Created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        "InputNodeID": input_node.GetID(),
        "InputName": input_node.GetName(),
        "InputTransform": transform.GetName() if transform is not None else "",
        "InputTransforms": json.dumps(chain),  # as they were when the voxels were read, the nearest first
        "Report": json.dumps(report, sort_keys=True, default=str),
    }
