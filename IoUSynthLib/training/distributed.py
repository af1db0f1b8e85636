"""Several processes that train one network: who takes part, and what they exchange.

``torchrun`` starts the processes and describes them in environment variables; without it there is one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as group
from torch.nn.parallel import DistributedDataParallel

from ..volume import InputError

#: Scoring a checkpoint, which the first process does alone, may keep the others waiting for long.
PATIENCE = timedelta(hours=3)


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes
    ----------
    rank
        Number of this process; 0 writes and reports.
    size
        Number of processes on all nodes.
    local_rank
        Number of this process on its node, and of the GPU that it uses there.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> World:
        """As torchrun describes it; one process alone without it."""
        rank, size, local = (int(os.environ.get(name, one_alone)) for name, one_alone in _VARIABLES.items())
        return cls(rank=rank, size=size, local_rank=local)

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def device(self, name: torch.device | str) -> torch.device:
        """The device of that name; "cuda" without a number is this process's own GPU.

        Raises
        ------
        InputError
            The node has no GPU for this process.
        """
        device = torch.device(name)
        if device.type != "cuda":
            return device
        number = self.local_rank if device.index is None else device.index
        if number >= torch.cuda.device_count():
            raise InputError(
                f"device {name}: process {self.local_rank} of this node has no GPU of its own "
                f"({torch.cuda.device_count()} found); start as many processes as there are GPUs, or choose cpu"
            )
        return torch.device("cuda", number)

    @contextlib.contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Connect the processes for the time of the block, unless there is one or the caller has connected them."""
        if self.size == 1 or group.is_initialized():
            yield
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
        group.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        try:
            yield
        finally:
            group.destroy_process_group()

    def parallel(self, network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        """The network as all processes train it: gradients are averaged, weights start as the first process has them.

        To be followed by :meth:`average_buffers` after every step of a network with batch normalisation; else only the
        first process's statistics would count.
        """
        if self.size == 1:
            return network
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices)

    @torch.no_grad()
    def average_buffers(self, network: torch.nn.Module) -> None:
        """Give all processes the mean of their floating-point buffers, that is of batch normalisation's statistics."""
        if self.size == 1:
            return
        self._average([buffer for buffer in network.buffers() if buffer.is_floating_point()])

    def _average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors by their means over the processes."""
        if not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        group.all_reduce(flat)
        parts = (flat / self.size).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give all processes the mean of their gradients, of networks that :meth:`parallel` does not look after.

        Their weights must be the same from the start, as they are after the same seed.
        """
        if self.size > 1:
            self._average([parameter.grad for parameter in parameters if parameter.grad is not None])

    def sum(self, values: dict[str, float]) -> dict[str, float]:
        """Add up the numbers of all processes, which must have the same names."""
        if self.size == 1:
            return values
        total = torch.tensor(list(values.values()), dtype=torch.float64)
        group.all_reduce(total)
        return dict(zip(values, total.tolist(), strict=True))

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Stack a CPU tensor of the same shape of all processes along a first axis."""
        if self.size == 1:
            return tensor[None]
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        group.all_gather(parts, tensor)
        return torch.stack(parts)


def to_device(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Move a network; of slices, its weights are laid out with the channels last, which is faster."""
    volumes = any(parameter.ndim == 5 for parameter in network.parameters())
    return network.to(device) if volumes else network.to(device, memory_format=torch.channels_last)


_VARIABLES = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
