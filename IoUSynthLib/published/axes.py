"""Networks that were trained on arrays with the axes in another order than this library's."""

from __future__ import annotations

import torch
from torch import nn


class ReversedAxes(nn.Module):
    """A network that was trained on arrays with the axes in the opposite order.

    The benchmark indexed its NIfTI files as [x, y, z] and took slices [x, y]; this library has [z, y, x] and [y, x].
    Reversing the spatial axes before and after the network makes the one of the other.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (B, C, ...) to (B, T, ...) with the spatial axes of the caller."""
        return self._reverse(self.network(self._reverse(image)))

    @staticmethod
    def _reverse(image: torch.Tensor) -> torch.Tensor:
        return image.permute(0, 1, *range(image.ndim - 1, 1, -1))
