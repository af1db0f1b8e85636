"""Whether a volume can be worked on, and what is done to it first: 0 where there is no data, no voxel outshines all.

Programs pad an image with what they like: 0, -1, -1024, 255 or NaN, and rescaling adds an offset. What one value holds
along the border of the grid is taken for the background. A broken voxel, or a mark burnt in at full scale, would put
everything else below 1 % of the maximum, which is where the foreground begins. NumPy; SimpleITK where a background must
be told from equal voxels inside the image.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .volume import SHEAR_TOLERANCE, InputError, Volume

#: Share of the border that holds one value where that is the background.
_CONSTANT_SHARE = 0.3
#: Share of the border without a number from which on it is a background; fewer are damage.
_NAN_SHARE = 0.01
#: Negative values that an image is padded with, at most.
_MOST_PADS = 2
#: Voxels that lie below the background by more than a hundredth of the range, as a share of the image, are no noise.
_BELOW_SHARE = 0.01
#: Voxels brighter than the 98th percentile by this factor outshine the image, if they are no more than this share.
_OUTSHINING, _OUTSHINING_SHARE = 5.0, 0.01
#: The same where all of them are equal, as marks at full scale are.
_MARK_SHARE = 0.1
#: What they are set to, in units of that percentile, so that the maximum is again that of an image.
_USUAL_MAXIMUM = 1.5
#: Share of a sweep that may be negative, of what is brighter or darker than a tenth of the extreme: resampling rings.
_NEGATIVE_SHARE = 0.005
#: Voxels along an axis of a sample.
_SAMPLE_SIDE = 64


def grounded(volume: Volume) -> Volume:
    """Return a volume whose background is 0, and whose maximum is that of the image; the same where it is so already.

    Parameters
    ----------
    volume
        ``[z, y, x]``, any number type.

    Returns
    -------
    Volume
        float32 where something had to be done, with a note about it. NaN that does not reach the border stays, and
        so does infinity.
    """
    for step in (_without_nan, _with_zero_background, _without_outshining):
        array, note = step(volume.array)
        if note:
            volume = replace(volume.with_array(array), notes=(*volume.notes, note))
    return volume


def negative_share(array: np.ndarray) -> float:
    """Return the share of the image that is negative, leaving out what is near 0; 0 where that is no more than ringing.

    Brightness above 127 that is stored in signed bytes is negative; so is a radio-frequency signal.
    """
    sample = _sampled(array).astype(np.float32)
    content = sample[np.abs(sample) > 0.1 * np.abs(sample).max()]
    share = float((content < 0).mean()) if content.size else 0.0
    return share if share > _NEGATIVE_SHARE else 0.0


def wrapped(array: np.ndarray) -> tuple[str, ...]:
    """Say so where brightness above 127 seems to have been stored in signed bytes."""
    share = negative_share(array) if array.dtype == np.int8 and array.size else 0.0
    if not share:
        return ()
    return (
        f"The image is stored in signed bytes (int8), and {share:.0%} of it is negative: brightness above 127 has "
        "wrapped round; save it in unsigned bytes (uint8).",
    )


def _sampled(array: np.ndarray) -> np.ndarray:
    return array[tuple(slice(None, None, max(1, length // _SAMPLE_SIDE)) for length in array.shape)]


def _border(array: np.ndarray) -> np.ndarray:
    """Return a sample of the voxels of the six outer faces."""
    faces = (np.moveaxis(array, axis, 0)[place] for axis in range(3) for place in (0, -1))
    return np.concatenate([_sampled(face).ravel() for face in faces])


def _reaching_border(mask: np.ndarray) -> np.ndarray:
    """Return the part of a mask that hangs together with the border of the grid."""
    import SimpleITK as sitk

    padded = sitk.ConstantPad(sitk.GetImageFromArray(mask.astype(np.uint8)), [1] * 3, [1] * 3, 1)
    reached = sitk.ConnectedThreshold(padded, [(0, 0, 0)], 1, 1)
    return sitk.GetArrayViewFromImage(reached)[1:-1, 1:-1, 1:-1] > 0


def _without_nan(array: np.ndarray) -> tuple[np.ndarray, str]:
    """Let voxels round the image that hold no number, as SPM leaves them, be empty."""
    if array.dtype.kind != "f" or not np.isnan(array.min()):
        return array, ""
    missing = np.isnan(array)
    if np.isnan(_border(array)).mean() < _NAN_SHARE or (missing & ~_reaching_border(missing)).any():
        return array, ""
    known = array[~missing]
    if not known.size or known.min() == known.max():
        return array, ""
    lowest = min(0.0, float(known.min()))
    filled = np.where(missing, np.float32(lowest), array)
    return filled, f"{missing.mean():.0%} of the grid, round the image, holds no numbers (NaN) and counts as empty."


def _with_zero_background(array: np.ndarray) -> tuple[np.ndarray, str]:
    values, counts = np.unique(_border(array), return_counts=True)
    value = float(values[counts.argmax()])
    constant = value != 0 and counts.max() >= _CONSTANT_SHARE * counts.sum()
    low, high = float(array.min()), float(array.max())
    if (low >= 0 and not constant) or low == high or not np.isfinite([low, high]).all():
        return array, ""
    sample = _sampled(array).astype(np.float32)
    pads = np.unique(sample[sample < 0])
    if 0 < pads.size <= _MOST_PADS and value <= 0 < high:
        listed = " and ".join(f"{pad:g}" for pad in pads)
        return np.maximum(array, 0), f"The background of the image is {listed}, not 0; it was set to 0."
    if not constant:
        return array, ""
    image, content = array.astype(np.float32), sample[sample != value]
    note = f"The background of the image is {value:g}, not 0"
    if (content < value - 0.01 * (high - value)).sum() > _BELOW_SHARE * content.size:
        return np.where(_reaching_border(image == value), 0, image), f"{note}; it was set to 0."
    return np.maximum(image - np.float32(value), 0), f"{note}; {value:g} was subtracted."


def _without_outshining(array: np.ndarray) -> tuple[np.ndarray, str]:
    sample = _sampled(array)
    high = float(array.max())
    content = sample[(sample > 0) & (sample < high)]
    if content.size == 0 or not np.isfinite(high):
        return array, ""
    usual = float(np.percentile(content, 98))
    limit = _OUTSHINING * usual
    if high <= limit:
        return array, ""
    brighter, full = int((array > limit).sum()), int((array == high).sum())
    most = _MARK_SHARE if full == brighter else _OUTSHINING_SHARE
    if brighter > most * int((array > 0).sum()):
        return array, ""
    limited = np.minimum(array, _USUAL_MAXIMUM * usual).astype(np.float32)
    return limited, (
        f"Voxels of up to {high:g} ({brighter} in number) outshone the image, which ends near {usual:g}; they "
        "were limited (a broken voxel, a mark burnt in?)."
    )


def check_input(volume: Volume, name: str = "input volume") -> Volume:
    """Return the volume as it can be worked on, its background 0 (:func:`grounded`), or refuse it.

    Raises
    ------
    InputError
        It has not three dimensions or a single slice, a spacing that is zero or not finite, axes that are not at right
        angles, NaN inside the image or infinite voxels, or it is constant or has no positive voxel.

    Examples
    --------
    >>> check_input(Volume(np.zeros((4, 3, 2))), "case.nrrd")
    Traceback (most recent call last):
    IoUSynthLib.volume.InputError: case.nrrd: is empty, every voxel is 0; choose the volume that holds the image
    """
    array = volume.array
    if array.ndim != 3:
        raise InputError(
            f"{name}: has {array.ndim} dimensions, but one 3D volume is needed; export a single time point or channel"
        )
    if min(array.shape) == 0:
        raise InputError(f"{name}: has no voxels; export the volume again")
    if min(array.shape) == 1:
        raise InputError(f"{name}: is a single slice; give a reconstructed 3D ultrasound volume")
    _check_geometry(volume, name)
    volume = grounded(volume)
    low, high = float(volume.array.min()), float(volume.array.max())
    if not np.isfinite([low, high]).all():  # min and max carry NaN and infinity on
        raise InputError(f"{name}: holds NaN or infinite voxels; export the volume again without them")
    if low == high:
        raise InputError(f"{name}: is empty, every voxel is {low:g}; choose the volume that holds the image")
    if high <= 0:
        raise InputError(f"{name}: has no positive voxel; choose the ultrasound volume")
    return volume


def check_ultrasound(volume: Volume, name: str = "input volume") -> Volume:
    """Do as :func:`check_input`; refuse what is partly negative, too, which B-mode ultrasound never is."""
    volume = check_input(volume, name)
    share = negative_share(volume.array)
    if share:
        raise InputError(
            f"{name}: {share:.0%} of the image is negative, as when brightness above 127 is stored in signed bytes "
            "(int8); save it as B-mode in unsigned bytes (uint8)"
        )
    return volume


def _check_geometry(volume: Volume, name: str) -> None:
    if not np.isfinite(volume.spacing).all() or min(np.abs(volume.spacing)) < 1e-6:
        raise InputError(f"{name}: has the spacing {volume.spacing}; set a positive spacing in mm and save it again")
    if not np.isfinite(volume.origin).all() or not np.isfinite(volume.direction).all():
        raise InputError(f"{name}: has an origin or direction that is not finite; save it again with its geometry")
    if float(np.abs(volume.direction.T @ volume.direction - np.eye(3)).max()) > SHEAR_TOLERANCE:
        raise InputError(
            f"{name}: has sheared axes (not at right angles); resample it to a regular grid first, "
            "in Slicer with Resample Scalar/Vector/DWI Volume"
        )
