"""How published weights want to be run, as the section ``iousynth`` of a bundle's metadata says it.

What the authors' released code does (smcch/ious2mr-benchmark), where it can be read:

* ioUS is resampled onto the preoperative MRI's grid, whose axes are the patient's, cropped to the sweep, and normalised
  by eq. 1 as a whole. ResViT and SynDiff saw a median voxel of 0.94 x 0.94 x 2 mm; the GAN families 0.5 x 0.5 x 2 mm.
* ResViT and SynDiff stretch every axial slice to 256 x 256 and the prediction back. ResViT in 3D pads to 96 voxels on
  both sides and blends windows with NumPy's Hanning weight.
* The GAN families average slices along all three axes, 192 x 192 in steps of 96 without weights, and in 3D patches of
  64 x 64 x 32 with half overlap, mirrored where the volume is smaller.

Not released, so read from the paper: SynDiff's windows in 3D, 64 voxels, blended as ResViT's.
"""

from __future__ import annotations

from typing import Any

_MEDIAN_MM = [0.94, 0.94, 2.0]
_GAN_MM = [0.5, 0.5, 2.0]


def plan(family: str, regime: str) -> dict[str, Any]:
    """Return regime, grid, slices, windows, padding and blending for a published network.

    Parameters
    ----------
    family
        ``resvit``, ``syndiff`` or one of the GAN families.
    regime
        A name in ``generators.REGIMES``; 2D+3D-refine is run as its first stage, 2D.
    """
    if family in ("resvit", "syndiff"):
        side, multiple = (96, 4) if family == "resvit" else (64, 8)
        if regime == "3D":
            return _volumes(_MEDIAN_MM, [side] * 3, 0.25, multiple, blending="hanning", padding="centre")
        multiple = 4 if family == "resvit" else 32
        return _slices(regime, _MEDIAN_MM, [0], [256, 256], 0.0, multiple, stretch=True)
    if regime == "3D":
        return _volumes(_GAN_MM, [32, 64, 64], 0.5, 16, blending="uniform", padding="reflect")
    return _slices(regime, _GAN_MM, [0, 1, 2], [192, 192], 0.5, 32, blending="uniform", padding="window")


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
