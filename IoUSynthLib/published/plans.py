"""How published weights want to be run, as the section ``iousynth`` of a bundle's metadata says it.

What the authors' released code does (smcch/ious2mr-benchmark), where it can be read:

* ioUS is resampled onto the preoperative MRI's grid, whose axes are the patient's, cropped to the sweep, and normalised
  by eq. 1 as a whole. ResViT and SynDiff saw the MRI's own voxels, in the median 0.94 x 0.94 x 2 mm; the GAN families a
  data set of their own with 0.5 x 0.5 x 2 mm throughout.
* ResViT and SynDiff stretch every axial slice to 256 x 256 and the prediction back. ResViT in 3D pads to 96 voxels on
  both sides and blends windows with NumPy's Hanning weight.
* The GAN families average slices along all three axes, 192 x 192 in steps of 96 without weights, and in 3D patches of
  64 x 64 x 32 with half overlap, mirrored where the volume is smaller. Their refiner sees clipped predictions in the
  same patches; ResViT's was trained on whole volumes.

Not released, so read from the paper: SynDiff's windows in 3D, 64 voxels, blended as ResViT's.
"""

from __future__ import annotations

from typing import Any

from ..generators.gan import REFINER_MULTIPLE

_MEDIAN_MM = [0.94, 0.94, 2.0]
_GAN_MM = [0.5, 0.5, 2.0]
#: Longer than any grid that a network is given.
_WHOLE = 4096


def plan(family: str, regime: str) -> dict[str, Any]:
    """Return regime, grid, slices, windows, padding and blending for a published network.

    Parameters
    ----------
    family
        ``resvit``, ``syndiff`` or one of the GAN families.
    regime
        A name in ``generators.REGIMES``; of 2D+3D-refine this is the first stage, to which :func:`refiner_plan` adds
        the second.
    """
    if family in ("resvit", "syndiff"):
        side, multiple = (96, 4) if family == "resvit" else (64, 8)
        if regime == "3D":
            return _volumes(_MEDIAN_MM, [side] * 3, 0.25, multiple, blending="hanning", padding="centre")
        multiple = 4 if family == "resvit" else 32
        return _slices(regime, _MEDIAN_MM, [0], [256, 256], 0.0, multiple, stretch=True)
    how = {"fixed_spacing": True, "blending": "uniform"}
    if regime == "3D":
        return _volumes(_GAN_MM, [32, 64, 64], 0.5, 16, padding="reflect", **how)
    return _slices(regime, _GAN_MM, [0, 1, 2], [192, 192], 0.5, 32, padding="window", **how)


def refiner_plan(family: str) -> dict[str, Any]:
    """Return the section ``refiner`` of a bundle's metadata, for a family whose refinement head can be read."""
    if family == "resvit":  # one window, as large as the volume
        return {"window": [_WHOLE] * 3, "overlap": 0.0, "size_multiple": 1, "padding": "multiple"}
    return {
        "window": [32, 64, 64],
        "overlap": 0.5,
        "size_multiple": REFINER_MULTIPLE,
        "blending": "uniform",
        "padding": "reflect",
    }


def _slices(
    regime: str, spacing: list[float], axes: list[int], window: list[int], overlap: float, multiple: int, **more: Any
) -> dict[str, Any]:
    regime = "2.5D" if regime == "2.5D" else "2D"
    return {**_windows(regime, spacing, window, overlap, multiple), "slice_axes": axes, **more}


def _volumes(spacing: list[float], window: list[int], overlap: float, multiple: int, **more: Any) -> dict[str, Any]:
    return {**_windows("3D", spacing, window, overlap, multiple), **more}


def _windows(regime: str, spacing: list[float], window: list[int], overlap: float, multiple: int) -> dict[str, Any]:
    return {
        "regime": regime,
        "spacing": spacing,
        "frame": "patient",
        "window": window,
        "overlap": overlap,
        "size_multiple": multiple,
    }
