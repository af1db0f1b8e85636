"""Whether an ultrasound was acquired before or after the resection, by what is known of its case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ..files.names import is_before_resection

BEFORE, AFTER, UNKNOWN = "before resection", "after resection", "unknown phase"
_BEFORE = re.compile(r"(?<![a-z])pre(?![ _-]?imri)([ _-]?(op|resection))?(?![a-z])")
#: ReMIND's last sweep, "US_pre_imri", is that before the intraoperative MRI.
_AFTER = re.compile(r"(?<![a-z])(post([ _-]?(op|resection))?|after)(?![a-z])|pre[ _-]?imri")


def phase_of(parameters: Mapping[str, Any], *names: str) -> str:
    """Phase of a case: one of the three.

    Parameters
    ----------
    parameters
        Of the case. Of a simulated one the lesion tells the phase, of a patient's the name of the ultrasound may.
    names
        What else may tell the phase of a patient's case, before the name of the ultrasound: what the index states, and
        the name of the study.

    Examples
    --------
    >>> phase_of({"simulated": False, "source": {"ultrasound": "case24/us_before.nii.gz"}}, "case24")
    'before resection'
    >>> phase_of({"simulated": False}, "ReMIND-003-post")
    'after resection'
    """
    if parameters.get("simulated", True):
        return AFTER if "cavity" in parameters["lesion"]["kind"] else BEFORE
    source = PurePosixPath(parameters.get("source", {}).get("ultrasound", "")).name
    phases = (_phase_in(name.lower()) for name in (*names, source))
    return next((phase for phase in phases if phase != UNKNOWN), UNKNOWN)


def _phase_in(name: str) -> str:
    if is_before_resection(name) or _BEFORE.search(name):
        return BEFORE
    return AFTER if _AFTER.search(name) else UNKNOWN
