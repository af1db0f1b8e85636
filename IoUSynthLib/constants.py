"""What several rooms must agree on."""

from __future__ import annotations

#: The contrasts that are synthesized, in the order of the networks' channels.
TARGETS = ("T2w", "FLAIR")

#: Voxel edge in mm of the cases that are trained and tested on.
VOXEL_MM = 0.8
