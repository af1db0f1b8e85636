"""Reading weights out of PyTorch files without executing anything, and checking them against a network."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from ..volume import InputError


def read_checkpoint(path: str | Path) -> dict:
    """Read a PyTorch file that holds a dictionary of tensors and plain values.

    Tensors of a zipped file stay on disk until they are used, so that an optimizer's state costs nothing.

    Raises
    ------
    InputError
        There is no such file, it is damaged, or it holds other Python objects, which could run code.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what matters is said in words
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except pickle.UnpicklingError as error:
        if "nsupported" in str(error) and "lobal" in str(error):
            raise InputError(
                f"{path}: holds Python objects that could run code and was not opened; use the original file"
            ) from error
        raise _damaged(path) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError, MemoryError) as error:
        raise _damaged(path) from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no dictionary of weights; use the original file")
    return content


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: is not a complete PyTorch checkpoint; download it again")


def load_weights(
    network: torch.nn.Module, weights: Mapping[str, object], path: str | Path, *, title: str
) -> None:
    """Put weights into a network after comparing every name, shape and type.

    Parameters
    ----------
    network
        Untrained network of the wanted size.
    weights
        By name, as the network's state dict.
    path
        File that they come from, for messages.
    title
        What the network is, for messages: "ResViT in 2D for T2w".

    Raises
    ------
    InputError
        Names the first weight that is missing, has another shape or type, is not finite or does not belong there.
    """
    expected = network.state_dict()
    for name, wanted in expected.items():
        problem = _mismatch(name, weights.get(name), wanted)
        if problem:
            raise unfit(path, problem, title)
    extra = next((name for name in weights if name not in expected), None)
    if extra is not None:
        raise unfit(path, f"has {extra}, which is no part of it", title)
    network.load_state_dict(dict(weights))


def unfit(path: str | Path, problem: str, title: str) -> InputError:
    """Return the error for weights that do not belong to a network."""
    return InputError(f"{path}: does not fit {title}: {problem}; choose the family, regime and targets it was made for")


def _mismatch(name: str, value: object, wanted: torch.Tensor) -> str:
    if value is None:
        return f"lacks {name}"
    if not isinstance(value, torch.Tensor) or value.is_floating_point() != wanted.is_floating_point():
        return f"{name} is no tensor of {str(wanted.dtype)[6:]} numbers"
    if value.shape != wanted.shape:
        return f"{name} has shape {tuple(value.shape)} in place of {tuple(wanted.shape)}"
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        return f"{name} is not finite"
    if not value.is_floating_point() and wanted.device.type != "meta" and not torch.equal(value, wanted):
        return f"{name} holds other numbers than it must"
    return ""
