"""What parent and child tell each other: JSON lines, beside which volumes travel as :mod:`.shared_volumes`.

Each result of the child stands here twice: as the child writes it, and as the parent reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..doctor import Finding
from ..files.transforms import field_of, field_transform, matrix_of
from ..outputs.case import Written
from ..pipeline import Options, SynthesisResult
from ..registration.deformable import Deformation
from ..registration.rigid import to_sitk
from ..synthesis.preoperative import Contribution, Preoperative
from ..synthesis.spread import Spread
from ..volume import Volume
from .shared_volumes import geometry

#: Number of the protocol between parent and child.
PROTOCOL = 10

#: Files of a displacement field: its components along L, P and S.
_AXES = ("field-L", "field-P", "field-S")

#: What the last line of a job says of its result, and the volumes that go with it.
Message = tuple[dict[str, Any], dict[str, Volume]]


@dataclasses.dataclass(frozen=True, eq=False)
class Registered:
    """What the child found of a registration.

    Attributes
    ----------
    matrix
        4x4, from LPS points of the ultrasound to LPS points of the MRI.
    deformation
        The displacement that comes before it, where one was asked for.
    report
        That of :func:`registration.register`.
    """

    matrix: np.ndarray
    deformation: Deformation | None
    report: dict[str, Any]


#: What a job comes to.
Result = SynthesisResult | Written | Registered | list[Finding]


@dataclasses.dataclass(frozen=True)
class Event:
    """What happened in the child.

    Attributes
    ----------
    kind
        ``progress``, ``finding``, ``result``, ``error`` or ``cancelled``; the last three end the job.
    stage, fraction
        Of the work, for ``progress``; the fraction is overall, in [0, 1].
    result
        For ``result``, and for ``finding``: the next one of an examination.
    message
        For ``error``: one line with cause and remedy.
    details
        For ``error``: what the child wrote last, or its traceback.
    """

    kind: str
    stage: str = ""
    fraction: float = 0.0
    result: Result | Finding | None = None
    message: str = ""
    details: str = ""


# --- To the child -----------------------------------------------------------------------------------------------------


def write_options(options: Options) -> dict[str, Any]:
    """Return the options of a run for JSON; of the MRI's grid its place alone."""
    grid = options.mr_grid
    return {
        **vars(options),
        "model": write_model(options.model),
        "mr_grid": None if grid is None else geometry(grid),
    }


def read_options(entry: Mapping[str, Any]) -> Options:
    """Return what :func:`write_options` was given; the MRI's grid has one voxel."""
    grid = entry["mr_grid"] and Volume(np.zeros((1, 1, 1)), **entry["mr_grid"])
    return Options(**{**entry, "mr_grid": grid, "mri_sha256": tuple(entry["mri_sha256"])})


def write_preoperative(preoperative: Preoperative | None) -> Message:
    """Return MRI for the second input, with its transform as a matrix or as the components of a displacement field.

    Raises
    ------
    RuntimeError
        The transform is neither linear nor a displacement field.
    """
    if preoperative is None:
        return {"preoperative": None}, {}
    import SimpleITK as sitk

    volumes = {f"mri-{contrast}": image for contrast, image in preoperative.images.items()}
    matrix = np.eye(4) if preoperative.transform is None else matrix_of(preoperative.transform)
    if matrix is None:
        volumes |= _components(*field_of(sitk.DisplacementFieldTransform(preoperative.transform)))
    entry = {
        "contrasts": list(preoperative.images), "names": dict(preoperative.names),
        "doubts": list(preoperative.doubts), "matrix": None if matrix is None else matrix.tolist(),
    }  # fmt: skip
    return {"preoperative": entry}, volumes


def read_preoperative(entry: Mapping[str, Any] | None, volumes: Mapping[str, Volume]) -> Preoperative | None:
    """Return what :func:`write_preoperative` was given."""
    if entry is None:
        return None
    if entry["matrix"] is None:
        transform = field_transform(_field(volumes), volumes[_AXES[0]])
    else:
        transform = to_sitk(np.array(entry["matrix"]))
    images = {contrast: volumes[f"mri-{contrast}"] for contrast in entry["contrasts"]}
    return Preoperative(images, transform, entry["names"], tuple(entry["doubts"]))


def _components(field: np.ndarray, grid: Volume) -> dict[str, Volume]:
    """The components of a displacement field (z, y, x, 3)."""
    return {axis: grid.with_array(field[..., number]) for number, axis in enumerate(_AXES)}


def _field(volumes: Mapping[str, Volume]) -> np.ndarray:
    return np.stack([volumes[axis].array for axis in _AXES], axis=-1)


def write_model(model: str | Path | None) -> str | None:
    """Return a model's name, or its absolute path: the child works in another folder."""
    if model is None:
        return None
    return str(model) if Path(model).parent == Path() else str(Path(model).resolve())


# --- From the child ---------------------------------------------------------------------------------------------------


def write_synthesis(result: SynthesisResult) -> Message:
    """Tell of the images of a volume."""
    volumes = {**result.images, "segmentation": result.segmentation, "valid": result.valid}
    if result.uncertainty is not None:
        volumes["uncertainty"] = result.uncertainty
    line, found = {"images": list(result.images), "report": result.report}, result.contribution
    if found is not None:
        line["mri_used"] = found.used
        volumes |= {"difference": found.difference, "places": found.places}
        volumes |= {f"other-{name}": image for name, image in found.other.items()}
    if result.spread is not None:
        volumes |= {"deviation": result.spread.deviation, "frequency": result.spread.frequency}
    return line, volumes


def _read_synthesis(line: dict[str, Any], volumes: dict[str, Volume]) -> SynthesisResult:
    contribution = None
    if "difference" in volumes:
        other = {name: volumes[f"other-{name}"] for name in line["images"]}
        contribution = Contribution(line["mri_used"], other, volumes["difference"], volumes["places"])
    spread = Spread(volumes["deviation"], volumes["frequency"]) if "deviation" in volumes else None
    return SynthesisResult(
        images={name: volumes[name] for name in line["images"]},
        uncertainty=volumes.get("uncertainty"),
        segmentation=volumes["segmentation"],
        valid=volumes["valid"],
        report=line["report"],
        contribution=contribution,
        spread=spread,
    )


def write_registration(result: Registered) -> Message:
    """Tell of a registration; the displacement field goes component by component."""
    line = {"matrix": result.matrix.tolist(), "report": result.report}
    found = result.deformation
    if found is None:
        return line, {}
    components = _components(found.field, found.grid)
    return {**line, "similarity": [found.before, found.after]}, {"taper": found.grid, **components}


def _read_registration(line: dict[str, Any], volumes: dict[str, Volume]) -> Registered:
    deformation = None
    if "taper" in volumes:
        deformation = Deformation(_field(volumes), volumes["taper"], *line["similarity"])
    return Registered(np.array(line["matrix"]), deformation, line["report"])


def write_files(result: Written) -> Message:
    """Tell of the files of a case."""
    return dataclasses.asdict(result), {}


def _read_files(line: dict[str, Any], _volumes: dict[str, Volume]) -> Written:
    return Written(line["report"], line["files"], line["earlier"])


def write_examination(findings: list[Finding]) -> Message:
    """Tell of all findings of an examination."""
    return {"findings": [dataclasses.asdict(finding) for finding in findings]}, {}


def _read_examination(line: dict[str, Any], _volumes: dict[str, Volume]) -> list[Finding]:
    return [Finding(**finding) for finding in line["findings"]]


_READERS: dict[str, Callable[[dict[str, Any], dict[str, Volume]], Result]] = {
    "synthesize": _read_synthesis,
    "file": _read_files,
    "register": _read_registration,
    "examine": _read_examination,
}


def read_result(line: dict[str, Any], volumes: dict[str, Volume]) -> Result:
    """Return the result that the last line of a job tells of."""
    return _READERS[line["command"]](line, volumes)
