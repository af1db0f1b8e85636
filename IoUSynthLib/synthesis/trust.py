"""Whether a result as a whole can be trusted, and what mutes its images where it cannot."""

from __future__ import annotations

from collections.abc import Mapping

#: Expected errors above this fraction of the intensity range are called high. In the mean over the fan, 9 of 10 of the
#: 200 simulated cases that the shipped generator was tested on stay below it (0.146), and ten real volumes of RESECT
#: lie at 0.10 to 0.12.
HIGH_UNCERTAINTY = 0.15

#: Why images are muted, as a report names it in its entry ``muted``.
UNFAMILIAR, UNCERTAIN = "unfamiliar", "uncertain"


def reasons_to_mute(
    familiarity: Mapping[str, float] | None, mean_uncertainty: float | None, model: str
) -> dict[str, str]:
    """Say why the images of a result are not to be trusted; empty where nothing speaks against them.

    Parameters
    ----------
    familiarity
        What :func:`.familiarity.compare` found, if anything.
    mean_uncertainty
        Mean expected error in the fan as a fraction of the intensity range, where the model predicts it.
    model
        Name of the generator.

    Returns
    -------
    dict
        For each of the reasons a warning with its remedy.
    """
    reasons = {}
    if familiarity is not None and familiarity["distance"] > familiarity["limit"]:
        reasons[UNFAMILIAR] = (
            f"this ultrasound is unlike all that {model} has learned from (distance {familiarity['distance']:.2f}, "
            f"familiar up to {familiarity['limit']:.2f}): its images are muted; trust the ultrasound and the "
            "preoperative MRI instead, or choose another model"
        )
    if mean_uncertainty is not None and mean_uncertainty > HIGH_UNCERTAINTY:
        reasons[UNCERTAIN] = (
            f"{model} expects to be wrong by {mean_uncertainty:.0%} of the intensity range: its images are muted; "
            "trust the ultrasound and the preoperative MRI instead, or sweep again with other gain and depth"
        )
    return reasons
