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
            return _volumes(
                spacing=_MEDIAN_MM, window=[side] * 3, overlap=0.25, size_multiple=multiple, blending="hanning",
                padding="centre",
            )
        multiple = 4 if family == "resvit" else 32
        return _slices(
            regime, spacing=_MEDIAN_MM, slice_axes=[0], window=[256, 256], overlap=0.0, size_multiple=multiple,
            stretch=True,
        )
    how = {"spacing": _GAN_MM, "fixed_spacing": True, "overlap": 0.5, "blending": "uniform"}
    if regime == "3D":
        return _volumes(**how, window=[32, 64, 64], size_multiple=16, padding="reflect")
    return _slices(regime, **how, slice_axes=[0, 1, 2], window=[192, 192], size_multiple=32, padding="window")


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


def _slices(regime: str, **how: Any) -> dict[str, Any]:
    return {"regime": "2.5D" if regime == "2.5D" else "2D", "frame": "patient", **how}


def _volumes(**how: Any) -> dict[str, Any]:
    return {"regime": "3D", "frame": "patient", **how}
