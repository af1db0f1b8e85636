"""The families of generators and the regimes they come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from . import unet

if TYPE_CHECKING:
    import torch

REGIMES = ("2D", "2.5D", "2D+3D-refine", "3D")
FAMILIES: dict[str, Callable[..., torch.nn.Module]] = {"unet": unet.build}


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
