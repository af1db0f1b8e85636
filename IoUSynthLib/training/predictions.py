"""Synthetic MRI of a cohort: what segmenters learn from, as they will see it later, and what refiners correct."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..cases.case import Case, case_grid, read_case
from ..models.bundle import Bundle
from ..preprocessing import bounding_box
from ..synthesis.generate import Network, generate
from ..synthesis.preoperative import Preoperative, on_grid
from ..volume import InputError
from .preoperative import drawn_mri

#: In a folder of predictions: which generator made them.
_MAKER = "generator.json"


class NetworkSession:
    """A network in torch, to be run as ONNX Runtime's sessions are: for GPUs that ONNX Runtime was not built for."""

    def __init__(self, network: torch.nn.Module, device: torch.device | str) -> None:
        self.device = torch.device(device).type
        self._network = network.to(device).eval()

    @torch.no_grad()
    def run(self, batch: np.ndarray) -> np.ndarray:
        """Run the network on a float32 batch (B, C, ...) and return its prediction (B, outputs, ...)."""
        return self._network(torch.from_numpy(batch).to(self.device)).cpu().numpy()


def predict_cohort(
    folders: Sequence[Path],
    generator: Bundle,
    output: Path,
    *,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
    session: Network | None = None,
) -> None:
    """Write ``<case>_T2w.npy`` and the like (float16 in [-1, 1]) of every case; files that are there stay.

    A generator that reads MRI from before the operation, too, is given that of the cases that have any, as registration
    and brain shift leave it or not at all (:func:`.preoperative.drawn_mri`), for every case the same each time.

    Parameters
    ----------
    folders
        Folders of simulated cases on the generator's voxel size.
    generator
        The bundle to run; each of its images is written.
    output
        Folder to write to.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Called with the number of cases that are ready and the number of all.
    session
        The generator's network, if it is not to be opened by ONNX Runtime.

    Raises
    ------
    InputError
        Another generator has made what is in the folder.
    """
    output.mkdir(parents=True, exist_ok=True)
    _sign(output, generator)
    for number, folder in enumerate(folders, start=1):
        if not (output / f"{folder.name}_{generator.images[-1]}.npy").exists():
            case = read_case(folder)
            mri = drawn_mri(case, generator.optional, np.random.default_rng(list(folder.name.encode())))
            images = predict_case(generator, case, preoperative=mri, device=device, session=session)
            for name, image in images.items():
                np.save(output / f"{folder.name}_{name}.npy", image.astype(np.float16))
        if progress:
            progress(number, len(folders))


def _sign(output: Path, generator: Bundle) -> None:
    """Say in a folder of predictions whose they are."""
    maker, file = {"name": generator.name, "sha256": generator.sha256}, output / _MAKER
    if not file.is_file():
        file.write_text(json.dumps(maker), encoding="utf-8")
    known = json.loads(file.read_text(encoding="utf-8"))
    if known != maker:
        raise InputError(f"{output}: holds images of another model, {known['name']}; choose another folder")


def maker_of(predictions: Path) -> str | None:
    """Name of the generator that made a folder of predictions, if it was :func:`predict_cohort`."""
    file = predictions / _MAKER
    return json.loads(file.read_text(encoding="utf-8"))["name"] if file.is_file() else None


def predict_case(
    generator: Bundle,
    case: Case,
    *,
    preoperative: Preoperative | None = None,
    device: str = "auto",
    session: Network | None = None,
) -> dict[str, np.ndarray]:
    """Run a generator, and its refiner if it has one, on a case as the pipeline does on a sweep: cropped to the fan.

    Parameters
    ----------
    generator
        The bundle; the case has its voxel size.
    case
        Of which the ultrasound and the fan are seen.
    preoperative
        MRI that the generator reads, too.
    device
        ``auto``, ``cpu`` or ``cuda``.
    session
        The generator's network, if it is not to be opened by ONNX Runtime; a refiner is opened anyhow.

    Returns
    -------
    dict
        (z, y, x) in [-1, 1] by contrast, 0 outside the fan.
    """
    seen = case_grid(case)
    seen = replace(seen, box=bounding_box(seen.valid, margin=1))
    mri = on_grid(preoperative, seen)[0] if preoperative else {}
    return generate(generator, seen, preoperative=mri, device=device, session=session).images
