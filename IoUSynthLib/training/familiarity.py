"""Measure how the ultrasound that a generator has learned from looks to it, so that its bundle can compare inputs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.index import read_index
from ..files.volumes import read_volume
from ..inference import open_session
from ..input_checks import check_ultrasound
from ..models.bundle import FAMILIARITY_FILE, Bundle
from ..synthesis.familiarity import Familiarity, measure_features
from ..synthesis.grid import FieldOfView, network_grid
from ..volume import InputError
from .run_folder import FinishedRun, chosen_checkpoint

#: Cases of each split that are measured at most, spread over all of them; about a second each.
_MOST = {"train": 200, "validation": 50}
#: Fewer do not say how far familiar cases lie apart.
_FEWEST = 8
#: What a run keeps of it.
_FILE = Path(FAMILIARITY_FILE).name


def renew_familiarity(finished: FinishedRun, bundle: Bundle, cohort: Path | None = None) -> None:
    """Measure what is familiar to a run's generator and keep it in the run's folder, unless it is known already.

    Parameters
    ----------
    finished
        The run.
    bundle
        Its bundle.
    cohort
        What it was trained on, where that is not, or no longer, where the run says.

    Raises
    ------
    InputError
        ``cohort`` was given and cannot be measured. What the run itself names is left alone then.
    """
    kept, weights = finished.folder / _FILE, chosen_checkpoint(finished.folder / finished.preset.first.folder)
    if cohort is None and kept.is_file() and kept.stat().st_mtime >= weights.stat().st_mtime:
        return
    kept.unlink(missing_ok=True)
    place = cohort or finished.cohort
    if place is None:
        return
    try:
        content = measure_familiarity(bundle, place)
    except InputError:
        if cohort is not None:
            raise
        return
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()]  # a line for each entry
    kept.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def measure_familiarity(bundle: Bundle, cohort: Path) -> dict[str, Any]:
    """Measure what a bundle's :data:`FAMILIARITY_FILE` says, with the network that the bundle holds.

    Parameters
    ----------
    bundle
        A generator whose network gives the features of its encoder.
    cohort
        What it was trained on. A case whose ultrasound is empty is left out.

    Raises
    ------
    InputError
        The network gives no features, or the cohort has too few cases.
    """
    if not open_session(bundle, "cpu").features:
        raise InputError(f"{bundle.name}: its network tells nothing of its input; export it without a cohort")
    measured = {}
    for split, most in _MOST.items():
        folders = read_index(cohort, split)
        measured[split] = list(_features(bundle, folders[:: max(1, -(-len(folders) // most))]))
    if len(measured["train"]) < _FEWEST:
        raise InputError(
            f"{cohort}: has {len(measured['train'])} cases for training with an image, and inputs cannot be compared "
            f"with fewer than {_FEWEST}; take a larger cohort, or export without one"
        )
    return Familiarity.fit(measured["train"], measured["validation"]).describe()


def _features(bundle: Bundle, folders: Sequence[Path]) -> Iterator[np.ndarray]:
    """Features of the cases' ultrasound, prepared as any input is."""
    session = open_session(bundle, "cpu")
    for folder in folders:
        volume = read_volume(folder / "ioUS.mha")
        if not volume.array.any():
            continue
        features = measure_features(session, network_grid(FieldOfView.of(check_ultrasound(volume)), bundle), bundle)
        if features is not None:
            yield features


def copy_familiarity(folder: Path, bundle: Path) -> None:
    """Put what a run has kept into its bundle, and take out what it has no longer."""
    file = bundle / FAMILIARITY_FILE
    file.unlink(missing_ok=True)
    if (folder / _FILE).is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / _FILE, file)
