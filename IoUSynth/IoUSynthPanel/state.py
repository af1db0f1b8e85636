"""What the panel is doing, and what it says of the stages of a run."""

import enum

from slicer.i18n import tr as _


class State(enum.Enum):
    """What the panel is doing."""

    IDLE = enum.auto()
    RUNNING = enum.auto()
    CANCELLING = enum.auto()
    SHOWING = enum.auto()


def stageText(stage: str) -> str:
    """Return what the panel says of a stage of a run."""
    texts = {
        "starting": _("Starting"),
        "examining": _("Examining packages, models, device and disk"),
        "rehearsing": _("Dry run on the sample case"),
        "reading": _("Reading the file"),
        "checking": _("Checking the input"),
        "preparing": _("Preparing the ultrasound"),
        "synthesizing": _("Synthesizing the MR images"),
        "segmenting": _("Outlining tumour and resection cavity"),
        "searching": _("Searching where the MRI fits"),
        "comparing": _("Comparing two independent answers"),
        "deforming": _("Following the brain's shift"),
        "finishing": _("Finishing"),
        "showing": _("Laying out the views"),
    }
    return texts.get(stage, stage)


def progressText(stage: str, fraction: float, elapsed: float) -> str:
    """Return the stage, and how many seconds are left if that can be told from the seconds that have passed."""
    if fraction <= 0.05 or elapsed <= 0.5:
        return stageText(stage)
    seconds = max(1, round(elapsed * (1 - fraction) / fraction))
    return _("{stage}, about {seconds} s left").format(stage=stageText(stage), seconds=seconds)
