"""What several rooms must agree on."""

from __future__ import annotations

#: Begins the header of every file, and stands in every picture, that was not acquired.
MARK = "SYNTHETIC - NOT ACQUIRED"
#: Said in every file header, node attribute, picture and report.
NOTICE = f"{MARK}. Predicted from ultrasound by IoUSynth; research use only, never for clinical decisions."

#: The contrasts that are synthesized, in the order of the networks' channels.
TARGETS = ("T2w", "FLAIR")
#: The contrasts of MRI that a case may have. T1w after contrast agent is read and made by unified networks alone.
CONTRASTS = (*TARGETS, "ceT1")

#: Label values of a segmentation, which are the channels of a segmenter, too.
LABELS = {"background": 0, "tumour": 1, "cavity": 2}
#: Colours (red, green, blue) of outlines in pictures.
COLOURS = {"tumour": (255, 214, 0), "cavity": (0, 200, 255)}

#: Contrast that is left of a synthetic image that is not to be trusted as a whole, and opacity of the grey over what
#: was made up because the ultrasound carries no echo there.
MUTED_CONTRAST, VEIL_OPACITY = 0.4, 0.85

#: What networks see where there is no data, in their range [-1, 1].
OUTSIDE = -1.0
#: Voxel edge in mm of the cases that are trained and tested on.
VOXEL_MM = 0.8
#: What samples differ in (:class:`.synthesis.spread.Spread`), as files and nodes call it: their standard deviation, and
#: in how many of them a voxel is tumour.
SPREAD, FREQUENCY = "spread", "frequency"
#: Where networks can run; ``auto`` takes the graphics card if there is one.
DEVICES = ("auto", "cpu", "cuda")

#: Factors of x, y and z between the patient's coordinates of DICOM and ITK (LPS) and those of 3D Slicer (RAS).
RAS_TO_LPS = (-1.0, -1.0, 1.0)
