"""The families of generators and the regimes they come in: every file of this folder that holds a ``FAMILY``."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from .family import CHANNELS, REGIMES, Family

if TYPE_CHECKING:
    import torch

#: Files of this folder that are no family, but shared by families. The others are not imported to be listed, because
#: torch would be, too.
SHARED = ("blocks", "diffusion", "family", "gan", "recipe", "registry", "skip_unet", "unified")


def get_family(name: str) -> Family:
    """Import a family's file, and with it torch.

    Raises
    ------
    ValueError
        Unknown family.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown family {name!r}; choose from {', '.join(FAMILIES)}")
    return import_module(f".{name}", __package__).FAMILY


def build(family: str, regime: str, targets: Sequence[str] = ("T2w",), **size: object) -> torch.nn.Module:
    """Build an untrained generator.

    Parameters
    ----------
    family
        A name in ``FAMILIES``.
    regime
        A name in ``REGIMES``. 2D and 2D+3D-refine, whose second stage :func:`build_refiner` makes, take one slice of
        ultrasound, (B, 1, H, W) in [-1, 1], 2.5D its two neighbours, too, (B, 3, H, W), and 3D volumes (B, 1, D, H, W).
    targets
        MR contrasts to synthesize, in the order of the output channels; the U-Net has a further one for the logarithm
        of its error. Of a unified family, all images that may come in, too.
    **size
        Widths and the like, as the network of the family documents them.

    Raises
    ------
    ValueError
        Unknown family or regime, or a regime in which the family does not come.

    Examples
    --------
    >>> import torch
    >>> network = build("unet", "2.5D", ("T2w", "FLAIR"), features=(8, 8, 8, 8, 8, 8))
    >>> tuple(network(torch.zeros(1, 3, 64, 64)).shape)
    (1, 3, 64, 64)
    """
    found = get_family(family)
    if regime not in REGIMES:
        raise ValueError(f"unknown regime {regime!r}; choose from {', '.join(REGIMES)}")
    if regime not in found.regimes:
        raise ValueError(f"the family {family} works in {' and '.join(found.regimes)}, not in {regime}")
    inputs = len(targets) if found.unified else CHANNELS[regime]
    return found.build(3 if regime == "3D" else 2, inputs, len(targets) + found.estimates_error, **size)


def build_refiner(family: str, targets: Sequence[str] = ("T2w",), **size: object) -> torch.nn.Module:
    """Build the untrained second stage of a family's 2D+3D-refine, which maps (B, targets, D, H, W) to the same.

    ResViT and SynDiff have refiners of their own; the GAN families share that of :mod:`.gan`. SynDiff's takes the
    ultrasound as a further channel.

    Raises
    ------
    ValueError
        Unknown family, or one without a refiner.
    """
    found = get_family(family)
    if found.build_refiner is None:
        raise ValueError(f"the family {family} has no refiner")
    return found.build_refiner(len(targets), **size)


#: Makers of the families' untrained generators, by name: ``FAMILIES[name](regime, targets, **size)``.
FAMILIES: dict[str, Callable[..., torch.nn.Module]] = {
    module.name: partial(build, module.name)
    for module in pkgutil.iter_modules([str(Path(__file__).parent)])
    if module.name not in SHARED
}
