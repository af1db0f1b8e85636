"""What chooses a checkpoint, by networks whose worth is known."""

import numpy as np
import pytest
import torch

from IoUSynthLib.cases.case import NO_TUMOUR, UNLABELLED
from IoUSynthLib.evaluation import perceptual
from IoUSynthLib.training.data import PatchBatches, SliceBatches, TrainingVolume
from IoUSynthLib.training.losses import WeightedLoss
from IoUSynthLib.training.selection import loss_score, overlap_score, perceptual_score

CUBE = (64, 64, 64)


class Copy(torch.nn.Module):
    """Gives the middle slice of the input, ``scale`` times, in every channel."""

    def __init__(self, channels: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))
        self.channels = channels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.scale * image[:, 1:2].repeat(1, self.channels, 1, 1)


class Classes(torch.nn.Module):
    """Calls class 1 what is above ``threshold``, class 2 what is below its negative."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = torch.nn.Parameter(torch.tensor(threshold))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        middle = image[:, 1]
        return torch.stack([self.threshold.expand_as(middle), middle, -middle], 1)


def batches(target: np.ndarray, image: np.ndarray) -> SliceBatches:
    fan = np.ones(CUBE, bool)
    volume = TrainingVolume(image[None].astype(np.float16), target.astype(np.float16), fan, np.argwhere(fan)[::999])
    return SliceBatches([volume], 4, 64, seed=0, augment=False)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, CUBE)


def test_overlap_is_0_for_the_truth_and_grows_with_the_error(image: np.ndarray) -> None:
    truth = np.select([image > 0.5, image < -0.5], [1, 2], 0)[None]
    score = overlap_score(batches(truth, image))
    assert score(Classes(0.5)) == pytest.approx(0, abs=1e-3)
    assert score(Classes(2.0)) == pytest.approx(1)
    assert score(Classes(0.5)) < score(Classes(0.6)) < score(Classes(0.8))


def test_overlap_counts_only_what_is_known(image: np.ndarray) -> None:
    truth = np.select([image > 0.5, image < -0.5], [1, 2], 0)[None]
    truth[:, :, :10], truth[:, :, 10:20] = UNLABELLED, NO_TUMOUR  # whatever is found there
    assert overlap_score(batches(truth, image))(Classes(0.5)) == pytest.approx(0, abs=1e-3)


def test_lpips_is_0_for_the_truth_and_grows_with_the_error(image: np.ndarray) -> None:
    if perceptual.load() is None:
        pytest.skip("the weights of LPIPS are not here")
    score = perceptual_score(batches(np.stack([image, image]), image))
    assert score(Copy(3)) == pytest.approx(0, abs=1e-5)
    assert 0 < score(Copy(3, 0.9)) < score(Copy(3, 0.3))


class Watching(torch.nn.Module):
    """Gives the ultrasound, and keeps how much of each patch is in the fan."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0))
        self.filled: list[int] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.filled += (image > -1).flatten(1).sum(1).tolist()
        return self.scale * image


@pytest.mark.parametrize("window", [(8, 16, 16), (48, 48, 48)])
def test_patches_that_choose_are_many_and_well_filled(window: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of windows smaller and larger than the fan, a ball; the score is near the error over the whole of the case."""
    error_in_fan = lambda found, true: np.abs(found - true).sum((1, 2)) / (true > -1).sum((1, 2)).mean()  # noqa: E731
    monkeypatch.setattr(perceptual, "load", lambda: error_in_fan)
    place = np.indices((40, 40, 40)) - 20
    fan = (place**2).sum(0) < 14**2
    image = np.where(fan, 0.0, -1)[None].astype(np.float16)
    error = np.where(fan, np.abs(place).sum(0) / 40 + 0.1, 0)  # grows from the middle to the rim
    volume = TrainingVolume(image, image + error[None].astype(np.float16), fan, np.argwhere(fan)[::7])
    network = Watching()
    score = perceptual_score(PatchBatches([volume], 2, window, seed=0, augment=False))(network)
    assert len(network.filled) >= 64
    assert min(network.filled) >= 0.5 * min(np.prod(window), fan.sum())
    assert score == pytest.approx(error[fan].mean(), rel=0.15)


def test_losses_of_known_networks(image: np.ndarray) -> None:
    """The absolute difference by hand; SSIM says which copy is the better one, and 0 of the truth."""
    source = batches(image[None], image)
    fan = np.concatenate([np.abs(source.draw(number).target.numpy()).ravel() for number in range(6)])
    assert loss_score(source, WeightedLoss(1.0))(Copy(1, 0.5)) == pytest.approx(0.5 * fan.mean(), rel=1e-3)
    similarity = loss_score(source, WeightedLoss(0.0, structure=1.0))
    assert similarity(Copy(1)) == pytest.approx(0, abs=1e-5)
    assert 0 < similarity(Copy(1, 0.9)) < similarity(Copy(1, 0.3))


def test_without_the_weights_of_lpips_nothing_is_chosen(image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "load", lambda: None)
    assert perceptual_score(batches(np.stack([image, image]), image)) is None
