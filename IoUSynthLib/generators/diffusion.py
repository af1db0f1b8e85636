"""Few-step adversarial diffusion: the noise schedule, its analytic posterior, and the sampler round a network.

Variance-preserving diffusion in T = 4 steps (Xiao et al. 2022; benchmark section 2.4.3, eq. 7), with signal share
``abar(t) = exp(-(beta_max - beta_min) t^2 / 2 - beta_min t)`` at ``t_i = 0.001 + 0.999 i / T``. As in the published
runs, shares are relative to that at ``t_0``, so that step 0 is the clean image itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

#: Length of the latent vector that the network gets beside image and step.
LATENT = 100
_EARLIEST = 1e-3

Denoise = Callable[[torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True)
class NoiseSchedule:
    """Weights of a diffusion in T steps, of which number 0 is the clean image and T nearly pure noise.

    Attributes
    ----------
    signal, noise
        T + 1 each: ``x_i = signal[i] x_0 + noise[i] e`` with normal e.
    keep, spread
        T each: ``x_{i+1} = keep[i] x_i + spread[i] e``.
    clean_weight, noisy_weight, deviation
        T each: given x_0 and x_{i+1}, x_i is normal with mean ``clean_weight[i] x_0 + noisy_weight[i] x_{i+1}`` and
        this standard deviation, which is 0 at i = 0.
    """

    signal: tuple[float, ...]
    noise: tuple[float, ...]
    keep: tuple[float, ...]
    spread: tuple[float, ...]
    clean_weight: tuple[float, ...]
    noisy_weight: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.keep)


def noise_schedule(steps: int = 4, beta_min: float = 0.1, beta_max: float = 20.0) -> NoiseSchedule:
    """Return the weights of a variance-preserving diffusion, computed in double precision."""
    times = [_EARLIEST + (1.0 - _EARLIEST) * step / steps for step in range(steps + 1)]
    shares = [math.exp(-0.5 * (beta_max - beta_min) * time**2 - beta_min * time) for time in times]
    shares = [share / shares[0] for share in shares]
    kept = [after / before for before, after in itertools.pairwise(shares)]
    rest = [1.0 - share for share in shares]
    return NoiseSchedule(
        signal=tuple(math.sqrt(share) for share in shares),
        noise=tuple(math.sqrt(share) for share in rest),
        keep=tuple(math.sqrt(share) for share in kept),
        spread=tuple(math.sqrt(1.0 - share) for share in kept),
        clean_weight=tuple((1.0 - kept[i]) * math.sqrt(shares[i]) / rest[i + 1] for i in range(steps)),
        noisy_weight=tuple(rest[i] * math.sqrt(kept[i]) / rest[i + 1] for i in range(steps)),
        deviation=tuple(math.sqrt((1.0 - kept[i]) * rest[i] / rest[i + 1]) for i in range(steps)),
    )


def diffuse_pair(
    schedule: NoiseSchedule, clean: torch.Tensor, step: torch.Tensor, *, noise: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x_t and x_{t+1} of one trajectory, as the discriminator compares them.

    Parameters
    ----------
    schedule
        The weights of the steps.
    clean
        (B, C, ...) in [-1, 1].
    step
        (B,) int64, t from 0 to T - 1.
    noise
        Two normal tensors like ``clean``.
    """
    earlier = _at(schedule.signal, step, clean) * clean + _at(schedule.noise, step, clean) * noise[0]
    return earlier, _at(schedule.keep, step, clean) * earlier + _at(schedule.spread, step, clean) * noise[1]


def step_back(
    schedule: NoiseSchedule, clean: torch.Tensor, noisy: torch.Tensor, *, step: int | torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """Draw x_t from the posterior given the clean image and x_{t+1}; at t = 0 that is the clean image.

    Parameters
    ----------
    schedule
        The weights of the steps.
    clean, noisy
        (B, C, ...).
    step
        t from 0 to T - 1, one for all or (B,) int64.
    noise
        Normal, like ``clean``.
    """
    mean = _at(schedule.clean_weight, step, clean) * clean + _at(schedule.noisy_weight, step, clean) * noisy
    return mean + _at(schedule.deviation, step, clean) * noise


def _at(values: Sequence[float], step: int | torch.Tensor, like: torch.Tensor) -> float | torch.Tensor:
    if isinstance(step, int):
        return values[step]
    return like.new_tensor(values)[step].reshape(-1, *[1] * (like.ndim - 1))


def sample(denoise: Denoise, start: torch.Tensor, noise: torch.Tensor, *, schedule: NoiseSchedule) -> torch.Tensor:
    """Walk from noise to an image.

    Parameters
    ----------
    denoise
        Maps x_{t+1} (B, C, ...) and t to an estimate of the clean image.
    start
        x_T, normal, (B, C, ...).
    noise
        (T - 1, ...), broadcast against ``start``: what is drawn after each step but the last.
    schedule
        The weights of the steps.
    """
    image = start
    for step in reversed(range(1, schedule.steps)):
        clean = denoise(image, step)
        image = step_back(schedule, clean, image, step=step, noise=noise[schedule.steps - 1 - step])
    return denoise(image, 0)


class Sampler(nn.Module):
    """A diffusion network as a map from ultrasound to MRI, which every other part of the house can run and export.

    All random numbers are drawn once and kept, so that the same ultrasound always gives the same image, neighbouring
    slices get the same noise, and an exported file needs no random numbers. Others may be given, for other samples of
    the image. (The published runs drew fresh noise for each slice from a generator seeded once a run, so that an image
    depended on what was predicted before it.)

    Parameters
    ----------
    network
        Called with x_{t+1} (B, targets, ...), the ultrasound, t (B,) int64 and a latent vector (B, 100).
    targets
        Number of contrasts.
    size
        Height and width, or depth, height and width, that it runs at.
    seed
        Of the random numbers.
    steps
        T.
    """

    def __init__(
        self, network: nn.Module, targets: int, size: Sequence[int], *, seed: int = 42, steps: int = 4
    ) -> None:
        super().__init__()
        self.network = network
        self.schedule = noise_schedule(steps)
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("noise", torch.randn((steps, 1, targets, *size), generator=generator))
        self.register_buffer("latent", torch.randn((steps, LATENT), generator=generator))

    @property
    def numbers(self) -> torch.Tensor:
        """All random numbers, (1, N): the noise of every step, then the latent vectors."""
        return torch.cat([self.noise.flatten(), self.latent.flatten()])[None]

    def forward(self, image: torch.Tensor, numbers: torch.Tensor | None = None) -> torch.Tensor:
        """(B, slices, *size) ultrasound in [-1, 1] to (B, targets, *size) MRI in [-1, 1].

        Standard normal ``numbers``, as many as :attr:`numbers` and in their order, take the place of these.
        """
        batch, noise, latent = image.shape[0], self.noise, self.latent
        if numbers is not None:
            parts = numbers[0].split([noise.numel(), latent.numel()])
            noise, latent = parts[0].reshape(noise.shape), parts[1].reshape(latent.shape)

        def denoise(noisy: torch.Tensor, step: int) -> torch.Tensor:
            steps = torch.full((batch,), step, dtype=torch.int64, device=image.device)
            return self.network(noisy, image, steps, latent[step].expand(batch, -1))

        start = noise[0].expand(batch, *noise.shape[2:])
        return sample(denoise, start, noise[1:], schedule=self.schedule)
