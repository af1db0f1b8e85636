"""What the latent variables of a variational autoencoder hold: images between two, of none, and how far they spread.

    python -m IoUSynthLib.experiments latent RUN -o DIR [--data COHORT] [--reduced]

The T1-to-T2 study names these as what its autoencoder offers beyond scores (section 4.2.3). ``latent.png`` shows, of
middle slices of a cohort's test cases, the path from one to another in equal steps; images of latent variables drawn
from the normal distribution, which are of no patient; and, of up to three cases, input, synthetic and true MRI, and the
standard deviation over 32 draws. ``latent.json`` has, of all test slices, how many latent variables carry anything, the
mean spread, its rank correlation with the true error, and the divergence, by which the study would tell an anomaly, of
slices with and without an outlined tumour.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from ..cases.case import Case, input_image, read_case, target_image
from ..cases.index import read_index
from ..constants import OUTSIDE
from ..generators import get_family
from ..generators.vae import Autoencoder
from ..outputs.drawing import Panel, Text, grey, grid, heat, masked, save
from ..training.losses import divergences
from ..training.presets import find_preset
from ..training.run import for_cohort
from ..training.run_folder import RUN, FinishedRun
from ..volume import InputError

#: Images along a path, and images drawn; cases in the picture.
_COUNT, _PICTURED = 6, 3
#: A latent variable carries something whose mean divergence from the normal distribution is above this (nats).
_CARRIES = 0.01
#: Spread that is drawn white, in units of the networks' range.
_FULL_SPREAD = 0.3
#: Voxels of a slice that are compared.
_SOME = 2000
_SEED = 0


def explore(finished: FinishedRun, cohort: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Measure and draw what the latent variables hold.

    Parameters
    ----------
    finished
        A run of a variational autoencoder.
    cohort
        Whose test cases are shown; the one that it learned from, or one prepared alike.

    Returns
    -------
    tuple of dict and numpy.ndarray
        The figures, and the picture, (rows, columns, 3) uint8.

    Raises
    ------
    InputError
        The run is of another family, or the cohort has fewer than two test cases.
    """
    stage = finished.preset.last
    network = finished.network(stage)
    if not isinstance(network, Autoencoder):
        raise InputError(f"{finished.folder}: is a run of {finished.preset.name}; give one of a vae preset")
    folders = read_index(cohort, "test")
    if len(folders) < 2:
        raise InputError(f"{cohort}: has fewer than two cases for testing; prepare or simulate more")
    window, name = finished.window(stage)[0], stage.targets[0]
    cases = [read_case(folder) for folder in folders]
    slices = [_middle(case, name, window) for case in cases]
    return _figures(network, cases, name, window=window), _picture(network, slices, (stage.inputs[0], name))


def _windowed(volume: np.ndarray, window: int, blank: float) -> np.ndarray:
    """Slices (z, y, x) in the window that they were learned in, blank behind them, (z, window, window)."""
    volume = volume[:, :window, :window]
    behind = [(0, 0), *((0, window - length) for length in volume.shape[1:])]
    return np.pad(volume, behind, constant_values=blank)


def _images(case: Case, name: str, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Input, target and fan of the slices of a case."""
    seen, true = (_windowed(image, window, OUTSIDE) for image in (input_image(case), target_image(case, name)))
    return seen, true, _windowed(case.fan.array > 0, window, False)


def _middle(case: Case, name: str, window: int) -> tuple[np.ndarray, ...]:
    images = _images(case, name, window)
    place = int(np.median(np.argwhere(images[2])[:, 0]))
    return tuple(image[place] for image in images)


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.astype(np.float32))[None, None]


# Figures --------------------------------------------------------------------------------------------------------------


def _figures(network: Autoencoder, cases: Sequence[Case], name: str, *, window: int) -> dict[str, Any]:
    rows = [row for case in cases for row in _slices(network, case, name, window=window)]
    per_variable = np.mean([row["divergence"] for row in rows], axis=0)
    kinds = {"with tumour": [], "without tumour": []}
    for row in rows:
        if row["tumour"] is not None:
            kinds["with tumour" if row["tumour"] else "without tumour"].append(float(row["divergence"].sum()))
    return {
        "cases": len(cases),
        "slices": len(rows),
        "latent variables": len(per_variable),
        "of these carry something": int((per_variable > _CARRIES).sum()),
        "mean spread": float(np.mean([row["spread"].mean() for row in rows])),
        "rank correlation of spread and error": float(np.nanmean([row["correlation"] for row in rows])),
        "divergence": {kind: float(np.mean(values)) for kind, values in kinds.items() if values},
    }


@torch.no_grad()
def _slices(network: Autoencoder, case: Case, name: str, *, window: int) -> Iterator[dict[str, Any]]:
    """What is measured of each slice of a case that shows enough of it."""
    generator = torch.Generator().manual_seed(_SEED)
    labels = _windowed(case.labels.array, window, 0)
    for seen, true, fan, outlined in zip(*_images(case, name, window), labels, strict=True):
        if fan.sum() < _SOME:
            continue
        image = _tensor(seen)
        mean, log_variance = network.encode(image)
        spread = network.spread(image, generator=generator)[0, 0].numpy()[fan]
        error = np.abs(network(image)[0, 0].numpy() - true)[fan]
        step = max(1, len(error) // _SOME)
        yield {
            "divergence": divergences(mean, log_variance)[0].numpy(),
            "spread": spread,
            "correlation": stats.spearmanr(spread[::step], error[::step]).statistic,
            "tumour": bool((outlined == 1).any()) if case.parameters.get("labelled") else None,
        }


# Picture --------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def _picture(
    network: Autoencoder, slices: Sequence[tuple[np.ndarray, ...]], names: tuple[str, str]
) -> np.ndarray:
    source, target = names
    generator = torch.Generator().manual_seed(_SEED)
    first, second = (_tensor(seen) for seen, _, _ in slices[:2])
    shares = [f"{100 * number // (_COUNT - 1)} % of the way" for number in range(_COUNT)]  # from one to the other
    shares[0], shares[-1] = f"synthetic {target} of one patient", "and of another"
    rows = [
        [Panel(_shaded(image[0].numpy()), [Text(words)])
         for image, words in zip(network.interpolated(first, second, _COUNT), shares, strict=True)],
        [Panel(_shaded(image[0].numpy()), [Text(f"drawn {number}: of no patient")])
         for number, image in enumerate(network.drawn(_COUNT, generator), 1)],
    ]  # fmt: skip
    for seen, true, fan in slices[:_PICTURED]:
        image = _tensor(seen)
        made, spread = network(image)[0, 0].numpy(), network.spread(image, generator=generator)[0, 0].numpy()
        shown = (
            (f"{source}, acquired", _shaded(seen)), (f"{target}, synthetic", _shaded(made)),
            (f"{target}, acquired", _shaded(true)), ("spread of 32 draws", heat(spread / _FULL_SPREAD)),
            ("true error", heat(np.abs(made - true) / (2 * _FULL_SPREAD))),
        )  # fmt: skip
        rows.append([Panel(masked(panel, fan), [Text(words)]) for words, panel in shown])
    return grid(rows)


def _shaded(image: np.ndarray) -> np.ndarray:
    return grey(image, -1.0, 1.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run of a vae preset")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, metavar="COHORT", help="default: what the run learned from, where it lay")
    parser.add_argument("--reduced", action="store_true", help="the run is one of the experiment families")


def run(options: argparse.Namespace) -> int:
    """Write figures and picture, and print the figures."""
    finished = _read(options.run, options.data, reduced=options.reduced)
    figures, picture = explore(finished, options.data or finished.cohort)
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(figures, indent=1) + "\n"
    (options.output / "latent.json").write_text(text, encoding="utf-8")
    save(picture, options.output / "latent.png")
    print(text, end="")
    return 0


def _read(folder: Path, cohort: Path | None, *, reduced: bool) -> FinishedRun:
    if not reduced:
        return FinishedRun.read(folder)
    try:
        record = json.loads((folder / RUN).read_text(encoding="utf-8"))
        preset = find_preset(record["preset"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: is no run of a preset ({error}); give one of the experiment families") from error
    traits = get_family(preset.last.family)
    preset = preset.resized(traits.reduced, slices=traits.reduced_window, patch=traits.reduced_window)
    return FinishedRun.read(folder, for_cohort(preset, cohort or Path(record["cohort_folder"])))
