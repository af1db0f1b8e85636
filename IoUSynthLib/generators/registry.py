"""The families of generators and the regimes they come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

REGIMES = ("2D", "2.5D", "2D+3D-refine", "3D")


def _family(module: str) -> Callable[..., torch.nn.Module]:
    """Return a family's ``build``; its module, and with it torch, is imported at the first call."""

    def build_family(regime: str, targets: Sequence[str], **size: object) -> torch.nn.Module:
        return import_module(f".{module}", __package__).build(regime, targets, **size)

    return build_family


FAMILIES: dict[str, Callable[..., torch.nn.Module]] = {
    name: _family(name) for name in ("unet", "pix2pix", "swin_pix2pix", "cyclegan", "cut", "resvit", "syndiff")
}


def build(family: str, regime: str, targets: Sequence[str] = ("T2w",), **size: object) -> torch.nn.Module:
    """Build an untrained generator.

    Parameters
    ----------
    family
        A name in ``FAMILIES``.
    regime
        A name in ``REGIMES``; a family raises ``ValueError`` for one that it does not have.
    targets
        MR contrasts to synthesize, in the order of the output channels.
    **size
        Widths and the like, as the family's own ``build`` documents them.

    Raises
    ------
    ValueError
        Unknown family or regime.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; choose from {', '.join(FAMILIES)}")
    if regime not in REGIMES:
        raise ValueError(f"unknown regime {regime!r}; choose from {', '.join(REGIMES)}")
    return FAMILIES[family](regime, tuple(targets), **size)


def build_refiner(family: str, targets: Sequence[str] = ("T2w",), **size: object) -> torch.nn.Module:
    """Build the untrained second stage of a family's 2D+3D-refine, which maps (B, targets, D, H, W) to the same.

    ResViT and SynDiff have refiners of their own; all other families share that of :mod:`.regimes`. SynDiff's takes
    the ultrasound as a further channel.
    """
    module = family if family in ("resvit", "syndiff") else "regimes"
    return import_module(f".{module}", __package__).build_refiner(tuple(targets), **size)
