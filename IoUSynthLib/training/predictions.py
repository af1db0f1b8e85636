"""Synthetic MRI of a cohort: what segmenters learn from, as they will see it later, and what refiners correct."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from ..cases.case import read_case
from ..inference import Session, open_session, predict
from ..models.bundle import Bundle
from ..preprocessing import bounding_box, normalize_ultrasound


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
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
    session: Session | NetworkSession | None = None,
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
            case = read_case(folder)
            images = predict_images(
                generator, normalize_ultrasound(case.images["ioUS"].array), case.fan.array > 0, device, session
            )
            for name, image in images.items():
                np.save(output / f"{folder.name}_{name}.npy", image.astype(np.float16))
        if progress:
            progress(number, len(folders))


def predict_images(
    generator: Bundle, ultrasound: np.ndarray, fan: np.ndarray, device: str = "auto",
    session: Session | NetworkSession | None = None,
) -> dict[str, np.ndarray]:
    """Run a generator, and its refiner if it has one: (z, y, x) in [-1, 1] by contrast, 0 outside the fan.

    Parameters
    ----------
    generator
        The bundle.
    ultrasound
        (z, y, x) on the bundle's voxel size, in [-1, 1], -1 outside the fan.
    fan
        (z, y, x) bool.
    device
        ``auto``, ``cpu`` or ``cuda``.
    session
        The generator's network, if it is not to be opened by ONNX Runtime; a refiner is opened anyhow.
    """
    box = bounding_box(fan, margin=1)  # as the pipeline crops a sweep
    images = _predict(generator, ultrasound[box], fan[box], device, session)
    whole = {name: np.zeros(fan.shape, np.float32) for name in images}
    for name, image in images.items():
        whole[name][box] = image
    return whole


def _predict(
    generator: Bundle, ultrasound: np.ndarray, fan: np.ndarray, device: str, session: Session | NetworkSession | None
) -> dict[str, np.ndarray]:
    values = predict(session or open_session(generator, device), ultrasound[None], fan, generator)
    named = dict(zip(generator.outputs, values, strict=True))
    images = {name: np.clip(named[name], -1, 1) for name in generator.images}
    refiner = generator.refiner
    if refiner is None:
        return images
    seen = {"ioUS": ultrasound, **images}
    stack = np.stack([np.where(fan, seen[name], np.float32(-1)) for name in refiner.inputs])
    refined = np.clip(predict(open_session(refiner, device), stack, fan, refiner), -1, 1)
    return dict(zip(generator.images, refined, strict=True))
