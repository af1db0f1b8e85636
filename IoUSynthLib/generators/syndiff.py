"""SynDiff, paired and in one direction: an adversarial diffusion network in 2D, 2.5D and 3D (Özbey et al. 2023).

The networks estimate the clean MRI from a noisy one, the ultrasound, the step and a latent vector; a sampler
(:mod:`.diffusion`) makes the image. Written from the publications: NCSN++ (Song et al. 2021, appendix H) with adaptive
group normalisation by a mapped latent (Xiao et al. 2022, appendix C), and from the shapes of the published weights,
whose keys it keeps. Where the benchmark's text (section 2.4.3) and the weights differ, the weights decide: the step is
embedded by sines and cosines, not Fourier features; the 3D network has widths 24, 48, 48, 48.

Nothing here is taken from SynDiff's own program, whose licence, like that of its weights, allows only non-commercial
research. What the weights do not tell about the 3D network (groups and epsilon of the norms, the factor after a sum)
follows the 2D network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .diffusion import LATENT
from .family import Family, Size
from .recipe import BENCHMARK, CITATION, NOT_VARIED, PUBLISHED_SLICES, Recipe

#: Width of the mapped latent that modulates the norms.
_STYLE = 256
_MAPPING_LAYERS = 3
_EPSILON = 1e-6
_ROOT_HALF = math.sqrt(0.5)
#: Blur before halving and after doubling the size, an axis.
_FIR = (1.0, 3.0, 3.0, 1.0)
_FILTERS = {2: 32, 3: 24}
_MULTIPLIERS = {2: (1, 1, 2, 2, 4, 4), 3: (1, 2, 2, 2)}
_ATTENTION_LEVEL = {2: 4, 3: 3}


def build(
    dimensions: int,
    inputs: int,
    outputs: int,
    *,
    filters: int | None = None,
    multipliers: Sequence[int] | None = None,
    blocks: int = 2,
    attention_level: int | None = None,
) -> SliceNetwork | VolumeNetwork:
    """SynDiff's generator for slices or volumes; :class:`.diffusion.Sampler` runs it.

    Parameters
    ----------
    dimensions
        2 or 3.
    inputs
        Channels of ultrasound.
    outputs
        Noisy contrasts that go in, and clean ones that come out.
    filters
        Width at full size: 32 in 2D and 24 in 3D, as published.
    multipliers
        Widths at full, half, quarter ... size, in multiples of ``filters``. Sizes must be multiples of
        ``2 ** (len(multipliers) - 1)``.
    blocks
        Residual blocks at each size on the way down; one more on the way up.
    attention_level
        How often the size has been halved where attention joins the blocks.
    """
    plan = {
        "filters": filters or _FILTERS[dimensions],
        "multipliers": tuple(multipliers or _MULTIPLIERS[dimensions]),
        "blocks": blocks,
        "attention_level": _ATTENTION_LEVEL[dimensions] if attention_level is None else attention_level,
    }
    network = VolumeNetwork if dimensions == 3 else SliceNetwork
    return network(inputs, outputs, **plan)


class Refiner(nn.Module):
    """Residual 3D network that corrects an assembled prediction and sees the ultrasound, too (section 2.4.3).

    A normalised 7-wide convolution, six residual blocks, and another such convolution that ends in tanh. The correction
    is added and the sum clipped. With the published 24 filters it has the released 212,257 parameters for one target,
    and 228,722 for two: they tell that all 13 instance norms have weights, which the text leaves open.
    """

    def __init__(self, targets: int, filters: int = 24) -> None:
        super().__init__()
        self.targets = targets
        self.entry = nn.Sequential(nn.Conv3d(targets + 1, filters, 7, padding=3), _instance_norm(filters), nn.ReLU())
        self.blocks = nn.ModuleList(_RefinerBlock(filters) for _ in range(_REFINER_BLOCKS))
        self.exit = nn.Conv3d(filters, targets, 7, padding=3)

    def forward(self, stack: torch.Tensor) -> torch.Tensor:
        """(B, targets + 1, D, H, W), predictions and ultrasound, to corrected predictions (B, targets, D, H, W)."""
        features = self.entry(stack)
        for block in self.blocks:
            features = block(features)
        return (stack[:, : self.targets] + torch.tanh(self.exit(features))).clamp(-1.0, 1.0)


_REFINER_BLOCKS = 6


class _RefinerBlock(nn.Module):
    """Two normalised convolutions beside the identity."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv3d(filters, filters, 3, padding=1),
            _instance_norm(filters),
            nn.ReLU(),
            nn.Conv3d(filters, filters, 3, padding=1),
            _instance_norm(filters),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.path(features)


def _instance_norm(filters: int) -> nn.Module:
    return nn.InstanceNorm3d(filters, affine=True)


class SliceNetwork(nn.Module):
    """NCSN++ for slices: a U-Net of residual blocks into which the shrunken input is fed again at every size.

    The layers stand in one list, ``all_modules``, in the order in which they are used, because the published weights
    are numbered so. As published, as many channels come out as go in, and those beyond the targets are not used.
    """

    def __init__(
        self, slices: int, targets: int, *, filters: int, multipliers: Sequence[int], blocks: int, attention_level: int
    ) -> None:
        super().__init__()
        self.targets, self.filters, self.blocks = targets, filters, blocks
        self.levels, self.attention_level = len(multipliers), attention_level
        channels = slices + targets
        widths = [filters * multiplier for multiplier in multipliers]
        self.z_transform = _mapping()
        self.all_modules = nn.ModuleList(
            [
                nn.Linear(filters, 4 * filters),
                nn.Linear(4 * filters, 4 * filters),
                nn.Conv2d(channels, filters, 3, padding=1),
                *self._down(channels, filters, widths),
                *self._up(filters, widths),
                nn.GroupNorm(_groups(widths[0]), widths[0], _EPSILON),
                nn.Conv2d(widths[0], channels, 3, padding=1),
            ]
        )
        self.apply(_initialise)

    def _down(self, channels: int, width: int, widths: Sequence[int]) -> Iterator[nn.Module]:
        pyramid = channels
        for level, wanted in enumerate(widths):
            for _ in range(self.blocks):
                yield _SliceBlock(width, wanted, self.filters)
                width = wanted
                if level == self.attention_level:
                    yield _SliceAttention(width)
            if level < self.levels - 1:
                yield _SliceBlock(width, width, self.filters, resampling="down")
                yield _Pyramid(pyramid, width)
                pyramid = width

    def _up(self, filters: int, widths: Sequence[int]) -> Iterator[nn.Module]:
        width = widths[-1]
        yield from (_SliceBlock(width, width, filters), _SliceAttention(width), _SliceBlock(width, width, filters))
        skips = _skip_widths(filters, widths, self.blocks)
        for level in reversed(range(self.levels)):
            for _ in range(self.blocks + 1):
                yield _SliceBlock(width + skips.pop(), widths[level], filters)
                width = widths[level]
            if level == self.attention_level:
                yield _SliceAttention(width)
            if level > 0:
                yield _SliceBlock(width, width, filters, resampling="up")

    def forward(
        self, noisy: torch.Tensor, image: torch.Tensor, step: torch.Tensor, latent: torch.Tensor
    ) -> torch.Tensor:
        """Estimate the clean image.

        Parameters
        ----------
        noisy
            (B, targets, H, W).
        image
            Ultrasound (B, 1 or 3, H, W) in [-1, 1].
        step
            (B,) int64, 0 to 3.
        latent
            (B, 100), normal.

        Returns
        -------
        torch.Tensor
            (B, targets, H, W) in [-1, 1].
        """
        layers = iter(self.all_modules)
        time = next(layers)(step_embedding(step, self.filters))
        time = F.silu(next(layers)(F.silu(time)))
        style = self.z_transform(latent)
        pyramid = torch.cat([noisy, image], dim=1)
        skips = [next(layers)(pyramid)]
        for level in range(self.levels):
            for _ in range(self.blocks):
                features = next(layers)(skips[-1], time, style)
                skips.append(next(layers)(features) if level == self.attention_level else features)
            if level < self.levels - 1:
                features = next(layers)(skips[-1], time, style)
                pyramid = (next(layers)(pyramid) + features) * _ROOT_HALF
                skips.append(pyramid)
        features = next(layers)(skips[-1], time, style)
        features = next(layers)(features)
        features = next(layers)(features, time, style)
        for level in reversed(range(self.levels)):
            for _ in range(self.blocks + 1):
                features = next(layers)(torch.cat([features, skips.pop()], dim=1), time, style)
            if level == self.attention_level:
                features = next(layers)(features)
            if level > 0:
                features = next(layers)(features, time, style)
        features = F.silu(next(layers)(features))
        return torch.tanh(next(layers)(features))[:, : self.targets]


class _SliceBlock(nn.Module):
    """Residual block in the manner of BigGAN, at the same size, half or double."""

    def __init__(self, inputs: int, outputs: int, filters: int, *, resampling: str = "") -> None:
        super().__init__()
        self.GroupNorm_0 = _AdaptiveNorm(inputs)
        self.Conv_0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.Dense_0 = nn.Linear(4 * filters, outputs)
        self.GroupNorm_1 = _AdaptiveNorm(outputs)
        self.Conv_1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.Conv_2 = nn.Conv2d(inputs, outputs, 1) if resampling or inputs != outputs else nn.Identity()
        self.resample = {"": nn.Identity, "down": Halve, "up": _Double}[resampling]()

    def forward(self, features: torch.Tensor, time: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        branch = self.Conv_0(self.resample(F.silu(self.GroupNorm_0(features, style))))
        branch = branch + _spread(self.Dense_0(time), branch)
        branch = self.Conv_1(F.silu(self.GroupNorm_1(branch, style)))
        return (self.Conv_2(self.resample(features)) + branch) * _ROOT_HALF


class _AdaptiveNorm(nn.Module):
    """Group norm whose scale and shift come from the mapped latent."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.groups = _groups(channels)
        self.style = nn.Linear(_STYLE, 2 * channels)

    def forward(self, features: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        scale, shift = _spread(self.style(style), features).chunk(2, dim=1)
        return scale * F.group_norm(features, self.groups, eps=_EPSILON) + shift


class _SliceAttention(nn.Module):
    """One head of attention among all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.GroupNorm_0 = nn.GroupNorm(_groups(channels), channels, _EPSILON)
        self.NIN_0, self.NIN_1, self.NIN_2, self.NIN_3 = (_PixelLinear(channels) for _ in range(4))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        tokens = self.GroupNorm_0(features).flatten(2).transpose(1, 2)[:, None]
        attended = F.scaled_dot_product_attention(self.NIN_0(tokens), self.NIN_1(tokens), self.NIN_2(tokens))
        return (features + self.NIN_3(attended)[:, 0].transpose(1, 2).reshape(features.shape)) * _ROOT_HALF


class _PixelLinear(nn.Module):
    """Linear map of tokens (..., C), with the weight stored (inputs, outputs)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.W = nn.Parameter(nn.init.xavier_uniform_(torch.empty(channels, channels)))
        self.b = nn.Parameter(torch.zeros(channels))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens @ self.W + self.b


class _Pyramid(nn.Module):
    """The input at half the size, blurred, as features to add."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.blur = _Blur(stride=1, padding=2)
        self.Conv2d_0 = nn.Conv2d(inputs, outputs, 3, stride=2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.Conv2d_0(self.blur(image))


class _Blur(nn.Module):
    """Depthwise convolution with the FIR kernel, which sums to 1."""

    def __init__(self, stride: int, padding: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        taps = torch.tensor(_FIR) / sum(_FIR)
        self.register_buffer("kernel", torch.outer(taps, taps)[None, None], persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        channels = image.shape[1]
        kernel = self.kernel.expand(channels, -1, -1, -1)
        return F.conv2d(image, kernel, stride=self.stride, padding=self.padding, groups=channels)


class Halve(_Blur):
    """Half the size: blur, then every second pixel."""

    def __init__(self) -> None:
        super().__init__(stride=2, padding=1)


class _Double(_Blur):
    """Double the size: zeros between the pixels, then the blur, four times as strong."""

    def __init__(self) -> None:
        super().__init__(stride=2, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        channels = image.shape[1]
        kernel = 4.0 * self.kernel.expand(channels, -1, -1, -1)
        return F.conv_transpose2d(image, kernel, stride=2, padding=1, groups=channels)


class VolumeNetwork(nn.Module):
    """The same idea for cubes: plain average pooling and trilinear doubling, no second feeding of the input."""

    def __init__(
        self, slices: int, targets: int, *, filters: int, multipliers: Sequence[int], blocks: int, attention_level: int
    ) -> None:
        super().__init__()
        self.targets, self.filters, self.blocks = targets, filters, blocks
        self.levels, self.attention_level = len(multipliers), attention_level
        widths = [filters * multiplier for multiplier in multipliers]
        self.time_mlp = nn.Sequential(nn.Linear(filters, 4 * filters), nn.SiLU(), nn.Linear(4 * filters, 4 * filters))
        self.z_transform = _mapping()
        self.input_conv = nn.Conv3d(slices + targets, filters, 3, padding=1)
        self._make_down(filters, widths)
        self.mid_block1 = _VolumeBlock(widths[-1], widths[-1], filters)
        self.mid_attn = _VolumeAttention(widths[-1])
        self.mid_block2 = _VolumeBlock(widths[-1], widths[-1], filters)
        self._make_up(filters, widths)
        self.final_gn = nn.GroupNorm(_groups(widths[0]), widths[0], _EPSILON)
        self.final_conv = nn.Conv3d(widths[0], targets, 3, padding=1)
        self.apply(_initialise)

    def _make_down(self, width: int, widths: Sequence[int]) -> None:
        before = [width, *[w for w in widths for _ in range(self.blocks)]]
        self.down_blocks = nn.ModuleList(
            _VolumeBlock(inputs, outputs, self.filters) for inputs, outputs in itertools.pairwise(before)
        )
        self.down_attns = nn.ModuleList(
            _VolumeAttention(w) if level == self.attention_level else nn.Identity()
            for level, w in enumerate(widths)
            for _ in range(self.blocks)
        )
        self.down_resamples = nn.ModuleList(_VolumeBlock(w, w, self.filters, resampling="down") for w in widths[:-1])

    def _make_up(self, filters: int, widths: Sequence[int]) -> None:
        upwards = list(reversed(widths))
        before = [upwards[0], *[w for w in upwards for _ in range(self.blocks + 1)]]
        skips = reversed(_skip_widths(filters, widths, self.blocks))
        self.up_blocks = nn.ModuleList(
            _VolumeBlock(inputs + skip, outputs, filters)
            for (inputs, outputs), skip in zip(itertools.pairwise(before), skips, strict=True)
        )
        self.up_attns = nn.ModuleList(
            _VolumeAttention(widths[level]) if level == self.attention_level else nn.Identity()
            for level in reversed(range(self.levels))
        )
        self.up_resamples = nn.ModuleList(_VolumeBlock(w, w, filters, resampling="up") for w in upwards[:-1])

    def forward(
        self, noisy: torch.Tensor, image: torch.Tensor, step: torch.Tensor, latent: torch.Tensor
    ) -> torch.Tensor:
        """Estimate the clean volume; as :meth:`SliceNetwork.forward`, with (B, C, D, H, W)."""
        time = F.silu(self.time_mlp(step_embedding(step, self.filters)))
        style = self.z_transform(latent)
        skips = [self.input_conv(torch.cat([noisy, image], dim=1))]
        for number, (block, attention) in enumerate(zip(self.down_blocks, self.down_attns, strict=True), start=1):
            skips.append(attention(block(skips[-1], time, style)))
            if number % self.blocks == 0 and number < len(self.down_blocks):
                skips.append(self.down_resamples[number // self.blocks - 1](skips[-1], time, style))
        features = self.mid_attn(self.mid_block1(skips[-1], time, style))
        features = self.mid_block2(features, time, style)
        for number, block in enumerate(self.up_blocks, start=1):
            features = block(torch.cat([features, skips.pop()], dim=1), time, style)
            level, inner = divmod(number, self.blocks + 1)
            if inner == 0:
                features = self.up_attns[level - 1](features)
            if inner == 0 and level < self.levels:
                features = self.up_resamples[level - 1](features, time, style)
        return torch.tanh(self.final_conv(F.silu(self.final_gn(features))))


class _VolumeBlock(nn.Module):
    """Residual block with a plain norm and then an adaptive one before each convolution."""

    def __init__(self, inputs: int, outputs: int, filters: int, *, resampling: str = "") -> None:
        super().__init__()
        self.gn0 = nn.GroupNorm(_groups(inputs), inputs, _EPSILON)
        self.adagn0 = _AdaptiveNorm(inputs)
        self.conv0 = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.temb_proj = nn.Linear(4 * filters, outputs)
        self.gn1 = nn.GroupNorm(_groups(outputs), outputs, _EPSILON)
        self.adagn1 = _AdaptiveNorm(outputs)
        self.conv1 = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv3d(inputs, outputs, 1) if resampling or inputs != outputs else nn.Identity()
        self.resample = {
            "": nn.Identity(),
            "down": nn.AvgPool3d(2),
            "up": nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False),
        }[resampling]

    def forward(self, features: torch.Tensor, time: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        branch = self.conv0(self.resample(F.silu(self.adagn0(self.gn0(features), style))))
        branch = branch + _spread(self.temb_proj(time), branch)
        branch = self.conv1(F.silu(self.adagn1(self.gn1(branch), style)))
        return (self.shortcut(self.resample(features)) + branch) * _ROOT_HALF


class _VolumeAttention(nn.Module):
    """One head of attention among all voxels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gn = nn.GroupNorm(_groups(channels), channels, _EPSILON)
        self.q, self.k, self.v, self.proj = (nn.Conv3d(channels, channels, 1) for _ in range(4))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        normed = self.gn(features)
        query, key, value = (layer(normed).flatten(2).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(query, key, value)[:, 0].transpose(1, 2)
        return (features + self.proj(attended.reshape(features.shape))) * _ROOT_HALF


class _UnitLength(nn.Module):
    """Divide a latent vector by the root of its mean square."""

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return latent * torch.rsqrt(latent.square().mean(dim=1, keepdim=True) + 1e-8)


def _mapping() -> nn.Sequential:
    """Perceptron from the latent to the style, as StyleGAN maps it."""
    layers = [_UnitLength(), nn.Linear(LATENT, _STYLE), nn.SiLU()]
    for _ in range(_MAPPING_LAYERS):
        layers += [nn.Linear(_STYLE, _STYLE), nn.SiLU()]
    return nn.Sequential(*layers)


def step_embedding(step: torch.Tensor, width: int) -> torch.Tensor:
    """Return (B, width): sines, then cosines of the step at frequencies from 1 down to 1 / 10000."""
    half = width // 2
    exponents = torch.arange(half, device=step.device, dtype=torch.float32) / (half - 1)
    angles = step.float()[:, None] * torch.exp(-math.log(10000.0) * exponents)[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _skip_widths(filters: int, widths: Sequence[int], blocks: int) -> list[int]:
    """Return the widths of what is kept for the way up, in the order in which it is kept."""
    kept = [filters]
    for level, width in enumerate(widths):
        kept += [width] * (blocks + (level < len(widths) - 1))
    return kept


def _groups(channels: int) -> int:
    return max(1, min(channels // 4, 32))


def _spread(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(B, C) to (B, C, 1, 1) or (B, C, 1, 1, 1)."""
    return values.reshape(*values.shape, *[1] * (like.ndim - 2))


def _initialise(module: nn.Module) -> None:
    """Xavier's uniform weights; blocks and attention begin as the identity, norms with scale 1 and shift 0."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, _AdaptiveNorm):
        nn.init.ones_(module.style.bias[: module.style.out_features // 2])
    elif isinstance(module, _SliceBlock):
        nn.init.zeros_(module.Conv_1.weight)
    elif isinstance(module, _VolumeBlock):
        nn.init.zeros_(module.conv1.weight)
    elif isinstance(module, _SliceAttention):
        nn.init.zeros_(module.NIN_3.W)
    elif isinstance(module, _VolumeAttention):
        nn.init.zeros_(module.proj.weight)


#: What SynDiff's three trainings share. Of the refiner's losses the text says no more than "adversarially": their
#: weights and its rates are those of the first stage.
_LEARNING = {
    **BENCHMARK, "rate": 1.6e-4, "discriminator_rate": 1e-4, "betas": (0.5, 0.9), "warm_up": 0, "floor": 1e-5,
    "average": 0.999, "mixed": True, "absolute": 10, "adversarial": 1,
}
#: The released weights were chosen by SSIM, but of the test cases; SynDiff's own program does not clip gradients.
_PUBLISHED = {"keep": "structure", "complete": True, "clip": math.inf}
FAMILY = Family(
    build=build,
    build_refiner=Refiner,
    objective="training.objectives.diffusion:syndiff",
    refiner_objective="training.objectives.adversarial:syndiff_refiner",
    recipes={
        "slices": Recipe(
            steps=220_800, steps_for_two=147_200, batch_size=8, window=(256, 256), penalty=1, every=64, **_LEARNING
        ),
        "volumes": Recipe(steps=83_200, batch_size=1, window=(64, 64, 64), penalty=1, every=32, **_LEARNING),
        "refiner": Recipe(steps=41_600, batch_size=1, window=(64, 64, 64), **_LEARNING),
    },
    published={
        "slices": {**_PUBLISHED, "augmentation": PUBLISHED_SLICES},
        "volumes": {**_PUBLISHED, "augmentation": NOT_VARIED, "anywhere": True},
        "refiner": {**_PUBLISHED, "anywhere": True},
    },
    refiner_sees_ultrasound=True,
    diffusion=True,
    slice_axes=(0,),
    citation=CITATION,
    size_multiple=32,
    reduced=Size({"filters": 8}, {"filters": 8}, {"filters": 8}),
)
