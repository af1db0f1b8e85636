"""Random fields that anatomy, contrast and ultrasound share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional


def gaussian_noise(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Independent values of unit variance, float32, on the generator's device."""
    return torch.randn(tuple(shape), generator=generator, device=generator.device)


def smooth_noise(
    size: int, correlation: float, generator: torch.Generator, channels: int = 1
) -> torch.Tensor:
    """Gaussian noise of unit variance on a cube, smooth over about ``correlation`` voxels.

    Returns
    -------
    torch.Tensor
        Tensor of shape (channels, size, size, size).
    """
    coarse = max(4, round(size / correlation) + 3)
    noise = gaussian_noise((1, channels, coarse, coarse, coarse), generator)
    fine = functional.interpolate(noise, size=(size,) * 3, mode="trilinear", align_corners=True)[0]
    return fine / fine.std()


def gaussian_kernel(sigma: float, device: torch.device | None = None) -> torch.Tensor:
    """Normalised one-dimensional Gaussian of standard deviation ``sigma`` samples, cut at three of them."""
    radius = max(1, int(3 * sigma + 0.5))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    kernel = torch.exp(-0.5 * (offsets / max(sigma, 1e-3)) ** 2)
    return kernel / kernel.sum()


def blur(image: torch.Tensor, sigmas: tuple[float, float, float]) -> torch.Tensor:
    """Separable Gaussian blur of a (channels, a, b, c) tensor; ``sigmas`` in samples, zero leaves an axis alone.

    Shifted copies are added up, which a CPU does several times faster than a convolution with one channel.
    """
    for axis, sigma in enumerate(sigmas, start=1):
        if sigma <= 0:
            continue
        weights = gaussian_kernel(sigma).tolist()
        middle, length = len(weights) // 2, image.shape[axis]
        result = weights[middle] * image
        for shift in range(1, min(middle + 1, length)):
            early, late = (image.narrow(axis, start, length - shift) for start in (0, shift))
            result.narrow(axis, shift, length - shift).add_(early, alpha=weights[middle + shift])
            result.narrow(axis, 0, length - shift).add_(late, alpha=weights[middle + shift])
        image = result
    return image


def sample(maps: torch.Tensor, points: torch.Tensor, where: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """Values of ``maps`` (channels, n, n, n) at ``where`` (3, a, b, c).

    ``points`` (3, n, n, n) are the coordinates of the maps' voxels; its components run along the last, the middle and
    the first axis of the grid. Beyond the grid the nearest border counts.
    """
    first, last = (points[:, i, i, i].reshape(3, 1, 1, 1) for i in (0, -1))
    grid = (2 * (where - first) / (last - first) - 1).permute(1, 2, 3, 0)[None]
    return functional.grid_sample(maps[None], grid, mode=mode, padding_mode="border", align_corners=True)[0]


def voxel_size(points: torch.Tensor) -> float:
    """Distance in mm between neighbours of a grid (3, a, b, c), however it is turned."""
    return float((points[:, 0, 0, 1] - points[:, 0, 0, 0]).norm())


def within(points: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Boolean (a, b, c): whether ``where`` (3, a, b, c) lies on the grid whose voxels are ``points`` (3, n, n, n)."""
    first, last = (points[:, i, i, i].reshape(3, 1, 1, 1) for i in (0, -1))
    return ((where >= first) & (where <= last)).all(0)


def middle_sheet(mask: torch.Tensor, widest: int = 6) -> torch.Tensor:
    """Voxels of a boolean (a, b, c) mask in the middle of its width: its skeleton (Lantuejoul 1978, by openings).

    Of parts wider than ``widest`` voxels, only what lies nearer to the border than half of that is looked at.
    """
    rest = mask[None, None].float()
    sheet = torch.zeros_like(rest)
    for _ in range(widest // 2):
        core = _eroded(rest)
        opened = functional.max_pool3d(core, 3, 1, 1)
        sheet = torch.maximum(sheet, (rest - opened).clamp_min(0))
        rest = core
    return sheet[0, 0] > 0


def _eroded(image: torch.Tensor) -> torch.Tensor:
    """Erosion of (1, 1, a, b, c) by a voxel along each axis."""
    kernels = ((3, 1, 1), (1, 3, 1), (1, 1, 3))
    shrunk = [-functional.max_pool3d(-image, kernel, 1, [k // 2 for k in kernel]) for kernel in kernels]
    return torch.minimum(torch.minimum(*shrunk[:2]), shrunk[2])
