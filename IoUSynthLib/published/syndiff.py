"""The published SynDiff weights (Zenodo 10.5281/zenodo.22213625): non-commercial research only.

What is known of the order of axes, from the authors' repository (smcch/ious2mr-benchmark, ``src/syndiff``):

* In 2D its evaluation transposes each slice [x, y] before the network and back after it, because the original SynDiff's
  data loader transposes the last two axes. The network thus sees [y, x], this library's order.
* In 2.5D neither trainer nor evaluation was released. That loader transposes stacks of slices in the same way, so the
  order is taken to be the same, neighbours from below to above.
* In 3D only the network was released (``backbones3d.py``; ours agrees with it layer by layer). The loader knows slices
  alone, so cubes are taken as nibabel gives them, [x, y, z].

By the authors' account (``docs/methodology_training.md``) training flipped slices at random, so that the order of the
axes matters and their directions do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..generators import build
from ..generators.syndiff import SliceNetwork, VolumeNetwork
from .checkpoint import load_weights, read_checkpoint, unfit

LICENCE = "LicenseRef-NVIDIA-Source-Code-License-NC"
LICENCE_TERMS = (
    "The SynDiff weights are under the NVIDIA Source Code License for non-commercial use: research and evaluation "
    "only, no commercial and no clinical use."
)
#: What the licence wants to be kept with copies, from the headers of the two programs that the weights derive from.
NOTICES = (
    "Denoising Diffusion GAN: Copyright (c) 2022, NVIDIA CORPORATION. All rights reserved. "
    "SynDiff: Copyright (c) 2022 ICON Lab, MIT licence."
)
CITATION = (
    "Benchmark of intraoperative ultrasound to MRI synthesis on ReMIND, weights: doi:10.5281/zenodo.22213625; "
    "SynDiff: Ozbey et al., IEEE Trans. Med. Imaging 42 (2023) 3524-3539"
)

#: SHA-256 of the published generators, from the authors' configs/weights_manifest.json: regimes and targets.
PUBLISHED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "8e3ce2b7f95c771b0ddb0a56b572bda3ea29a50fc8a2d40cfcbae9eee5826284": (("2D",), ("T2w",)),
    "a4bc6247a2d4699addb60dd967108e02a53e0791dacb288a70b626e9145f748c": (("2.5D",), ("T2w",)),
    "1ba62c1be37023e8aa05d603dcbf8098327c812247d142a22217c9949ffd0a70": (("2D+3D-refine",), ("T2w",)),
    "698e39f1e4f9de43dab63ebfd4566b06d43136dfb305691a563223a125d8616c": (("3D",), ("T2w",)),
    # One file serves both regimes.
    "f478a4ec31b209a972503c674320b8052e77b013b88805aca83f48f24699d0ae": (("2D", "2D+3D-refine"), ("T2w", "FLAIR")),
    "33d1b35edfb4e65d5774c8c3111a513d219670ec2818fd90a3b51829c1f2937a": (("2.5D",), ("T2w", "FLAIR")),
    "a9c5edaa0962c15d412baef8a66a226cdcd3ed808186ec14f219f26e298f79ca": (("3D",), ("T2w", "FLAIR")),
}
#: What a network that was trained on several GPUs puts before every name.
_PREFIX = "module."


def load_syndiff(path: str | Path, regime: str, targets: Sequence[str]) -> SliceNetwork | VolumeNetwork:
    """Load a SynDiff generator; the width follows from the shapes.

    Parameters
    ----------
    path
        ``gen_diffusive_2_*.pth``: the weights alone, with or without "module." before their names.
    regime
        A name in ``generators.REGIMES``; of 2D+3D-refine this is the first stage. The names in the published refiner
        (``refiner_20.pth``) are not known, so that it cannot be read.
    targets
        MR contrasts, in the order of the noisy channels.

    Returns
    -------
    torch.nn.Module
        One step of the diffusion, ready for inference; :class:`generators.diffusion.Sampler` makes images of it.

    Raises
    ------
    InputError
        The file cannot be read, or does not fit; names the first weight that does not.
    """
    weights = {str(name).removeprefix(_PREFIX): value for name, value in read_checkpoint(path).items()}
    title = f"SynDiff in {regime} for {' and '.join(targets)}"
    first = "input_conv.weight" if regime == "3D" else "all_modules.2.weight"
    shape = tuple(getattr(weights.get(first), "shape", ()))
    if len(shape) < 2 or shape[0] < 4:  # sines and cosines of at least two frequencies
        raise unfit(path, f"lacks {first}", title)
    network = build("syndiff", regime, targets, filters=shape[0])
    load_weights(network, weights, path, title=title)
    return network.eval()
