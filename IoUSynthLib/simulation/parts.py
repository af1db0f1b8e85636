"""Parts of the simulator that can be taken away, to measure what each of them brings.

A part is taken away after everything was drawn: the case without it has the head, pose, lesion, probe, scatterers and
noise of the whole one of the same seed, and differs in nothing else.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from .probe import BRAIN_ATTENUATION, Probe

#: Names of the parts, and what a case without them lacks.
PARTS = {
    "shadow": "attenuation that differs between tissues, lost contact and uneven beams",
    "sweep": "irregular steps, gaps, drift, unsteadiness and tracking error",
    "real MRI": "the contrast and texture of a patient's MRI; in a cohort, the patients' anatomies",
    "turn": "the grid's rotation against the probe",
}
#: Frames of a regular sweep are never farther than this from a voxel between them, in mm, whatever probe is drawn.
_REGULAR_GAP = 2.0


def check_parts(without: Collection[str]) -> frozenset[str]:
    """The names, once each.

    Raises
    ------
    ValueError
        One is not in :data:`PARTS`.
    """
    unknown = set(without) - set(PARTS)
    if unknown:
        raise ValueError(f"unknown part {sorted(unknown)[0]!r} of the simulator; choose from {', '.join(PARTS)}")
    return frozenset(without)


def simplify(probe: Probe, without: Collection[str]) -> Probe:
    """The probe and its sweep without the parts of them that ``without`` names."""
    if "shadow" in without:
        probe = replace(probe, even_attenuation=BRAIN_ATTENUATION, lost_contact=None, unevenness=0.0)
    if "sweep" in without:
        probe = replace(
            probe, step_irregularity=0.0, drift=(0.0, 0.0), unsteadiness=0.0, tracking_error=0.0,
            longest_gap=max(probe.longest_gap, _REGULAR_GAP),
        )  # fmt: skip
    return probe
