"""Registration from the given start and from random ones, by three measures, scored at the landmarks.

Starts and score are those of ``iousynth curious`` (:mod:`IoUSynthLib.registration.displacements`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...pipeline import SynthesisResult
from ...registration import register, target_registration_errors
from ...registration.displacements import random_start
from ...registration.level import Pair
from ...registration.rigid import to_sitk
from ...registration.search import Search
from ...registration.workflow import RIM_MM, eroded, synthetic_pairs, ultrasound_pair
from ...volume import InputError, Volume
from .patients import Patient

#: What decides where the MRI lies; the first needs no model.
ULTRASOUND, SYNTHETIC, BOTH = "LC2 of the ultrasound alone", "synthetic MRI alone", "both: register"
METHODS = (ULTRASOUND, SYNTHETIC, BOTH)


def starts(patient: Patient, count: int, seed: int) -> list[np.ndarray]:
    """4x4 matrices, ultrasound to MRI: that of the images' own places, and ``count`` random ones."""
    rng, middle = np.random.default_rng(seed), patient.landmarks[1].mean(axis=0)
    return [np.eye(4), *(random_start(middle, rng) for _ in range(count))]


def registered(patient: Patient, method: str, start: np.ndarray, *, result: SynthesisResult | None) -> dict[str, Any]:
    """Register a patient's MRI from a start.

    Parameters
    ----------
    patient
        With MRI and landmarks.
    method
        One of :data:`METHODS`.
    start
        4x4 matrix.
    result
        The synthesis; ``ULTRASOUND`` needs none.

    Returns
    -------
    dict
        ``before_mm`` and ``after_mm``, the mean distance of the landmarks; ``seconds``; of ``BOTH`` the ``verdict``.
        Where the method refuses, ``refused`` says why and the MRI stays at the start.
    """
    began = time.perf_counter()
    found: dict[str, Any] = {}
    try:
        matrix, found["verdict"] = _register(patient, method, start, result=result)
    except InputError as error:
        matrix, found["refused"] = start, str(error)
    before, after = (target_registration_errors(to_sitk(m), *patient.landmarks).mean() for m in (start, matrix))
    found |= {"before_mm": float(before), "after_mm": float(after), "seconds": time.perf_counter() - began}
    return {name: value for name, value in found.items() if value is not None}


def _register(
    patient: Patient, method: str, start: np.ndarray, *, result: SynthesisResult | None
) -> tuple[np.ndarray, str | None]:
    if method == BOTH:
        found = register(patient.mri, patient.ultrasound, result.images, fan=patient.fan, initial=start)
        return found.matrix, found.consistency.name
    pairs = _pairs(method, patient.mri, patient.ultrasound, result=result)
    return Search(pairs, eroded(patient.fan, RIM_MM), start).run().matrix, None


def _pairs(
    method: str, mri: Mapping[str, Volume], ultrasound: Volume, *, result: SynthesisResult | None
) -> list[Pair]:
    return [ultrasound_pair(mri, ultrasound)] if method == ULTRASOUND else synthetic_pairs(mri, result.images)
