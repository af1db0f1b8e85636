"""Synthetic MRI of a cohort: what segmenters learn from, as they will see it later, and what refiners correct."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..cases.case import Case, case_grid, read_case
from ..models.bundle import Bundle
from ..preprocessing import bounding_box
from ..synthesis.generate import Network, generate


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
    """
    output.mkdir(parents=True, exist_ok=True)
    for number, folder in enumerate(folders, start=1):
        if not (output / f"{folder.name}_{generator.images[-1]}.npy").exists():
            images = predict_case(generator, read_case(folder), device=device, session=session)
            for name, image in images.items():
                np.save(output / f"{folder.name}_{name}.npy", image.astype(np.float16))
        if progress:
            progress(number, len(folders))


def predict_case(
    generator: Bundle, case: Case, *, device: str = "auto", session: Network | None = None
) -> dict[str, np.ndarray]:
    """Run a generator, and its refiner if it has one, on a case as the pipeline does on a sweep: cropped to the fan.

    Parameters
    ----------
    generator
        The bundle; the case has its voxel size.
    case
        Of which the ultrasound and the fan are seen.
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
    return generate(generator, seen, device=device, session=session).images
