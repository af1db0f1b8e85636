"""The models that are measured: what they are called in tables, and how they run on a patient."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...constants import TARGETS
from ...models.bundle import METADATA, SEARCH_VARIABLE
from ...pipeline import SynthesisResult, load_models, synthesize
from .patients import Patient


@dataclass(frozen=True)
class Model:
    """A generator, and the segmenter that goes with it.

    Attributes
    ----------
    label
        Name and version of the generator, for tables.
    name
        What the user gave: a name, the folder of a bundle, or None for the one that ships.
    makes_both
        Whether it makes T2w and FLAIR.
    described
        What a report says of all networks that run.
    """

    label: str
    name: str | None
    makes_both: bool
    described: dict[str, Any] = field(hash=False)

    @classmethod
    def of(cls, name: str | None, role: str = "") -> Model:
        """Find a model; ``role`` is added to its label.

        Raises
        ------
        InputError
            There is no such model, or it is no generator that reads ultrasound alone.
        """
        with _beside(name):
            models = load_models(name)
        label = ", ".join([models.generator.title, *([role] if role else [])])
        return cls(label, name, set(TARGETS) <= set(models.generator.images), models.describe())

    @property
    def key(self) -> str:
        """Tells these networks from any others, by their checksums."""
        return hashlib.sha256(json.dumps(self.described, sort_keys=True).encode()).hexdigest()[:12]

    def synthesize(self, patient: Patient, device: str) -> SynthesisResult:
        """Run on a patient's ultrasound."""
        with _beside(self.name):
            return synthesize(patient.ultrasound, self.name, device, before_resection=patient.before_resection)


@contextlib.contextmanager
def _beside(name: str | None) -> Iterator[None]:
    """Let models beside the folder of a given one be found before others of their name: its segmenter, too."""
    before = os.environ.get(SEARCH_VARIABLE)
    if name is not None and (Path(name) / METADATA).is_file() and Path(name).parent != Path():
        parent = str(Path(name).resolve().parent)
        os.environ[SEARCH_VARIABLE] = os.pathsep.join([parent, *([before] if before else [])])
    try:
        yield
    finally:
        os.environ.pop(SEARCH_VARIABLE, None)
        if before is not None:
            os.environ[SEARCH_VARIABLE] = before
