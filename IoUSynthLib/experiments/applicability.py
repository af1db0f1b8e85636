"""What synthetic MRI is good for, as 3D-mDAUNet's paper measures it (Ha et al., section 4.1), of any generator.

    python -m IoUSynthLib.experiments applicability --data DIR --models NAME|PATH... -o DIR [--steps N]

I. A segmenter learns from a generator's synthetic MRI alone and outlines acquired MRI: its Dice with what was outlined
by hand, beside that of a segmenter that has learned from acquired MRI, the upper bound.

II. One segmenter, by default that of the bound, is left as it is and outlines acquired and synthetic MRI of a case:
Dice of these two outlines, for which nobody need have outlined anything.

The cohort is simulated, prepared of patients, or of pairs of MRI, with outlines. All segmenters see the same cases for
as many steps; they are a third as wide as the one that ships unless ``--published`` asks for its widths. Written are
``applicability.md`` and ``applicability.json``; what is finished is kept when the command is repeated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import Case, case_grid, read_case, target_image
from ..cases.index import describe_index, read_index
from ..commands import positive
from ..evaluation.fidelity import dice
from ..evaluation.outlining import labels_on
from ..evaluation.scores import Row, Summary, overlap_scores, summarize
from ..evaluation.surface import structure_masks
from ..evaluation.tables import cell
from ..models.bundle import Bundle, load
from ..outputs.markdown import markdown_table
from ..synthesis.segmentation import decide, outline
from ..training.predictions import predict_cohort
from ..training.preset import Preset
from ..training.presets import PRESETS
from ..training.release import export_run
from ..training.run import train
from ..volume import InputError
from .reporting import Report, say

#: What the upper bound is called.
ACQUIRED = "acquired MRI"
STRUCTURES = ("tumour", "cavity", "lesion")
_PRESET = "lesion-3d-true-mri"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is measured.

    Attributes
    ----------
    cohort
        Folder of a cohort whose cases are outlined.
    output
        Folder of all that is made.
    generators
        Models that make MRI of the cohort's input.
    segmenter
        The one of II that is left as it is; that of the bound without it.
    steps
        Of each segmenter's training.
    published
        Whether segmenters are as wide as the one that ships.
    device
        "cpu" or "cuda".
    report
        Receives lines about the progress.
    """

    cohort: Path
    output: Path
    generators: Sequence[Bundle]
    segmenter: Bundle | None = None
    steps: int = 300
    published: bool = False
    device: str = "cpu"
    report: Report = say

    def preset(self, images: Sequence[str]) -> Preset:
        """The segmenter of these contrasts, which reads no ultrasound."""
        stage = PRESETS[_PRESET].last
        size = stage.size if self.published else {"features": tuple(n // 3 for n in stage.size["features"])}
        stage = replace(stage, images=tuple(images), size=size)
        return Preset(_PRESET, (stage,)).shortened(self.steps)

    def learned(self, images: Sequence[str], generator: Bundle | None = None) -> Bundle:
        """A segmenter that has learned from a generator's images, or from acquired ones."""
        name = generator.name if generator else "acquired"
        folder = self.output / "-".join([name, *map(str.lower, images)])
        preset = self.preset(images)
        train(
            preset, self.cohort, folder / "run", predictions=self.made(generator) if generator else None,
            device=self.device, report=lambda line: self.report(f"segmenter of {name}: {line}"),
        )
        if not (folder / "bundle").exists():
            export_run(folder / "run", folder / "bundle", preset=preset)
        return load(folder / "bundle")

    def made(self, generator: Bundle) -> Path:
        """Folder of a generator's images of all cases."""
        folders = [folder for split in ("train", "validation", "test") for folder in read_index(self.cohort, split)]
        predictions = self.output / "predictions" / generator.name
        predict_cohort(
            folders, generator, predictions, device=self.device,
            progress=lambda done, of: self.report(f"{generator.name}: {done} of {of} cases"),
        )
        return predictions


def measure(study: Study) -> str:
    """Measure both, write what was found, and return the tables.

    Raises
    ------
    InputError
        Two generators have one name, one makes no contrast of the cohort, or nobody has outlined a case.
    """
    names = [generator.name for generator in study.generators]
    if len({*names, ACQUIRED}) <= len(names):
        raise InputError(f"two models are called the same, of {', '.join(names)}; rename a folder")
    tested = read_index(study.cohort, "test")
    if not tested:
        raise InputError(f"{study.cohort}: has no cases for testing; prepare or simulate more")
    rows: list[Row] = [{"case": folder.name} for folder in tested]
    for generator in study.generators:
        images = generator.images
        bound, own = study.learned(images), study.learned(images, generator)
        frozen, made = study.segmenter or bound, study.made(generator)
        for row, folder in zip(rows, tested, strict=True):
            case = read_case(folder)
            true = {name: target_image(case, name) for name in images}
            synthetic = {name: np.load(made / f"{folder.name}_{name}.npy").astype(np.float32) for name in images}
            outlined = {_bound(images): _outlined(bound, case, true), generator.name: _outlined(own, case, true)}
            row |= overlap_scores(case, outlined)
            row |= _agreement(generator.name, _outlined(frozen, case, true), _outlined(frozen, case, synthetic))
    summary = summarize(rows)
    simulated = bool(describe_index(study.cohort).get("simulated", True))
    text = _text(study, summary, simulated=simulated)
    content = {"simulated": simulated, "steps": study.steps, "cases": rows, "summary": summary}
    (study.output / "applicability.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (study.output / "applicability.md").write_text(text, encoding="utf-8")
    return text


def _bound(images: Sequence[str]) -> str:
    return f"{ACQUIRED}, {' and '.join(images)}"


def _outlined(segmenter: Bundle, case: Case, images: Mapping[str, np.ndarray]) -> np.ndarray:
    """Labels on the case's grid."""
    grid, probabilities = outline(segmenter, case_grid(case), dict(images))
    return labels_on(case, grid, decide(segmenter, grid, probabilities, before_resection=False).probabilities)


def _agreement(name: str, real: np.ndarray, synthetic: np.ndarray) -> dict[str, float]:
    """Dice of the outlines on acquired and on synthetic MRI; NaN where neither has any."""
    first, second = structure_masks(real), structure_masks(synthetic)
    return {f"agreement/{name}/{structure}": dice(second[structure], first[structure]) for structure in STRUCTURES}


def _text(study: Study, summary: Summary, *, simulated: bool) -> str:
    whom = "Simulated cases" if simulated else "Real patients"
    bounds = dict.fromkeys(_bound(generator.images) for generator in study.generators)
    names = [generator.name for generator in study.generators]
    lines = [
        f"{whom} that no segmenter has learned from; each has learned for {study.steps} steps. Mean and 95 % interval "
        "of Dice.",
        "", "I. Learned from synthetic MRI, tested on acquired MRI, beside the bound:", "",
        _table("learned from", summary, "Dice", [*bounds, *names]),
        "", "II. Outlined by one segmenter on acquired and on synthetic MRI:", "",
        _table("synthetic MRI by", summary, "agreement", names),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _table(heading: str, summary: Summary, score: str, names: Sequence[str]) -> str:
    return markdown_table(
        [heading, *STRUCTURES],
        [[name, *(cell(summary, f"{score}/{name}/{structure}", 3) for structure in STRUCTURES)] for name in names],
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of a cohort with outlines")
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME|PATH", help="generators")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--segmenter", metavar="NAME|PATH", help="the one of II; default: that of the bound")
    parser.add_argument("--steps", type=positive, default=300, metavar="N", help="of each segmenter; default: 300")
    parser.add_argument("--published", action="store_true", help="segmenters as wide as the one that ships")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))


def run(options: argparse.Namespace) -> int:
    """Measure, and print the tables."""
    study: dict[str, Any] = {"segmenter": load(options.segmenter) if options.segmenter else None}
    study |= {"steps": options.steps, "published": options.published, "device": options.device}
    generators = [load(name) for name in options.models]
    print(measure(Study(cohort=options.data, output=options.output, generators=generators, **study)), end="")
    return 0
