"""ResViT: a residual network whose middle blocks also look through a transformer (Dalmaz et al. 2022).

Layers and state-dict keys follow the released code of the ioUS-to-MR benchmark (smcch/ious2mr-benchmark), because its
weights were made by that code. Where the benchmark's text (section 2.4.2) differs, the code decides:

* the transformer branch is a shifted-window (Swin) transformer in 2D as in 3D, not a ViT with global attention and
  learned positions; the published 18,247,489 parameters need it;
* in 3D, voxels that the cyclic shift brings together from opposite faces attend to each other; ``masked=True`` keeps
  them apart, as Swin (Liu et al. 2021, section 3.2) and the text's "shifted windows" mean it;
* the refinement head sees the prediction alone, not the ultrasound, and learns from the absolute difference alone;
* the generator's least-squares term has no factor 1/2; in 3D gradients of two patches are added up, not of four.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .family import Family, Size
from .recipe import BENCHMARK, CITATION, PUBLISHED_SLICES, PUBLISHED_VOLUMES, SUPERVISED_REFINER, Recipe

#: Attention logit between voxels that only the cyclic shift has made neighbours.
_APART = -100.0
#: Share of the refinement head's output that is added to the prediction (section 2.4.2).
REFINEMENT = 0.1
#: Window of the attention, in tokens along an axis, by number of dimensions.
_WINDOW = {2: 8, 3: 4}
_FILTERS = {2: 64, 3: 48}


class ResViT(nn.Module):
    """Encoder, residual blocks with and without transformer, decoder; sizes in multiples of 4.

    Parameters
    ----------
    dimensions
        2 or 3.
    inputs, outputs
        Numbers of channels.
    filters
        Width of the first layer: 64 in 2D and 48 in 3D, as released.
    blocks
        Number of residual blocks between encoder and decoder.
    transformer_blocks
        Which of them, from 0, have a transformer beside the convolutions.
    heads
        Attention heads; they divide ``4 * filters``.
    pairs
        Transformer layers without and with shift, in pairs.
    masked
        Whether attention stays within what lay side by side before the shift; as released: in 2D, not in 3D.

    Attributes
    ----------
    transformer
        Whether the transformer branches take part. Off in the first phase of training, and then their weights do not
        matter; on otherwise. It is no part of the state dict.
    """

    def __init__(
        self,
        dimensions: int,
        inputs: int,
        outputs: int,
        *,
        filters: int | None = None,
        blocks: int = 9,
        transformer_blocks: Sequence[int] = (4, 5),
        heads: int = 8,
        pairs: int = 2,
        masked: bool | None = None,
    ) -> None:
        super().__init__()
        self.transformer = True
        filters = filters or _FILTERS[dimensions]
        plan = {"heads": heads, "pairs": pairs, "masked": dimensions == 2 if masked is None else masked}
        width = 4 * filters
        conv, transposed = _layer("Conv", dimensions), _layer("ConvTranspose", dimensions)
        self.enc = nn.Sequential(
            *_padded_convolution(dimensions, inputs, filters, kernel=7),
            *_norm_relu(dimensions, filters),
            conv(filters, 2 * filters, 3, stride=2, padding=1),
            *_norm_relu(dimensions, 2 * filters),
            conv(2 * filters, width, 3, stride=2, padding=1),
            *_norm_relu(dimensions, width),
        )
        self.arts = nn.ModuleList(
            AggregatedBlock(
                width,
                dimensions,
                _Transformer(width, dimensions, **plan) if number in transformer_blocks else None,
            )
            for number in range(blocks)
        )
        self.dec = nn.Sequential(
            transposed(width, 2 * filters, 4, stride=2, padding=1),
            *_norm_relu(dimensions, 2 * filters),
            transposed(2 * filters, filters, 4, stride=2, padding=1),
            *_norm_relu(dimensions, filters),
            *_padded_convolution(dimensions, filters, outputs, kernel=7),
            nn.Tanh(),
        )
        self.apply(_initialise)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, inputs, ...) in [-1, 1] to (B, outputs, ...) in [-1, 1]; sizes in multiples of 4."""
        features = self.enc(image)
        for block in self.arts:
            features = block(features, self.transformer)
        return self.dec(features)

    def pretrain(self, on: bool) -> None:
        """Begin or end the first phase of training, in which the transformer branches neither take part nor learn."""
        self.transformer = not on
        for name, parameter in self.named_parameters():
            if ".trans." in name or ".agg." in name:
                parameter.requires_grad_(not on)


class AggregatedBlock(nn.Module):
    """A residual block; where it has a transformer, both see the same features and a 1x1 convolution joins them."""

    def __init__(self, width: int, dimensions: int, transformer: _Transformer | None) -> None:
        super().__init__()
        self.cnn = _Residual(width, dimensions)
        self.trans = transformer
        if transformer is not None:
            self.agg = nn.Sequential(_layer("Conv", dimensions)(2 * width, width, 1), *_norm_relu(dimensions, width))

    def forward(self, features: torch.Tensor, transformer: bool) -> torch.Tensor:
        convolved = self.cnn(features)
        if self.trans is None or not transformer:
            return convolved
        return self.agg(torch.cat([convolved, self.trans(features)], dim=1))


class _Residual(nn.Module):
    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        self.b = nn.Sequential(
            *_padded_convolution(dimensions, width, width, kernel=3),
            *_norm_relu(dimensions, width),
            *_padded_convolution(dimensions, width, width, kernel=3),
            _layer("InstanceNorm", dimensions)(width),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.b(features)


class _Transformer(nn.Module):
    """Swin layers over a feature map (B, C, ...), padded with zeros to whole windows."""

    def __init__(self, width: int, dimensions: int, *, heads: int, pairs: int, masked: bool) -> None:
        super().__init__()
        self.window = _WINDOW[dimensions]
        self.layers = nn.ModuleList(
            _SwinLayer(width, dimensions, heads, shift=self.window // 2 * (number % 2), masked=masked)
            for number in range(2 * pairs)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        sizes = features.shape[2:]
        padding = [amount for size in reversed(sizes) for amount in (0, -size % self.window)]
        tokens = F.pad(features, padding).movedim(1, -1)
        for layer in self.layers:
            tokens = layer(tokens)
        for axis, size in enumerate(sizes, start=1):
            tokens = tokens.narrow(axis, 0, size)
        return tokens.movedim(-1, 1)


class _SwinLayer(nn.Module):
    """Attention within windows, then a perceptron, each after a layer norm (Liu et al. 2021, eq. 3)."""

    def __init__(self, width: int, dimensions: int, heads: int, *, shift: int, masked: bool) -> None:
        super().__init__()
        self.window, self.shift, self.masked = _WINDOW[dimensions], shift, masked
        self.axes = tuple(range(1, dimensions + 1))
        self.n1 = nn.LayerNorm(width)
        self.attn = _WindowAttention(width, dimensions, heads)
        self.n2 = nn.LayerNorm(width)
        # The released keys are mlp.0 and mlp.3: a dropout of rate 0 stood between them.
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, ..., C) to the same; sizes in multiples of the window."""
        tokens = tokens + self._attend(self.n1(tokens))
        return tokens + self.mlp(self.n2(tokens))

    def _attend(self, tokens: torch.Tensor) -> torch.Tensor:
        if not self.shift:
            return merge(self.attn(partition(tokens, self.window)), tokens.shape, self.window)
        shifted = tokens.roll([-self.shift] * len(self.axes), self.axes)
        mask = shift_mask(tokens.shape[1:-1], self.window, self.shift, like=tokens) if self.masked else None
        attended = self.attn(partition(shifted, self.window), mask)
        return merge(attended, tokens.shape, self.window).roll([self.shift] * len(self.axes), self.axes)


class _WindowAttention(nn.Module):
    """Multi-head attention among the tokens of a window, with a learned bias for each relative position."""

    def __init__(self, width: int, dimensions: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        window = _WINDOW[dimensions]
        self.rpb = nn.Parameter(torch.zeros((2 * window - 1) ** dimensions, heads))
        self.register_buffer("rpi", relative_positions(window, dimensions))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        nn.init.trunc_normal_(self.rpb, std=0.02)

    def forward(self, windows: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, windows, tokens, C) to the same; ``mask`` (windows, 1, tokens, tokens) is added to the logits."""
        batch, number, tokens, width = windows.shape
        projected = self.qkv(windows).reshape(batch, number, tokens, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(3, 0, 1, 4, 2, 5)
        bias = self.rpb[self.rpi.flatten()].reshape(tokens, tokens, self.heads).permute(2, 0, 1)
        bias = bias if mask is None else bias + mask
        # Not scaled_dot_product_attention: ONNX takes it with four axes only, and these have five.
        logits = (query * self.scale) @ key.transpose(-2, -1) + bias
        attended = logits.softmax(dim=-1) @ value
        return self.proj(attended.transpose(2, 3).reshape(batch, number, tokens, width))


class Refiner(nn.Module):
    """Adds a tenth of a small 3D network's output to an assembled prediction; 32 filters wide as released."""

    def __init__(self, channels: int, filters: int = 32) -> None:
        super().__init__()
        widths = [channels, filters, filters, filters]
        stages = [
            layer
            for before, after in itertools.pairwise(widths)
            for layer in (nn.Conv3d(before, after, 3, padding=1), *_norm_relu(3, after))
        ]
        self.net = nn.Sequential(*stages, nn.Conv3d(filters, channels, 3, padding=1), nn.Tanh())
        self.apply(_initialise)

    def forward(self, prediction: torch.Tensor) -> torch.Tensor:
        """(B, channels, D, H, W) to the same; the sum is not clipped, so it may leave [-1, 1] by a tenth."""
        return prediction + REFINEMENT * self.net(prediction)


def relative_positions(window: int, dimensions: int) -> torch.Tensor:
    """Return the row of the bias table for each pair (query, key) of tokens of a window, row-major, int64."""
    axes = torch.meshgrid(*[torch.arange(window)] * dimensions, indexing="ij")
    places = torch.stack(axes).flatten(1)
    index = torch.zeros(places.shape[1], places.shape[1], dtype=torch.int64)
    for place in places:
        index = index * (2 * window - 1) + place[:, None] - place[None, :] + window - 1
    return index


def shift_mask(sizes: Sequence[int], window: int, shift: int, *, like: torch.Tensor) -> torch.Tensor:
    """Return (windows, 1, tokens, tokens): 0 between tokens that lay side by side before the shift, else -100."""
    regions = torch.zeros([1] * (len(sizes) + 2), device=like.device)
    for axis, size in enumerate(sizes, start=1):
        place = torch.arange(size, device=like.device)
        region = (place >= size - window).float() + (place >= size - shift).float()
        regions = 3 * regions + region.reshape([-1 if other == axis else 1 for other in range(len(sizes) + 2)])
    labels = partition(regions, window)[0, :, :, 0]
    apart = labels[:, None, :, None] != labels[:, None, None, :]
    return apart.to(like.dtype) * _APART


def partition(tokens: torch.Tensor, window: int) -> torch.Tensor:
    """Cut (B, ..., C) into windows: (B, windows, window ** dimensions, C)."""
    batch, *sizes, channels = tokens.shape
    count = len(sizes)
    split = [length for size in sizes for length in (size // window, window)]
    order = [0, *range(1, 2 * count, 2), *range(2, 2 * count + 1, 2), 2 * count + 1]
    return tokens.reshape(batch, *split, channels).permute(order).reshape(batch, -1, window**count, channels)


def merge(windows: torch.Tensor, shape: Sequence[int], window: int) -> torch.Tensor:
    """Undo :func:`partition`; ``shape`` is that of the tokens."""
    batch, *sizes, channels = shape
    count = len(sizes)
    grid = windows.reshape(batch, *[size // window for size in sizes], *[window] * count, channels)
    order = [0, *[axis + part for axis in range(1, count + 1) for part in (0, count)], 2 * count + 1]
    return grid.permute(order).reshape(shape)


def _padded_convolution(dimensions: int, inputs: int, outputs: int, *, kernel: int) -> list[nn.Module]:
    """Convolution that keeps the size: mirrored at the border in 2D, zeros in 3D, as released."""
    half = kernel // 2
    if dimensions == 2:
        return [nn.ReflectionPad2d(half), nn.Conv2d(inputs, outputs, kernel)]
    return [nn.Conv3d(inputs, outputs, kernel, padding=half)]


def _norm_relu(dimensions: int, width: int) -> list[nn.Module]:
    return [_layer("InstanceNorm", dimensions)(width), nn.ReLU()]


def _layer(name: str, dimensions: int) -> type[nn.Module]:
    return getattr(nn, f"{name}{dimensions}d")


def _initialise(module: nn.Module) -> None:
    """Normal weights of deviation 0.02 and no bias, as the original ResViT trains from."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


#: What ResViT's two trainings share; each has an earlier phase of as many steps.
_LEARNING = {
    **BENCHMARK, "rate": 1e-4, "pretraining_rate": 2e-4, "discriminator_rate": 1e-4, "betas": (0.5, 0.999),
    "warm_up": 0, "floor": 1e-6, "average": 0.0, "mixed": True, "absolute": 100, "adversarial": 2, "matching": 10,
}
FAMILY = Family(
    build=ResViT,
    build_refiner=Refiner,
    objective="training.objectives.adversarial:resvit",
    recipes={
        "slices": Recipe(steps=69_400, pretraining=69_400, batch_size=8, window=(256, 256), **_LEARNING),
        "volumes": Recipe(steps=41_600, pretraining=41_600, batch_size=2, window=(96, 96, 96), **_LEARNING),
        "refiner": Recipe(steps=3_120, window=(96, 96, 96), absolute=1, average=0.0, **SUPERVISED_REFINER),
    },
    # The lowest validation difference, of every fifth epoch.
    published={
        "slices": {"keep": "absolute", "checkpoint_every": 3_470, "augmentation": PUBLISHED_SLICES},
        "volumes": {
            "keep": "absolute", "checkpoint_every": 2_080, "augmentation": PUBLISHED_VOLUMES, "anywhere": True,
        },
        "refiner": {"keep": "absolute", "checkpoint_every": 520, "anywhere": True},
    },
    slice_axes=(0,),
    citation=CITATION,
    size_multiple=4,
    reduced=Size({"filters": 16}, {"filters": 8}, {"width": 16}),
)
