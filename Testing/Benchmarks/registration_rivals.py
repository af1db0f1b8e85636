"""Other people's registration programs, for the benchmark. None is a dependency of this project.

    pip install --no-deps convexAdam picsl_greedy

- SimpleITK (Apache-2.0): Mattes mutual information.
- greedy (Yushkevich et al.; the wheel ``picsl_greedy`` states Apache-2.0): needs numpy and SimpleITK.
- convexAdam (Siebert et al., IEEE TMI 2024; Apache-2.0): needs torch, nibabel, scipy and SimpleITK; deformable only.

The programs run as their authors publish them: greedy with the options of its quick start, convexAdam with its
defaults, a mask given to both. Nothing was tuned to the benchmark's cases. Every function takes the fixed and the
moving image and, on the fixed one's grid, a mask above 0 where to compare; every transform maps LPS points of the fixed
image to LPS points of the moving one.
"""

from __future__ import annotations

import functools
import importlib
import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.preprocessing import resample_like
from IoUSynthLib.registration.rigid import to_sitk
from IoUSynthLib.volume import Volume

#: What is imported of each package.
_MODULES = {"convexAdam": "convexAdam.convex_adam_MIND", "picsl_greedy": "picsl_greedy"}
#: The grid of the deformable methods reaches this far beyond the mask: tissue comes from there.
_MARGIN_MM = 10.0
#: Stride of convexAdam's coarse grid, by default; the sides of an image should be multiples of it.
_STRIDE = 6
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@functools.cache
def available(package: str) -> bool:
    """Whether a package can be imported; if not, says so once."""
    try:
        with warnings.catch_warnings():  # convexAdam silences all warnings of the process
            importlib.import_module(_MODULES[package])
    except ImportError as error:
        print(f"{package}: not installed ({error})")
        return False
    return True


def mattes(fixed: Volume, moving: Volume, mask: Volume) -> sitk.Transform:
    """Mutual information by SimpleITK, rigid: three levels, gradient descent."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(40)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.15, 1)
    method.SetMetricFixedMask(mask.with_array(mask.array.astype(np.uint8)).to_sitk())
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([3, 1.5, 0.7])
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.01, 100)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInterpolator(sitk.sitkLinear)
    start = sitk.Euler3DTransform()
    index = np.argwhere(mask.array > 0).mean(axis=0)[::-1]
    start.SetCenter((mask.ijk_to_lps @ [*index, 1.0])[:3].tolist())
    method.SetInitialTransform(start)
    try:
        return method.Execute(fixed.to_sitk(), moving.to_sitk())
    except RuntimeError:  # too few samples map into the moving image: it has wandered off
        return start


def greedy_rigid(fixed: Volume, moving: Volume, mask: Volume, metric: str = "WNCC 2x2x2") -> sitk.Transform:
    """Rigid by greedy, with its metric ``WNCC`` (local normalized cross-correlation) or ``NMI``."""
    ras = _greedy(f"-a -dof 6 -n 100x50x10 -m {metric}", fixed, moving, mask)
    return to_sitk(_RAS @ np.asarray(ras, dtype=np.float64) @ _RAS)


def greedy_deformable(fixed: Volume, moving: Volume, mask: Volume) -> sitk.Transform:
    """Deformable by greedy from the place that the images have: stationary velocity field, local cross-correlation."""
    grid = _working_grid(mask)
    images = (resample_like(fixed, grid), resample_like(moving, grid), resample_like(mask, grid, nearest=True))
    field = _greedy("-sv -n 100x50x10 -m WNCC 2x2x2 -wp 0", *images)
    return sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))


def _greedy(options: str, fixed: Volume, moving: Volume, mask: Volume) -> object:
    """Run greedy on images in memory; return its matrix (RAS) or field of displacements in mm (LPS)."""
    from picsl_greedy import Greedy3D

    program = Greedy3D()
    images = {"fixed": fixed, "moving": moving, "mask": mask}
    program.execute(
        f"-i fixed moving -gm mask {options} -o found -V 0",
        out=io.StringIO(),
        err=io.StringIO(),
        found=None,
        **{name: image.with_array(image.array.astype(np.float32)).to_sitk() for name, image in images.items()},
    )
    return program["found"]


def convex_adam(fixed: Volume, moving: Volume, mask: Volume) -> sitk.Transform:
    """Deformable by convexAdam from the place that the images have, on MIND features filled in outside the mask."""
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    grid = _working_grid(mask)
    inside = resample_like(mask, grid, nearest=True)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its calls
        path = Path(folder) / "mask.nii"  # read without its header: voxels x, y, z
        write_volume(path, inside.with_array((inside.array > 0).astype(np.uint8)))
        voxels = convex_adam_pt(
            *(resample_like(image, grid).array.T.astype(np.float32) for image in (fixed, moving)),
            use_mask=True,
            path_fixed_mask=path,
            path_moving_mask=path,
            dtype=torch.float32,  # it has no 16 bit on processors
            device=torch.device("cpu"),
        )
    millimetres = voxels.transpose(2, 1, 0, 3) @ grid.ijk_to_lps[:3, :3].T
    field = sitk.GetImageFromArray(np.ascontiguousarray(millimetres), isVector=True)
    field.CopyInformation(grid.to_sitk())
    return sitk.DisplacementFieldTransform(field)


def _working_grid(mask: Volume) -> Volume:
    """A grid of 1 mm along the mask's axes that holds the mask and a margin."""
    index = np.argwhere(mask.array > 0)[:, ::-1]
    low, high = index.min(axis=0), index.max(axis=0)
    extent = (high - low) * mask.spacing + 2 * _MARGIN_MM
    size = _STRIDE * np.ceil((extent + 1) / _STRIDE).astype(int)
    middle = (mask.ijk_to_lps @ [*(low + high) / 2, 1.0])[:3]
    origin = middle - mask.direction @ ((size - 1) / 2)
    return Volume(np.broadcast_to(np.float32(0), tuple(size[::-1])), (1.0,) * 3, tuple(origin), mask.direction)
