"""The 2.5D perceptual loss of 3D-mDAUNet (eq. 4): slices of two volumes in the features of a network of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ..evaluation import perceptual
from ..evaluation.perceptual import Convolutions
from ..volume import InputError

#: ImageNet's statistics, which both networks were trained with.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: VGG-19 as the torch hub keeps it: file, first digits of its SHA-256, convolutions, before which of them is pooled.
_VGG, _VGG_SHA256 = "vgg19-dcbb9e9d.pth", "dcbb9e9d"
_VGG_INDICES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
_VGG_POOLED = (2, 4, 8, 12)
#: Every so many slices of a view are compared: neighbours look alike, and 96 of each view would take most of the time.
EVERY = 3


class Features(nn.Sequential):
    """Convolutions that are not trained, up to the activation of the last: (n, 1, H, W) in [0, 1] to (n, C, h, w)."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__(*layers)
        self.requires_grad_(False)
        for name, values in (("mean", _MEAN), ("deviation", _DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[:, None, None])

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """Grey slices as colour images with three equal channels."""
        return super().forward((slices.expand(-1, 3, -1, -1) - self.mean) / self.deviation)


def find_features(name: str) -> Features:
    """The network of that name, with its weights.

    Parameters
    ----------
    name
        "alexnet", whose weights LPIPS has, too (:mod:`..evaluation.perceptual` says where from), or "vgg19", as in the
        paper, from the torch hub's cache.

    Raises
    ------
    InputError
        Its weights are missing or damaged.
    """
    if name == "alexnet":
        convolutions = perceptual.alexnet()
        if convolutions is None:
            raise InputError(
                f"{perceptual.features_file()}: is missing, and the perceptual loss needs AlexNet's weights; see "
                "python -m IoUSynthLib.evaluation.perceptual --help, or choose a preset without perception"
            )
        return alexnet(convolutions)
    file = Path(torch.hub.get_dir()) / "checkpoints" / _VGG
    convolutions = perceptual.hub_convolutions(file, _VGG_SHA256, _VGG_INDICES)
    if convolutions is None:
        raise InputError(f"{file}: is missing, and the perceptual loss needs VGG-19; put it there, or choose AlexNet's")
    return vgg19(convolutions)


def alexnet(convolutions: Convolutions) -> Features:
    """AlexNet's five convolutions."""
    layers: list[nn.Module] = []
    for weights, (stride, padding, pooled) in zip(convolutions, perceptual.LAYERS, strict=True):
        layers += [nn.MaxPool2d(3, 2)] if pooled else []
        layers += [_convolution(*weights, stride=stride, padding=padding), nn.ReLU()]
    return Features(layers)


def vgg19(convolutions: Convolutions) -> Features:
    """VGG-19's sixteen convolutions."""
    layers: list[nn.Module] = []
    for number, weights in enumerate(convolutions):
        layers += [nn.MaxPool2d(2)] if number in _VGG_POOLED else []
        layers += [_convolution(*weights, stride=1, padding=1), nn.ReLU()]
    return Features(layers)


def _convolution(kernel: object, bias: object, *, stride: int, padding: int) -> nn.Conv2d:
    outputs, inputs, size, _ = kernel.shape
    layer = nn.Conv2d(inputs, outputs, size, stride, padding)
    layer.weight.data, layer.bias.data = torch.from_numpy(kernel), torch.from_numpy(bias)
    return layer


def perception(features: nn.Module, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of features, summed over axial, coronal and sagittal slices (eq. 4).

    Parameters
    ----------
    features
        Maps (n, 1, H, W) to (n, C, h, w).
    prediction, target
        (B, T, D, H, W) in [0, 1]; no gradient flows to the latter. Every :data:`EVERY`-th slice is compared.
    """
    total = prediction.new_zeros(())
    for axis in (2, 3, 4):
        slices = [image.movedim(axis, 2)[:, :, ::EVERY].flatten(0, 2)[:, None] for image in (prediction, target)]
        with torch.no_grad():
            goal = features(slices[1])
        total = total + (features(slices[0]) - goal).abs().mean()
    return total
