"""What an image is by its name: ultrasound, labels, or an MR contrast. The only place that knows such names."""

from __future__ import annotations

import re
from pathlib import Path

from ..volume import InputError
from .dicom import is_dicom
from .itk import ERRORS, metadata
from .paths import case_name, check_path

#: Files that hold a whole volume.
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
#: What :func:`role_of_name` can return. ``MRI`` is MR of a contrast that is none of the others, or in doubt.
ROLES = ("none", "labels", "ultrasound", "FLAIR", "T2w", "T1w", "MRI")

#: Where the name says what an image was brought to, which is not what it is: "T2w_reg_to_US", "space-T1w_FLAIR".
_BROUGHT_TO = re.compile(
    r"(?<![a-z])(to|onto|in)[ _.-]+[a-z]+[0-9]*w?(?![a-z])|(?<![a-z])space-(?!flair|dark|da|ir)[a-z]+[0-9]*w?"
    r"|(?<=[a-z0-9])(?<!t)2(us|ious|ultrasound|t[12]w?|flair|mri?)(?![a-z])"
)
_NOT_AN_IMAGE = re.compile(r"landmark|mask")
#: A tumour outlined on an ultrasound, as RESECT-SEG (Behboodi et al. 2022) names it: Case1-US-before-tumor. What it
#: calls Case1-US-after-resection, the outline of a cavity, could as well be an ultrasound.
_ULTRASOUND_OUTLINE = re.compile(r"(?<![a-z])us[ _-]before[ _-]tumou?r$")
#: An ultrasound of which nothing had been removed: RESECT's US-before, ReMIND's pre- and post-dura.
_BEFORE_RESECTION = re.compile(r"(?<![a-z])before|(pre|post)[ _-]?dura")
_LABELS = re.compile(r"label|seg")
_ULTRASOUND = re.compile(
    r"ultrasound|(?<![a-z])(io|i)?[ _-]?us(?![a-z])|(?<![a-z])us(pre|post)"
    r"|(?<![a-z])(usg|b-?mode|sono(graphy|gram)?)(?![a-z])"
)
#: "echo" is ultrasound only where nothing says MRI, whose sequences have echoes, too.
_ECHO = re.compile(r"(?<![a-z])echo(graphy)?(?![a-z])")
# Digits after letters are a patient's: subject2 is no T2w.
_WEIGHTING = re.compile(
    r"(?<![a-z])(?:3d|s)?(?:ax|axial|sag|sagittal|cor|coronal|tra|tse|fse|space|cube|vista|ce|gd)?t([12])"
)
#: T1w after contrast agent, in English and German, and where a name says that it is before, or without.
_AGENT = re.compile(
    r"(?<![a-z0-9])t1[ _-]?w?[ _-]?(c|ce|c?\+|\+?c|gd|gad[a-z]*|km)(?![a-z])|(?<![a-z])(ce|gd|gad)[ _-]?t1|contrast"
    r"|(?<![a-z])(gd|gad(olinium)?|gadovist|dotarem|km)(?![a-z])"
)
_NO_AGENT = re.compile(
    r"(pre|non?|without|ohne|w/?o)[ _-]?(contrast|enhanced|gd|gad|km|c(?![a-z]))|nativ|unenhanced"
)
_T1_SEQUENCES = re.compile(r"mp2?rage|bravo|f?spgr|(?<![a-z])flash3d")
#: A long inversion time, which darkens fluid; "tirm" alone may also be a short one, which darkens fat.
_FLAIR = re.compile(r"flair|dark[ _-]?(fluid|fl)|(?<![a-z])da[ _-]?fl(?![a-z])|(?<![a-z])sp(c|ace)[ _-]ir(?![a-z])")
#: T1 or T2 in the names of what is neither T1w nor T2w: maps, T2* and other gradient echoes, dark fat, diffusion.
_NEITHER = re.compile(
    r"t[12][ _-]?(\*|star|s(?![a-z])|map|rho|relax|ffe|gre(?![a-z]))"
    r"|(?<![a-z])([a-z]*map(s|ping)?|r[12](star|\*|s)?|tirm|stir|ir|hemo|medic|me[23]d|gre|gradient|ffe|swi|swan|qsm"
    r"|tof|pd|dwi|adc|dti|diff|perf|dsc|asl|bold|fmri|fl2d|ep2d|epi|ci3d|ciss|fiesta)(?![a-z])"
)
#: What a file of BraTS is by the end of its name, as the challenges of 2020 and 2021 or of 2023 wrote it.
BRATS_ROLES = {
    "t1": "T1w", "t1n": "T1w", "t1ce": "ceT1", "t1c": "ceT1", "t2": "T2w", "t2w": "T2w", "flair": "FLAIR",
    "t2f": "FLAIR", "seg": "tumour",
}  # fmt: skip
_MRI = re.compile(r"(?<![a-z])mr(i|head|brain[a-z]*)?(?![a-z])")


def is_volume(path: Path) -> bool:
    """Tell whether a path is a file that holds a volume, by its suffix."""
    return path.is_file() and path.name.lower().endswith(VOLUME_SUFFIXES)


def role_of(path: Path) -> str:
    """What an image is by its name: one of :data:`ROLES`.

    The name of a DICOM folder that tells nothing is replaced by the description of its series.
    """
    role = role_of_name(case_name(path))
    if role == "none" and path.is_dir():
        return role_of_name(_series_description(path))
    return role


def role_of_name(name: str) -> str:
    """What an image of this name is: one of :data:`ROLES`.

    Examples
    --------
    >>> [role_of_name(name) for name in ("Case4-US-before", "t2_tirm_tra_dark-fluid", "T2w_reg_to_US", "tumour-seg")]
    ['ultrasound', 'FLAIR', 'T2w', 'labels']
    """
    name = _BROUGHT_TO.sub(" ", name.lower())
    if _NOT_AN_IMAGE.search(name) or is_ultrasound_outline(name):
        return "none"
    if _LABELS.search(name):
        return "labels"
    if _ULTRASOUND.search(name):
        return "ultrasound"
    contrast = contrast_of_name(name)
    return "ultrasound" if contrast == "none" and _ECHO.search(name) else contrast


def is_ultrasound_outline(name: str) -> bool:
    """Tell whether an image of this name is a tumour that was outlined on an ultrasound.

    Examples
    --------
    >>> [is_ultrasound_outline(name) for name in ("Case1-US-before-tumor", "Case1-US-before", "FLAIR-tumor")]
    [True, False, False]
    """
    return bool(_ULTRASOUND_OUTLINE.search(name.lower()))


def is_before_resection(name: str) -> bool:
    """Tell whether an ultrasound's name says that nothing had been removed.

    Examples
    --------
    >>> [is_before_resection(name) for name in ("Case1-US-before", "USpredura", "Case1-US-during", "ioUS")]
    [True, True, False, False]
    """
    return bool(_BEFORE_RESECTION.search(name.lower()))


def brats_role_of_name(name: str) -> str:
    """What an image of BraTS is by the end of its name: T1w, ceT1 (with contrast agent), T2w, FLAIR, tumour, or none.

    Examples
    --------
    >>> [brats_role_of_name(name) for name in ("BraTS2021_00000_t1", "BraTS-GLI-00000-000-t1c", "flair", "t1_mask")]
    ['T1w', 'ceT1', 'FLAIR', 'none']
    """
    return BRATS_ROLES.get(re.split("[_-]", name.lower())[-1], "none")


def has_agent(name: str) -> bool:
    """Tell whether the name of a T1w says that it was acquired after contrast agent.

    Examples
    --------
    >>> [has_agent(name) for name in ("T1_postcontrast", "t1ce", "ceT1", "T1_precontrast", "t1_mprage_cor")]
    [True, True, True, False, False]
    """
    name = name.lower()
    return bool(_AGENT.search(name)) and not _NO_AGENT.search(name)


def contrast_of_name(name: str) -> str:
    """The MR contrast that a name tells: FLAIR, T2w, T1w, MRI where it is another or in doubt, or none."""
    name = _BROUGHT_TO.sub(" ", name.lower())
    weightings = {f"T{digit}w" for digit in _WEIGHTING.findall(name)}
    weightings |= {"T1w"} if _T1_SEQUENCES.search(name) else set()
    if _FLAIR.search(name):
        # A T1w with an inversion time is called FLAIR, too, but shows no tumour's water.
        return "MRI" if len(weightings) > 1 else "T1w" if weightings == {"T1w"} else "FLAIR"
    if _NEITHER.search(name) or len(weightings) > 1:
        return "MRI"
    return next(iter(weightings), "MRI" if _MRI.search(name) else "none")


def _series_description(folder: Path) -> str:
    """What a DICOM series is called, for example by TCIA; empty where it says nothing."""
    import SimpleITK as sitk

    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    first = next((path for path in files if path.suffix.lower() == ".dcm" or is_dicom(path)), None)
    if first is None:
        return ""
    reader = sitk.ImageFileReader()
    try:
        check_path(first)
        reader.SetFileName(str(first))
        reader.ReadImageInformation()
    except (InputError, *ERRORS):
        return ""
    return metadata(reader).get("0008|103e", "")
