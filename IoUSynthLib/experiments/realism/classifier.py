"""A small network that is trained to tell simulated from real ultrasound patches; its AUC says how well it can.

Patches lie in random planes through the volumes, because simulated grids follow the probe and real ones do not. They
are normalised as for the networks, and simulated training and test cases come from different heads. With only two real
patients there are two ways to ask. Learning from one patient and testing on the other is strict about leakage, but the
network may learn that patient's scanner instead of what makes an image real, and then takes the other for simulated: an
AUC below one half. Learning from one half of both volumes and testing on the other halves is the sharper question.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage, stats
from torch import nn

from ...preprocessing import field_of_view, normalize_ultrasound

PATCH = 32
#: Smallest share of a patch inside the field of view.
INSIDE = 0.95
STEPS = 1000
BATCH = 64
PATCHES = 1500


def sample_patches(array: np.ndarray, inside: np.ndarray, count: int, *, rng: np.random.Generator) -> np.ndarray:
    """Patches of random planes inside a mask.

    Parameters
    ----------
    array
        Ultrasound [z, y, x] at 0.8 mm, at or near 0 outside the fan.
    inside
        Where patches may lie.
    count
        How many.
    rng
        Places and orientations.

    Returns
    -------
    numpy.ndarray
        (count or fewer, 32, 32), float32 in [-1, 1]; fewer when hardly any plane fits into the mask.
    """
    image = normalize_ultrasound(array)
    offsets = np.arange(PATCH) - (PATCH - 1) / 2
    grid = np.stack(np.meshgrid(offsets, offsets, indexing="ij")).reshape(2, -1)
    # The middle of a patch that fits lies at least this deep in the mask.
    centres = np.argwhere(ndimage.binary_erosion(inside, iterations=PATCH // 4))
    found: list[np.ndarray] = []
    for _ in range(20 * count):
        if len(found) == count or not len(centres):
            break
        axes = np.linalg.qr(rng.standard_normal((3, 2)))[0]
        index = centres[rng.integers(len(centres))][:, None] + axes @ grid
        if ndimage.map_coordinates(inside.view(np.uint8), index, order=0, mode="constant").mean() >= INSIDE:
            values = ndimage.map_coordinates(image, index, order=1, mode="constant", cval=-1.0)
            found.append(values.reshape(PATCH, PATCH))
    return np.array(found, dtype=np.float32).reshape(-1, PATCH, PATCH)


def sample_evenly(arrays: Sequence[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """About ``count`` patches inside the fields of view, the same number of every volume where they fit."""
    each = -(-count // len(arrays))
    return np.concatenate([sample_patches(array, field_of_view(array), each, rng=rng) for array in arrays])


def halves(inside: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of a mask, cut across a direction (i, j, k): along the sweep, so that both hold all depths."""
    along = np.einsum("a,azyx->zyx", np.asarray(direction)[::-1], np.indices(inside.shape, dtype=np.float32))
    low = along <= np.median(along[inside])
    return inside & low, inside & ~low


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the receiver operating curve: the share of pairs in which the positive scores higher, ties half.

    It is the Mann-Whitney statistic over the number of pairs (Hanley and McNeil 1982, Radiology 143:29).
    """
    ranks = stats.rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def train(real: np.ndarray, simulated: np.ndarray, *, seed: int = 0, steps: int = STEPS) -> nn.Module:
    """Network that scores patches (n, 32, 32): above 0 it takes them for simulated.

    Batches hold as many real as simulated patches, mirrored at random.
    """
    sources = [torch.from_numpy(patches)[:, None] for patches in (real, simulated)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network()
        _fit(network, sources, steps)
    return network.eval()


def _fit(network: nn.Module, sources: Sequence[torch.Tensor], steps: int) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    wanted = torch.cat([torch.zeros(BATCH // 2), torch.ones(BATCH // 2)])
    for _ in range(steps):
        batch = torch.cat([source[torch.randint(len(source), (BATCH // 2,))] for source in sources])
        axes = [axis for axis in (2, 3) if torch.rand(()) < 0.5]
        loss = nn.functional.binary_cross_entropy_with_logits(network(batch.flip(axes))[:, 0], wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def score(network: nn.Module, patches: np.ndarray) -> np.ndarray:
    """Scores of patches (n, 32, 32), higher for simulated ones."""
    with torch.no_grad():
        return network(torch.from_numpy(patches)[:, None])[:, 0].numpy()


def tell_apart(
    real: dict[str, tuple[np.ndarray, np.ndarray]],
    training: Sequence[np.ndarray],
    test: Sequence[np.ndarray],
    *,
    seed: int = 0,
) -> dict[str, float]:
    """AUC of telling simulated from real patches: 0.5 is chance, 1 is always right.

    Parameters
    ----------
    real
        Two volumes and the directions (i, j, k) of their sweeps, by name.
    training, test
        Simulated volumes of different heads.
    seed
        Of patches, weights and batches.

    Returns
    -------
    dict
        AUC by what was learnt from and tested on: from the first real volume to the second, the other way round, and
        from halves of both to their other halves.
    """
    if len(real) != 2:
        raise ValueError(f"two real volumes are needed, one to learn from and one to test on, not {len(real)}")
    if not training or not test:
        raise ValueError("simulated volumes of different heads are needed for training and for the test")
    rng = np.random.default_rng(seed)
    views = [(array, field_of_view(array), direction) for array, direction in real.values()]
    whole = [sample_patches(array, view, PATCHES, rng=rng) for array, view, _ in views]
    parts = [[sample_patches(a, h, PATCHES // 2, rng=rng) for h in halves(v, d)] for a, v, d in views]
    learnt, tested = (np.concatenate(part) for part in zip(*parts, strict=True))
    seen, unseen = (sample_evenly(arrays, PATCHES, rng) for arrays in (training, test))
    first, second = real
    pairs = {
        f"learnt from {first}, tested on {second}": whole, f"learnt from {second}, tested on {first}": whole[::-1],
        "learnt from halves of both, tested on the other halves": [learnt, tested],
    }
    results = {}
    for name, (known, asked) in pairs.items():
        network = train(known, seen, seed=seed)
        results[name] = auc(score(network, unseen), score(network, asked))
    return results


def tell_apart_by_volume(
    real: Sequence[np.ndarray], training: Sequence[np.ndarray], test: Sequence[np.ndarray], *, seed: int = 0
) -> list[float]:
    """AUC of telling simulated from real patches where the network has seen none of the patients.

    Parameters
    ----------
    real
        Four volumes or more: the network learns from every other one and is tested on the rest, then the other way
        round.
    training, test
        Simulated volumes of different heads.
    seed
        Of patches, weights and batches.

    Returns
    -------
    list of float
        AUC of both ways.
    """
    if len(real) < 4:
        raise ValueError(f"four real volumes are needed, two to learn from and two to test on, not {len(real)}")
    rng = np.random.default_rng(seed)
    seen, unseen = (sample_evenly(arrays, PATCHES, rng) for arrays in (training, test))
    parts = [sample_evenly(real[start::2], PATCHES, rng) for start in (0, 1)]
    results = []
    for known, asked in (parts, parts[::-1]):
        network = train(known, seen, seed=seed)
        results.append(auc(score(network, unseen), score(network, asked)))
    return results


def _network() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 1
    for width in (16, 32, 64):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.GroupNorm(4, width), nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(4, width), nn.LeakyReLU(0.2)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels, 1))
