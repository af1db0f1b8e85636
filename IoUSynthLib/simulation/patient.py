"""Heads from real, skull-stripped, co-registered T1, T2 and FLAIR MRI, whose own texture and contrast are used.

Labels alone carry no texture of the anatomy. Here the tissue classes only decide the acoustic properties: the targets
are the patient's own T2w and FLAIR, and what the T2w adds to the mean of its tissue modulates the scatterers.
Such folders come from TCGA-LGG (Pedano et al. 2016, with an automatic tumour segmentation), from open_ms_data (Lesjak
et al. 2018) and from BraTS 2021 (Baid et al. 2021, with a manual segmentation).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..constants import TARGETS
from ..files.headers import examine
from .anatomy import SPACING, Head, brain_box, refine, to_spacing
from .tissues import PROPERTIES, Tissue

FILES = {"T1": "t1.nii.gz", "T2w": "t2.nii.gz", "FLAIR": "flair.nii.gz"}
#: Segmentations of the tumour: an automatic one, or the manual one of the BraTS challenges.
TUMOUR_FILE, MANUAL_FILE = "tumour_auto.nii.gz", "seg.nii.gz"
#: Labels of the challenges: core without contrast, oedema, contrast (3 in some of the releases).
TUMOUR_LABELS = {1: Tissue.LOW_GRADE_TUMOUR, 2: Tissue.OEDEMA, 3: Tissue.HIGH_GRADE_TUMOUR, 4: Tissue.HIGH_GRADE_TUMOUR}
#: FLAIR of necrosis, as a fraction of that of the contrast-enhancing rim round it.
_NECROSIS_IN_FLAIR = 0.75
_BIAS_SCALE = 30.0
_REFINEMENTS = 2
#: Grey matter is more than half of an adult's brain tissue (0.54 to 0.57, Good et al. 2001, NeuroImage 14:21); thin
#: cortex is lost to partial volume where a threshold alone decides.
_GREY_SHARE = 0.5
_DEEP = 20.0


def is_patient(folder: Path) -> bool:
    """Tell whether the folder holds the three contrasts."""
    return all((folder / name).is_file() for name in FILES.values())


def read_patient(folder: Path) -> Head:
    """Head of a folder with ``t1.nii.gz``, ``t2.nii.gz`` and ``flair.nii.gz``, and a segmentation if there.

    Returns
    -------
    Head
        With ``signals``: T2w and FLAIR relative to CSF in T2w, fixed by white matter and fluid, so that neither
        depends on a lesion.

    Raises
    ------
    ValueError
        A contrast is missing, or the images are not on one grid.
    """
    if not is_patient(folder):
        raise ValueError(f"{folder}: needs {', '.join(FILES.values())}")
    images = {name: _read(folder / file, sitk.sitkLinear) for name, file in FILES.items()}
    if len({image.shape for image in images.values()}) > 1:
        raise ValueError(f"{folder}: T1, T2 and FLAIR are not on one grid; resample them to one of them")
    lesion = _read_tumour(folder, images["FLAIR"])
    tissues = _classify(images, lesion > 0)
    tissues[lesion > 0] = lesion[lesion > 0]
    box, margin = brain_box(tissues)
    signals = {
        name: np.pad(_rescaled(images[name], tissues, name)[box], margin).astype(np.float16) for name in TARGETS
    }
    return Head(folder.name, refine(np.pad(tissues[box], margin)), signals=signals)


def _read_tumour(folder: Path, flair: np.ndarray) -> np.ndarray:
    """Tissue of the tumour, 0 elsewhere.

    What takes up no contrast in a tumour that does is necrosis, if by hand, where its fluid is dark in FLAIR.
    """
    shape = flair.shape
    manual = (folder / MANUAL_FILE).is_file()
    path = folder / (MANUAL_FILE if manual else TUMOUR_FILE)
    if not path.is_file():
        return np.zeros(shape, np.uint8)
    labels = np.round(_read(path, sitk.sitkNearestNeighbor)).astype(np.uint8)
    result = np.zeros(shape, np.uint8)
    for label, tissue in TUMOUR_LABELS.items():
        result[labels == label] = tissue
    if manual and (result == Tissue.HIGH_GRADE_TUMOUR).any():
        dark = flair < _NECROSIS_IN_FLAIR * np.median(flair[result == Tissue.HIGH_GRADE_TUMOUR])
        result[(result == Tissue.LOW_GRADE_TUMOUR) & dark] = Tissue.NECROSIS
    return result


def _read(path: Path, interpolator: int) -> np.ndarray:
    examine(path)
    image = sitk.DICOMOrient(sitk.ReadImage(str(path), sitk.sitkFloat32), "LPS")
    return sitk.GetArrayFromImage(to_spacing(image, interpolator))


def _classify(images: dict[str, np.ndarray], lesion: np.ndarray) -> np.ndarray:
    """White matter, grey matter and fluid by thresholds (Otsu 1979) on bias-corrected contrasts."""
    brain = ndimage.binary_fill_holes(ndimage.binary_opening(images["T2w"] > 0.05 * images["T2w"].max()))
    t1, t2, flair = (_even(images[name], brain) for name in ("T1", "T2w", "FLAIR"))
    healthy = brain & ~lesion
    fluid = brain & (t2 - flair > _otsu((t2 - flair)[healthy]))
    solid = healthy & ~fluid
    white = solid & (t1 > _otsu(t1[solid]))
    for _ in range(_REFINEMENTS):
        # The mean of all tissue is low where there is much cortex: even out by white matter alone.
        t1, t2 = (_even(images[name], white & ndimage.binary_erosion(solid), brain) for name in ("T1", "T2w"))
        contrast = t1 - t2
        white = solid & (contrast > max(_otsu(contrast[solid]), np.quantile(contrast[solid], _GREY_SHARE)))
    tissues = np.zeros(brain.shape, np.uint8)
    depth = ndimage.distance_transform_edt(brain, sampling=SPACING)
    tissues[brain] = np.where(depth[brain] > _DEEP, Tissue.DEEP_GREY, Tissue.CORTEX)
    tissues[white] = Tissue.WHITE_MATTER
    tissues[fluid & ~lesion] = Tissue.VENTRICLE
    return tissues


def _even(image: np.ndarray, known: np.ndarray, brain: np.ndarray | None = None) -> np.ndarray:
    """The image divided by its local mean where ``known``, which takes out a smooth bias field; 0 outside the brain."""
    brain = known if brain is None else brain
    coarse = [ndimage.zoom(array.astype(np.float32), 0.25, order=1) for array in (image * known, known)]
    mean, share = (ndimage.gaussian_filter(array, _BIAS_SCALE / SPACING / 4) for array in coarse)
    field = ndimage.zoom(mean / np.maximum(share, 1e-3), np.divide(image.shape, mean.shape), order=1)
    return np.where(brain, image / np.maximum(field, 1e-6), 0)


def _otsu(values: np.ndarray) -> float:
    image = sitk.GetImageFromArray(np.clip(values, *np.percentile(values, (0.5, 99.5)))[None, ::5])
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetNumberOfHistogramBins(256)
    otsu.Execute(image)
    return otsu.GetThreshold()


def _rescaled(image: np.ndarray, tissues: np.ndarray, target: str) -> np.ndarray:
    """Signal relative to CSF in T2w, from the medians of white matter and of fluid away from its border."""
    attribute = target.lower()
    white = np.median(image[tissues == Tissue.WHITE_MATTER])
    fluid = np.median(image[ndimage.binary_erosion(tissues == Tissue.VENTRICLE, iterations=2)])
    low, high = (getattr(PROPERTIES[tissue], attribute) for tissue in (Tissue.WHITE_MATTER, Tissue.VENTRICLE))
    signal = low + (image - white) * (high - low) / (fluid - white)
    return np.where(tissues > 0, np.clip(signal, 0, 1.3), 0)
