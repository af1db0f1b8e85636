"""A critic of patches, which sees the ultrasound beside the MRI."""

from __future__ import annotations

import torch
from torch.nn.utils.parametrizations import spectral_norm


def patch_discriminator(inputs: int, width: int = 32, layers: int = 2) -> torch.nn.Module:
    """PatchGAN (Isola et al. 2017) with spectral normalisation (Miyato et al. 2018) in place of batch normalisation.

    MONAI's discriminator. With the default of two layers each judgement sees a square of 34 voxels, 27 mm at 0.8 mm:
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
        Maps (B, inputs, H, W) to a list of layers (B, C, h, w), the last of which is the judgement, (B, 1, h, w).
    """
    from monai.networks.nets import PatchDiscriminator

    network = PatchDiscriminator(
        spatial_dims=2, channels=width, in_channels=inputs, num_layers_d=layers, norm=None, bias=True
    )
    for module in list(network.modules()):
        if isinstance(module, torch.nn.Conv2d):
            spectral_norm(module)
    return network
