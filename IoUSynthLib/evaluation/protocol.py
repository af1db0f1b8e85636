"""What is chosen of the scoring, without what scoring needs."""

from __future__ import annotations

from dataclasses import dataclass

from ..constants import TARGETS

#: Where images are compared: inside the fan, all else being blanked, or on all of the crop as published.
REGIONS = ("fan", "crop")
#: What becomes of a crop round the lesion outside its region: set to 0 as published, or left, SSIM being that of the
#: region's voxels.
OUTSIDES = ("zero", "masked")

#: The class of nnU-Net that the benchmark trained with, and what nnU-Net runs on.
TRAINER = "nnUNetTrainer_500epochs"
NNUNET_DEVICES = ("cuda", "cpu", "mps")

#: Mean over tumour and cavity, as far as they are there: the benchmark's aggregation within a study (2.7).
PRESENT = "present classes"

#: Contrasts that images are scored in: those that are synthesized here, T1w, and whatever else MRI is.
CONTRASTS = (*TARGETS, "T1w", "MRI")
#: What the figures are of, by whether the cases are simulated; plain files do not say it.
ORIGINS = {True: "simulated data", False: "real patients", None: "files that do not say whether they are of patients"}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How cases are scored.

    Attributes
    ----------
    region
        One of :data:`REGIONS`, see :func:`.fidelity.score`.
    roi
        One of :data:`OUTSIDES`, see :func:`.regions.region_score`: score in and around the lesion, too; None does not.
    as_released
        HD95 and NSD as the benchmark's released code has them, see :mod:`.surface`.
    """

    region: str = "fan"
    roi: str | None = None
    as_released: bool = False
