"""A case on disk: paired ioUS, T2w, FLAIR and labels of one field of view, simulated or prepared of a patient.

A patient's MRI may take the place of the ultrasound (:mod:`IoUSynthLib.cohort.pairs`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..constants import TARGETS
from ..files.volumes import read_volume, write_volume
from ..preprocessing import bounding_box, normalize_ultrasound, ultrasound_statistics
from ..synthesis.grid import NetworkGrid
from ..volume import InputError, Volume

#: Label of all voxels of a patient whose tumour and cavity nobody has outlined.
UNLABELLED = 255

#: In training, label of voxels of which all that is known is that they are no tumour: that alone was outlined.
NO_TUMOUR = 254

#: File of a case's parameters; a folder that holds it is complete.
PARAMETERS = "case.json"

#: Begins the names of what a case has from before the operation.
PREOPERATIVE = "preoperative_"

# Signal (relative to CSF in T2w) that maps to +1 in the networks' range; 0 maps to -1.
_FULL_SCALE = 1.1


@dataclass(frozen=True, eq=False)
class Case:
    """One case on a common oblique grid: simulated, or prepared of a patient's images.

    Attributes
    ----------
    images
        "ioUS" (uint8 range 0 to 255; a patient's in its own units), "T2w" and "FLAIR" (signal relative to CSF in T2w,
        times 1000; a patient's normalised, in the same range), of which a patient may lack one. Some have "ceT1", of
        its own scale where it is simulated. A simulated one may have MRI from before the operation, too, stored as
        these are and named with ``PREOPERATIVE`` first, and its tissues (:class:`..simulation.tissues.Tissue`), both
        where the ultrasound's tissue lies. Where MRI is made of MRI, another contrast, stored as these are, in the
        place of "ioUS".
    labels
        0 background, 1 tumour, 2 resection cavity; ``UNLABELLED`` where they are not known.
    fan
        1 where a frame covers the voxel; without ultrasound, in the brain.
    parameters
        Everything that was drawn, with the seed and the head's name, and ``targets`` where ceT1 is one, and
        ``preoperative``, the contrasts from before the operation; of a patient,
        what was done, which targets there are and, where it is not "ioUS", the input.
    """

    images: dict[str, Volume]
    labels: Volume
    fan: Volume
    parameters: dict

    @property
    def input(self) -> str:
        """The image that networks read: "ioUS", or a contrast of MRI."""
        return self.parameters.get("input", "ioUS")


def to_network_range(signal: np.ndarray) -> np.ndarray:
    """MR signal relative to CSF in T2w as the networks see it, in [-1, 1]."""
    return (signal * (2 / _FULL_SCALE) - 1).clip(-1, 1)


def from_network_range(image: np.ndarray) -> np.ndarray:
    """The signal that :func:`to_network_range` maps to ``image`` in [-1, 1]."""
    return (image + 1) * (_FULL_SCALE / 2)


def preoperative_mri(case: Case, contrasts: Sequence[str]) -> dict[str, Volume]:
    """MRI from before the operation, float32, by contrast; without what the case lacks."""
    images = {name: case.images.get(f"{PREOPERATIVE}{name}") for name in contrasts}
    return {name: image.with_array(image.array.astype(np.float32)) for name, image in images.items() if image}


def target_image(case: Case, name: str) -> np.ndarray:
    """The true MRI ``name`` of a case as the networks see it, float32 (z, y, x) in [-1, 1]."""
    return to_network_range(case.images[name].array.astype(np.float32) / 1000)


def input_image(case: Case) -> np.ndarray:
    """The input of a case as the networks see it, float32 (z, y, x) in [-1, 1]: ultrasound by eq. 1, MRI by eq. 2."""
    return normalize_ultrasound(case.images["ioUS"].array) if case.input == "ioUS" else target_image(case, case.input)


def case_grid(case: Case) -> NetworkGrid:
    """The grid of a case, with its ultrasound, or what stands in its place, as the pipeline makes one of an input."""
    seen, fan = case.images[case.input], case.fan.array > 0
    image, box = seen.with_array(input_image(case)), bounding_box(np.ones_like(fan))
    if case.input != "ioUS":
        return NetworkGrid(image, fan, box, "patient", None)
    return NetworkGrid(image, fan, box, "ultrasound", ultrasound_statistics(seen.array))


def write_case(case: Case, folder: Path) -> None:
    """Write the case as MetaImages and, last, :data:`PARAMETERS`."""
    folder.mkdir(parents=True, exist_ok=True)
    simulated = case.parameters.get("simulated", True)
    header = {"Synthetic": "true", "Modality": "simulated"} if simulated else {"Synthetic": "false"}
    for name, volume in {**case.images, "labels": case.labels, "fan": case.fan}.items():
        write_volume(folder / f"{name}.mha", volume, header)
    (folder / PARAMETERS).write_text(json.dumps(case.parameters, indent=1), encoding="utf-8")


def read_case(folder: Path) -> Case:
    """Read back what :func:`write_case` wrote."""
    parameters = read_parameters(folder)
    names = (parameters.get("input", "ioUS"), *parameters.get("targets", TARGETS))
    earlier = [*parameters["preoperative"], "tissues"] if "preoperative" in parameters else []
    names += tuple(f"{PREOPERATIVE}{name}" for name in earlier)
    images = {name: read_volume(folder / f"{name}.mha") for name in names}
    return Case(images, read_volume(folder / "labels.mha"), read_volume(folder / "fan.mha"), parameters)


def read_parameters(folder: Path) -> dict:
    """What was drawn for a case.

    Raises
    ------
    InputError
        The folder holds no complete case.
    """
    if not is_complete(folder):
        raise InputError(f"{folder}: no {PARAMETERS}; make a cohort with `iousynth simulate -n 32 -o {folder.parent}`")
    return json.loads((folder / PARAMETERS).read_text(encoding="utf-8"))


def is_complete(folder: Path) -> bool:
    """Tell whether a folder holds a whole case."""
    return (folder / PARAMETERS).is_file()
