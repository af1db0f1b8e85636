"""The published SynDiff weights (Zenodo 10.5281/zenodo.22213625): non-commercial research only."""

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
CITATION = (
    "Benchmark of intraoperative ultrasound to MRI synthesis on ReMIND, weights: doi:10.5281/zenodo.22213625; "
    "SynDiff: Ozbey et al., IEEE Trans. Med. Imaging 42 (2023) 3524-3539"
)
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
    load_weights(network, weights, path, title)
    return network.eval()
