"""Heads from published label maps, as one array of tissue classes each.

Sources: BrainWeb crisp labels (Aubert-Broche et al. 2006), the SynthSeg training label maps (Billot et al. 2023,
FreeSurfer numbers) and, for everyone, the ICBM 152 tissue probability maps that nilearn brings along. Heads from real
MRI are in :mod:`.patient`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..files.headers import examine
from .sulci import fluid_sheet, fold, signed_distance
from .tissues import BRAIN, Tissue

SPACING = 0.7
SULCUS_OPENING = 1.6
FALX_HALF_WIDTH = 1.0
SKULL_THICKNESS = 4.0

BRAINWEB = {1: Tissue.VENTRICLE, 2: Tissue.CORTEX, 3: Tissue.WHITE_MATTER, 8: Tissue.VESSEL}
SYNTHSEG = {
    **dict.fromkeys((2, 41, 7, 46, 16, 25, 57, 30, 62, 72, 85, 136, 137, 163, 164, 28, 60), Tissue.WHITE_MATTER),
    **dict.fromkeys((3, 42, 8, 47), Tissue.CORTEX),
    **dict.fromkeys((10, 11, 12, 13, 17, 18, 26, 49, 50, 51, 52, 53, 54, 58), Tissue.DEEP_GREY),
    **dict.fromkeys((4, 5, 14, 15, 24, 43, 44), Tissue.VENTRICLE),
}


@dataclass(frozen=True, eq=False)
class Head:
    """One anatomy.

    Attributes
    ----------
    name
        File stem, used to keep training and test heads apart.
    tissues
        Uint8 array [z, y, x] of :class:`Tissue`, axes along LPS.
    spacing
        Isotropic voxel size in mm.
    signals
        Measured T2w and FLAIR on the same grid, relative to CSF in T2w; None where the anatomy is labels only.
    """

    name: str
    tissues: np.ndarray
    spacing: float = SPACING
    signals: dict[str, np.ndarray] | None = None

    @cached_property
    def folds(self) -> tuple[np.ndarray, np.ndarray]:
        """Sheets of the sulci, as measured where there is MRI, and how their banks close, see :func:`.sulci.fold`."""
        sheet, closing = fold(self.tissues, self.spacing)
        if self.signals is not None:
            contrast = self.signals["T2w"].astype(np.float32) - self.signals["FLAIR"]
            sheet = fluid_sheet(contrast, self.tissues, self.spacing)
        return sheet, closing


def read_head(path: Path) -> Head:
    """Head of a BrainWeb (``subject*``) or SynthSeg (``training_seg*``) label map.

    Raises
    ------
    ValueError
        The file is of neither source.
    """
    name = _head_name(path)
    if name.startswith("subject"):
        table = BRAINWEB
    elif name.startswith("training_seg"):
        table = SYNTHSEG
    else:
        raise ValueError(f"{path}: neither a BrainWeb (subject*) nor a SynthSeg (training_seg*) label map")
    examine(path)
    image = sitk.DICOMOrient(sitk.ReadImage(str(path), sitk.sitkInt16), "LPS")
    labels = sitk.GetArrayFromImage(to_spacing(image, sitk.sitkNearestNeighbor))
    tissues = np.zeros(labels.shape, np.uint8)
    for label, tissue in table.items():
        tissues[labels == label] = tissue
    return Head(name, refine(_crop(tissues)))


def icbm_head() -> Head:
    """The ICBM 152 head of nilearn's bundled tissue probability maps: the anatomy that needs no data folder."""
    from nilearn import datasets

    loaders = datasets.load_mni152_gm_template, datasets.load_mni152_wm_template
    grey, white = (_icbm_map(loader(resolution=1)) for loader in loaders)
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(grey + white > 0.4, iterations=4))
    tissues = np.where(brain, np.uint8(Tissue.VENTRICLE), np.uint8(Tissue.OUTSIDE))
    tissues[brain & (grey > 0.35)] = Tissue.CORTEX
    tissues[brain & (white > np.maximum(grey, 0.35))] = Tissue.WHITE_MATTER
    return Head("icbm152", refine(_crop(tissues)))


def label_maps(folder: Path) -> dict[str, Path]:
    """Label maps below ``folder`` by the name of the head, sorted."""
    found = [*folder.rglob("subject*.nii.gz"), *folder.rglob("training_seg*.nii.gz")]
    return {_head_name(path): path for path in sorted(found, key=lambda path: path.name)}


def _head_name(path: Path) -> str:
    return path.name.split(".")[0].removesuffix("_crisp_ras_0p5mm")


def _icbm_map(image: object) -> np.ndarray:
    """Probability map as [z, y, x] at the heads' spacing, axes along LPS (nibabel gives [x, y, z] along RAS)."""
    array = np.ascontiguousarray(np.asarray(image.get_fdata(), np.float32)[::-1, ::-1].transpose(2, 1, 0))
    return sitk.GetArrayFromImage(to_spacing(sitk.GetImageFromArray(array), sitk.sitkLinear))


def to_spacing(image: sitk.Image, interpolator: int) -> sitk.Image:
    """The image with the heads' isotropic spacing."""
    extent = np.multiply(image.GetSize(), image.GetSpacing())
    size = [round(length / SPACING) for length in extent]
    return sitk.Resample(
        image, size, sitk.Transform(), interpolator, image.GetOrigin(), [SPACING] * 3, image.GetDirection(), 0
    )


def _crop(tissues: np.ndarray) -> np.ndarray:
    """The brain without islands of other tissue, in its box."""
    parts, _ = ndimage.label(tissues > 0)
    brain = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    tissues = np.where(brain, tissues, 0).astype(np.uint8)
    box, margin = brain_box(tissues)
    return np.pad(tissues[box], margin)


def brain_box(tissues: np.ndarray, margin: float = 12.0) -> tuple[tuple[slice, ...], int]:
    """Bounding box of what is not outside, and the padding in voxels that gives it ``margin`` mm on all sides."""
    return ndimage.find_objects((tissues > 0).astype(np.uint8))[0], round(margin / SPACING)


def refine(tissues: np.ndarray) -> np.ndarray:
    """Split the fluid into wide spaces and sulci, and add falx, choroid plexus and skull."""
    tissues = tissues.copy()
    fluid = tissues == Tissue.VENTRICLE
    inside = ndimage.binary_fill_holes(np.isin(tissues, BRAIN))
    depth = -signed_distance(inside, SPACING)
    # Wide fluid near the surface is subarachnoid space, which the surgeon's opening drains and mass effect narrows.
    ventricle = _opening(fluid, SULCUS_OPENING) & (depth > 12)
    tissues[fluid & ~ventricle] = Tissue.SULCUS
    tissues[_falx(tissues, inside)] = Tissue.FALX
    rim = ventricle & ~ndimage.binary_erosion(ventricle, iterations=2)
    patches = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(tissues.shape).astype(np.float32), 4)
    tissues[rim & (patches > 1.2 * patches.std())] = Tissue.CHOROID_PLEXUS
    tissues[~inside & (depth >= -SKULL_THICKNESS)] = Tissue.SKULL
    return tissues


def _opening(mask: np.ndarray, radius: float) -> np.ndarray:
    core = signed_distance(mask, SPACING) < SPACING - radius
    return mask & (signed_distance(core, SPACING) <= radius)


def _falx(tissues: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Sheet between the hemispheres: fluid close to the midline that is followed from front to back."""
    upper = np.zeros_like(inside)
    rows = np.flatnonzero(inside.any((1, 2)))
    start = rows[0] + int(0.55 * (rows[-1] - rows[0]))
    upper[start:] = inside[start:]
    gap = upper & np.isin(tissues, (Tissue.SULCUS, Tissue.VENTRICLE))
    columns = np.flatnonzero(inside.any((0, 1)))
    middle = (columns[0] + columns[-1]) // 2
    reach = round(9 / SPACING)
    fraction = gap[:, :, middle - reach : middle + reach].sum(0)
    midline = ndimage.gaussian_filter1d(fraction.argmax(1).astype(np.float32), 8 / SPACING) + middle - reach
    distance = np.abs(np.arange(tissues.shape[2])[None] - midline[:, None]) * SPACING
    return gap & (distance <= FALX_HALF_WIDTH)[None]
