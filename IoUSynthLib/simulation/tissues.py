"""Tissue classes with the acoustic and magnetic properties that the simulator draws from.

Impedance and attenuation are in MRayl and dB/cm/MHz. Echogenicity is the scatter amplitude relative to a
transducer-independent unit in which white matter is about 0.33. T2w and FLAIR are signal relative to CSF in T2w,
which makes the targets independent of whether a lesion is in view. Typical values are collected from Salehi et al.
2015 (hybrid ultrasound simulation, brain set), Burger et al. 2013 (acoustic tissue tables) and the spin-echo signal
equation at 3 T; the ranges are wide on purpose, because training on widely randomised simulations transfers better
than training on one faithful simulation (Billot et al. 2023, SynthSeg).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Tissue(IntEnum):
    """Label of a voxel in a simulated head."""

    OUTSIDE = 0
    WHITE_MATTER = 1
    CORTEX = 2
    DEEP_GREY = 3
    VENTRICLE = 4
    SULCUS = 5
    FALX = 6
    CHOROID_PLEXUS = 7
    VESSEL = 8
    SKULL = 9
    COUPLING = 10
    LOW_GRADE_TUMOUR = 11
    HIGH_GRADE_TUMOUR = 12
    NECROSIS = 13
    OEDEMA = 14
    CAVITY = 15
    CAVITY_WALL = 16
    BLOOD = 17


@dataclass(frozen=True)
class Properties:
    """Mean properties of a tissue and how far they vary from case to case.

    ``scatter_spread`` is the standard deviation of the logarithm of the echogenicity; ``contrast_spread`` the
    standard deviation of T2w and FLAIR as a fraction of the mean.
    """

    impedance: float
    attenuation: float
    echogenicity: float
    t2w: float
    flair: float
    scatter_spread: float = 0.25
    contrast_spread: float = 0.04


PROPERTIES: dict[Tissue, Properties] = {
    Tissue.OUTSIDE: Properties(1.60, 8.0, 0.10, 0.02, 0.02),
    Tissue.WHITE_MATTER: Properties(1.59, 0.60, 0.33, 0.34, 0.42),
    Tissue.CORTEX: Properties(1.57, 0.50, 0.42, 0.50, 0.54),
    Tissue.DEEP_GREY: Properties(1.58, 0.55, 0.45, 0.44, 0.48),
    Tissue.VENTRICLE: Properties(1.51, 0.01, 0.03, 1.00, 0.10, 0.5),
    Tissue.SULCUS: Properties(1.64, 0.60, 4.00, 0.80, 0.26, 0.3, 0.06),
    Tissue.FALX: Properties(1.72, 0.90, 4.00, 0.28, 0.22, 0.3),
    Tissue.CHOROID_PLEXUS: Properties(1.60, 0.60, 1.20, 0.75, 0.60, 0.3),
    Tissue.VESSEL: Properties(1.61, 0.18, 0.10, 0.15, 0.12, 0.5),
    Tissue.SKULL: Properties(2.60, 8.0, 1.20, 0.05, 0.05, 0.3),
    Tissue.COUPLING: Properties(1.52, 0.02, 0.04, 0.05, 0.05, 0.5),
    Tissue.LOW_GRADE_TUMOUR: Properties(1.58, 0.60, 1.10, 0.76, 0.88, 0.35, 0.06),
    Tissue.HIGH_GRADE_TUMOUR: Properties(1.58, 0.70, 1.20, 0.66, 0.80, 0.4, 0.08),
    Tissue.NECROSIS: Properties(1.53, 0.20, 0.14, 0.95, 0.35, 0.6, 0.10),
    Tissue.OEDEMA: Properties(1.56, 0.50, 0.55, 0.72, 0.95, 0.25, 0.05),
    Tissue.CAVITY: Properties(1.50, 0.002, 0.015, 0.98, 0.14, 0.5, 0.05),
    Tissue.CAVITY_WALL: Properties(1.64, 0.80, 2.20, 0.60, 0.65, 0.3, 0.10),
    Tissue.BLOOD: Properties(1.62, 2.00, 1.20, 0.55, 0.60, 0.4, 0.15),
}

#: Signal of T1w after contrast agent, on a scale of its own. What the agent reaches is bright: high-grade tumour,
#: vessels, dura and choroid plexus, and the wall of a cavity a little; low-grade tumour is not.
CE_T1: dict[Tissue, float] = {
    Tissue.OUTSIDE: 0.02,
    Tissue.WHITE_MATTER: 0.55,
    Tissue.CORTEX: 0.44,
    Tissue.DEEP_GREY: 0.47,
    Tissue.VENTRICLE: 0.15,
    Tissue.SULCUS: 0.24,
    Tissue.FALX: 0.85,
    Tissue.CHOROID_PLEXUS: 0.90,
    Tissue.VESSEL: 1.00,
    Tissue.SKULL: 0.10,
    Tissue.COUPLING: 0.05,
    Tissue.LOW_GRADE_TUMOUR: 0.40,
    Tissue.HIGH_GRADE_TUMOUR: 0.98,
    Tissue.NECROSIS: 0.24,
    Tissue.OEDEMA: 0.40,
    Tissue.CAVITY: 0.16,
    Tissue.CAVITY_WALL: 0.60,
    Tissue.BLOOD: 0.62,
}

PARENCHYMA = (Tissue.WHITE_MATTER, Tissue.CORTEX, Tissue.DEEP_GREY)
TUMOUR = (Tissue.LOW_GRADE_TUMOUR, Tissue.HIGH_GRADE_TUMOUR, Tissue.NECROSIS)
BRAIN = tuple(tissue for tissue in Tissue if tissue not in (Tissue.OUTSIDE, Tissue.SKULL, Tissue.COUPLING))
