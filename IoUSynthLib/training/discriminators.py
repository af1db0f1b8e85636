"""Discriminators of patches and of whole images, which tell synthetic MRI from acquired."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as functional
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ..generators.blocks import ChannelNorm, leaky
from ..generators.syndiff import Halve, step_embedding


def patch_discriminator(inputs: int, width: int = 32, layers: int = 2) -> torch.nn.Module:
    """PatchGAN (Isola et al. 2017) with spectral normalisation (Miyato et al. 2018) in place of batch normalisation.

    MONAI's discriminator. With the default of two layers each score sees a square of 34 voxels, 27 mm at 0.8 mm:
    the grain of tissue and the borders of structures, not the anatomy of the head.

    Parameters
    ----------
    inputs
        Number of input channels: ultrasound slices and targets.
    width
        Channels of the first layer; every further layer has twice as many.
    layers
        Layers after the first one; all but the last halve the image, as the first does.

    Returns
    -------
    torch.nn.Module
        Maps (B, inputs, H, W) to a list of layers (B, C, h, w), the last of which holds the scores, (B, 1, h, w).
    """
    from monai.networks.nets import PatchDiscriminator

    network = PatchDiscriminator(
        spatial_dims=2, channels=width, in_channels=inputs, num_layers_d=layers, norm=None, bias=True
    )
    for module in list(network.modules()):
        if isinstance(module, torch.nn.Conv2d):
            spectral_norm(module)
    return network


class MultiScale(nn.Module):
    """Discriminators of the same kind for an image at full size, half, a quarter ... (Wang et al. 2018, section 3.2).

    Maps an image to a list of what each gives. MONAI's class of a similar name deepens the networks instead.
    """

    def __init__(self, scales: Sequence[nn.Module]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(scales)

    def forward(self, image: torch.Tensor) -> list[list[torch.Tensor]]:
        """Return the layers of every scale."""
        pool = functional.avg_pool3d if image.ndim == 5 else functional.avg_pool2d
        found = []
        for number, scale in enumerate(self.scales):
            image = pool(image, 2) if number else image
            found.append(scale(image))
        return found


class PatchGAN(nn.Module):
    """Four-wide convolutions of which the first halve the image; a list of layers, the last the scores.

    Parameters
    ----------
    dimensions
        2 or 3.
    inputs
        Number of channels.
    widths
        Channels of the layers before the scores.
    norm
        "spectral" as the benchmark's GAN families have it (``src/gan`` of smcch/ious2mr-benchmark): spectral
        normalisation, layer normalisation over the channels of a voxel, and a bias in the last layer alone. "instance"
        as ResViT has it (``src/resvit``): biases, and instance normalisation without weights. "affine": instance
        normalisation with weights, and biases where there is none; "batch": the same with batch normalisation, as
        Isola et al. have it. The first and the last layer have no such norm.
    halvings
        How many layers halve the image; those behind them keep its size, but for a voxel.
    """

    def __init__(self, dimensions: int, inputs: int, widths: Sequence[int], *, norm: str, halvings: int = 3) -> None:
        super().__init__()
        kind = nn.Conv3d if dimensions == 3 else nn.Conv2d
        instance = nn.InstanceNorm3d if dimensions == 3 else nn.InstanceNorm2d
        batch = nn.BatchNorm3d if dimensions == 3 else nn.BatchNorm2d
        norms = {
            "spectral": ChannelNorm, "instance": instance, "affine": partial(instance, affine=True), "batch": batch,
        }  # fmt: skip

        def layer(before: int, after: int, number: int) -> nn.Module:
            first, last = number == 0, number == len(widths)
            bias = last or norm == "instance" or (norm in ("affine", "batch") and first)
            conv = kind(before, after, 4, 2 if number < halvings else 1, padding=1, bias=bias)
            nn.init.normal_(conv.weight, std=0.02)
            conv = spectral_norm(conv) if norm == "spectral" else conv
            if last:
                return conv
            return nn.Sequential(conv, nn.Identity() if first else norms[norm](after), leaky())

        pairs = itertools.pairwise((inputs, *widths, 1))
        self.layers = nn.ModuleList(layer(before, after, number) for number, (before, after) in enumerate(pairs))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """(B, inputs, ...) to a list of (B, C, ...); the last is (B, 1, ...)."""
        found = []
        for layer in self.layers:
            image = layer(image)
            found.append(image)
        return found


def gan_discriminator(dimensions: int, inputs: int, *, conditional: bool, width: int = 64) -> MultiScale:
    """The discriminator of the benchmark's GAN families: two scales in 2D, one in 3D.

    Its text (section 2.4.1) gives all of them layers of 64, 128, 256 and 512 channels; in the released code, and by the
    published counts, the unconditional ones of CycleGAN and CUT lack the last.
    """
    widths = [width << number for number in range(4 if conditional else 3)]
    scales = 1 if dimensions == 3 else 2
    return MultiScale([PatchGAN(dimensions, inputs, widths, norm="spectral") for _ in range(scales)])


def batch_discriminator(dimensions: int, inputs: int, width: int = 64) -> MultiScale:
    """The discriminator of the T1-to-T2 study (section 3.3.1): 2,768,705 parameters of 6 channels."""
    return MultiScale([PatchGAN(dimensions, inputs, [width << number for number in range(4)], norm="batch")])


def resvit_discriminator(dimensions: int, inputs: int, width: int | None = None) -> MultiScale:
    """ResViT's discriminator, one scale; 64 channels wide in 2D and 48 in 3D, and nowhere more than 512."""
    width = width or (48 if dimensions == 3 else 64)
    widths = [min(width << number, 512) for number in range(4)]
    return MultiScale([PatchGAN(dimensions, inputs, widths, norm="instance")])


def image_discriminator(width: int = 64, halvings: int = 6) -> PatchGAN:
    """MMHVAE's discriminator of one image (https://github.com/ReubenDo/MMHVAE): 4,856,257 parameters.

    Slices must be wide enough for three pixels after the halvings: 192 pixels for six.
    """
    return PatchGAN(
        2, 1, [min(width << number, 4 * width) for number in range(halvings + 1)], norm="instance", halvings=halvings
    )


def refiner_discriminator(targets: int, filters: int = 24) -> MultiScale:
    """The discriminator of SynDiff's refiner, which sees the ultrasound beside the MRI.

    The text (section 2.4.3) says no more than "4-layer 3D PatchGAN". The released 1,564,345 parameters for one target,
    and 1,565,881 for two, need 24, 48, 96 and 192 channels, norms with weights, and biases in the first and the last
    layer alone; the strides, which no count tells, are those of the other PatchGANs.
    """
    return MultiScale([PatchGAN(3, 1 + targets, [filters << number for number in range(4)], norm="affine")])


class VoxelDiscriminator(nn.Module):
    """3D-mDAUNet's discriminator: a U-Net that judges each voxel, with images and logits at several sizes.

    The paper (section 3.2) gives no layers, and its program none under the path that it names; these are ours: at each
    size two 3-wide convolutions down and two up, and a 1-wide one for the logits. Spectral normalisation "after each
    activation" is taken as that of every convolution.

    Parameters
    ----------
    targets
        Channels of the images.
    width
        Channels at full size, twice as many at each smaller one.
    depth
        Number of sizes.
    images
        How many sizes images come in at, and logits go out at: all, or the full one alone.
    """

    def __init__(self, targets: int, *, width: int = 8, depth: int = 4, images: int = 4) -> None:
        super().__init__()
        widths = [width << level for level in range(depth)]
        self.stems = nn.ModuleList(_judging(targets, width) for _ in range(images))
        before = [width, *((width if level < images else 0) + widths[level - 1] for level in range(1, depth))]
        self.down = nn.ModuleList(_twice(*pair) for pair in zip(before, widths, strict=True))
        self.up = nn.ModuleList(_twice(here + below, here) for here, below in itertools.pairwise(widths))
        self.heads = nn.ModuleList(_judging(wide, 1, kernel=1) for wide in widths[:images])

    def forward(self, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Images (B, targets, D, H, W), each half as large as the one before, to logits (B, 1, ...) of these sizes."""
        features: list[torch.Tensor] = []
        for level, block in enumerate(self.down):
            parts = [features[-1][..., ::2, ::2, ::2]] if features else []
            if level < len(self.stems):
                parts.insert(0, self.stems[level](images[level]))
            features.append(block(torch.cat(parts, 1)))
        decoded = features[-1:]
        for level in reversed(range(len(self.up))):
            raised = functional.interpolate(decoded[0], scale_factor=2, mode="nearest")
            decoded.insert(0, self.up[level](torch.cat([features[level], raised], 1)))
        return [head(part) for head, part in zip(self.heads, decoded, strict=False)]


class PlainDiscriminator(nn.Module):
    """What stands in its place where the paper leaves it out: one logit an image, the mean of a PatchGAN's scores."""

    def __init__(self, targets: int, *, width: int = 8) -> None:
        super().__init__()
        self.patches = PatchGAN(3, targets, [width << level for level in range(4)], norm="spectral")

    def forward(self, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Of the images, at several sizes, the first (B, targets, D, H, W) to a logit (B, 1, 1, 1, 1)."""
        return [self.patches(images[0])[-1].mean((2, 3, 4), keepdim=True)]


class DenseDiscriminator(nn.Module):
    """BrainVoxGen's discriminator as we propose it: convolutions, pooling, and dense layers to one logit a block.

    Four 3-wide convolutions, each followed by the maximum of 2 x 2 x 2 voxels, the last of 1 x 2 x 2; then 64 hidden
    variables. 2,212,129 parameters for blocks of 8 x 128 x 128 voxels and two channels.

    Parameters
    ----------
    inputs
        Number of channels.
    window
        Size of the blocks [z, y, x], the first a multiple of 8, the others of 16.
    width
        Channels of the first convolution; each has twice as many as the one before.
    """

    def __init__(self, inputs: int, window: Sequence[int], width: int = 32) -> None:
        super().__init__()
        widths = [width << number for number in range(4)]
        pools = [2, 2, 2, (1, 2, 2)]
        self.convolutions = nn.Sequential(*(
            layer
            for (before, after), pool in zip(itertools.pairwise((inputs, *widths)), pools, strict=True)
            for layer in (nn.Conv3d(before, after, 3, padding=1), leaky(), nn.MaxPool3d(pool))
        ))
        voxels = window[0] // 8 * (window[1] // 16) * (window[2] // 16)
        self.dense = nn.Sequential(nn.Linear(widths[-1] * voxels, 64), leaky(), nn.Linear(64, 1))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """(B, inputs, D, H, W) to a list of the logits, (B, 1, 1, 1, 1)."""
        return [self.dense(self.convolutions(image).flatten(1))[..., None, None, None]]


def _judging(inputs: int, outputs: int, kernel: int = 3) -> nn.Module:
    return spectral_norm(nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2))


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_judging(inputs, outputs), leaky(), _judging(outputs, outputs), leaky())


class StepDiscriminator(nn.Module):
    """Scores a step of adversarial diffusion: (B, 2 T, ...) and the step to one number an image, (B,).

    After the publications (Xiao et al. 2022, appendix C; Karras et al. 2020 for the deviation within the batch), with
    the widths that the published counts need: 7,216,705 parameters in 2D and 9,119,089 in 3D. That in 3D takes a step
    embedding of 128 channels, where the benchmark's text (section 2.4.3) has 256, and six halvings in 2D, where it has
    five. Blocks in 2D blur before they halve; in 3D, as in the generator, they average.

    Parameters
    ----------
    dimensions
        2 or 3.
    inputs
        Channels of x_t and x_{t+1} together.
    filters
        Half the width at full size; 32 in 2D and 24 in 3D.
    multipliers
        Widths after each halving, in multiples of ``filters``.
    embedding
        Width of the step's embedding; 256 in 2D and 128 in 3D.
    """

    def __init__(
        self, dimensions: int, inputs: int, *, filters: int | None = None, multipliers: Sequence[int] | None = None,
        embedding: int | None = None,
    ) -> None:
        super().__init__()
        kind = nn.Conv3d if dimensions == 3 else nn.Conv2d
        filters = filters or (24 if dimensions == 3 else 32)
        multipliers = multipliers or (_STEPS_3D if dimensions == 3 else _STEPS_2D)
        self.embedding = embedding or (128 if dimensions == 3 else 256)
        widths = [filters * multiplier for multiplier in (2, *multipliers)]
        self.time = nn.Sequential(
            nn.Linear(self.embedding, self.embedding), leaky(), nn.Linear(self.embedding, self.embedding)
        )
        self.stem = kind(inputs, widths[0], 1)
        self.blocks = nn.ModuleList(
            _StepBlock(kind, before, after, embedding=self.embedding) for before, after in itertools.pairwise(widths)
        )
        self.last = kind(widths[-1] + 1, widths[-1], 3, padding=1)
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, images: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Score x_t and x_{t+1}, stacked as channels, at steps (B,) int64; larger is more like acquired."""
        time = functional.leaky_relu(self.time(step_embedding(step, self.embedding)), _SLOPE)
        features = self.stem(images)
        for block in self.blocks:
            features = block(features, time)
        features = self.last(torch.cat([features, _deviation(features)], 1))
        return self.head(functional.leaky_relu(features, _SLOPE).flatten(2).sum(2))[:, 0]


_STEPS_2D = (4, 8, 8, 8, 8, 8)
_STEPS_3D = (4, 8, 8, 8, 8)
_SLOPE = 0.2


class _StepBlock(nn.Module):
    """Two convolutions, the step added between them, beside a shortcut, at half the size."""

    def __init__(self, kind: type[nn.Module], inputs: int, outputs: int, *, embedding: int) -> None:
        super().__init__()
        self.first = kind(inputs, outputs, 3, padding=1)
        self.second = kind(outputs, outputs, 3, padding=1)
        self.time = nn.Linear(embedding, outputs)
        self.shortcut = kind(inputs, outputs, 1, bias=False)
        self.halve = nn.AvgPool3d(2) if kind is nn.Conv3d else Halve()

    def forward(self, features: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        branch = self.first(functional.leaky_relu(features, _SLOPE))
        branch = branch + self.time(time).reshape(*branch.shape[:2], *[1] * (branch.ndim - 2))
        branch = self.second(self.halve(functional.leaky_relu(branch, _SLOPE)))
        return (branch + self.shortcut(self.halve(features))) / 2**0.5


def _deviation(features: torch.Tensor, most: int = 4) -> torch.Tensor:
    """(B, 1, ...): how much images differ within groups of up to ``most``, one number a group (Karras et al. 2018)."""
    batch = features.shape[0]
    size = next(size for size in range(min(batch, most), 0, -1) if batch % size == 0)
    groups = features.reshape(size, batch // size, -1)
    spread = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean(1)
    spread = spread.repeat(size).reshape(batch, *[1] * (features.ndim - 1))
    return spread.expand(batch, 1, *features.shape[2:])
