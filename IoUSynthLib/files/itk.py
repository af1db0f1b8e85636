"""What ITK's readers give, print and mean."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..input_checks import wrapped
from ..volume import InputError, Volume, right_angled
from .paths import FORMATS

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Weights of red, green and blue in the luminance (ITU-R Recommendation BT.601).
LUMINANCE = (0.299, 0.587, 0.114)


#: What ITK's readers raise; the second where its message, or a header's text, is not UTF-8.
ERRORS = (RuntimeError, UnicodeDecodeError)


def metadata(image: sitk.Image | sitk.ImageFileReader) -> dict[str, str]:
    """Return the entries of a header by their names; letters that are not UTF-8 become question marks."""
    found = {}
    for key in image.GetMetaDataKeys():
        if key.isascii():  # no name that means anything here is another
            found[key] = image.GetMetaData(key).encode("utf-8", "replace").decode("utf-8")
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what ITK's readers print off the terminal; what matters in it is checked here.

    Its own warnings can be switched off. The libraries below it write to the file descriptor of stderr.
    """
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with contextlib.ExitStack() as stack:
        stack.callback(sitk.ProcessObject.SetGlobalWarningDisplay, shown)
        with contextlib.suppress(OSError):  # a windowed program may have no stderr
            original = os.dup(2)
            stack.callback(os.close, original)
            stack.callback(os.dup2, original, 2)
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        yield


def unreadable(path: Path, error: Exception) -> InputError:
    """Say in one line, with a remedy, what ITK means when it cannot read a file."""
    text = str(error)
    if "orthonormal" in text:
        return InputError(
            f"{path}: has sheared axes (not at right angles), which 3D Slicer does not load either; save it on a "
            "regular grid where it was made, with a rigid transform instead of an affine one"
        )
    if "determinant is 0" in text:
        return InputError(f"{path}: has axes that lie in one plane; save it again with its directions")
    if "Refusing to change spacing" in text or "spacing (0)" in text:
        return InputError(f"{path}: has a spacing of zero; set a positive voxel spacing in mm and save it again")
    if "Unable to determine ImageIO reader" in text:
        return InputError(f"{path}: is not an image this program can read; give {FORMATS}")
    last = text.strip().splitlines()[-1] if text.strip() else "unknown error"
    return InputError(f"{path}: is damaged or has an unusable geometry ({last}); export it again")


def to_volume(image: sitk.Image, path: Path, notes: tuple[str, ...] = ()) -> Volume:
    """Take over what ITK has read: float32 ``[z, y, x]``, colours as luminance.

    Raises
    ------
    InputError
        It is no scalar or colour image in 3D; ``path`` is what the message names.
    """
    import SimpleITK as sitk

    size = image.GetSize()
    if len(size) > 3:
        if any(count > 1 for count in size[3:]):
            raise InputError(f"{path}: is {len(size)}D ({' x '.join(map(str, size))}); export one 3D volume of it")
        image = sitk.Extract(image, [*size[:3], *[0] * (len(size) - 3)])
    if len(size) < 3:
        raise InputError(f"{path}: is a single 2D image; give a reconstructed 3D ultrasound volume")
    components = image.GetNumberOfComponentsPerPixel()
    if components not in (1, 3, 4):
        raise InputError(f"{path}: has {components} values per voxel; export one scalar 3D volume of it")
    array = sitk.GetArrayViewFromImage(image)
    if components > 1:
        array = array[..., :3] @ np.asarray(LUMINANCE, dtype=np.float32)
        notes = (*notes, f"Colour image ({components} components) converted to luminance (Rec. 601).")
    elif not np.isrealobj(array):
        raise InputError(f"{path}: holds complex numbers; export the magnitude (B-mode) volume")
    warnings = wrapped(array)
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which check_input refuses
        array = np.array(array, dtype=np.float32)
    direction = right_angled(np.reshape(image.GetDirection(), (3, 3)))
    return Volume(array, image.GetSpacing(), image.GetOrigin(), direction, notes, warnings)
