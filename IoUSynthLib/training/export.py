"""From a trained network to a bundle that the operating room can run."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

OPSET = 18
#: Largest difference between ONNX Runtime and torch that an export may show, in units of the network's output.
TOLERANCE = 1e-3


def export_onnx(
    network: torch.nn.Module, channels: int, path: Path, size_multiple: int = 16, size: Sequence[int] | None = None
) -> float:
    """Write a network as ONNX with free batch, and height and width free or all sizes fixed, and compare it with torch.

    Parameters
    ----------
    network
        Maps (B, channels, H, W) to (B, outputs, H, W), or the same with (D, H, W) of fixed ``size``.
    channels
        Number of input channels.
    path
        File to write.
    size_multiple
        Free H and W are multiples of this.
    size
        The only (H, W) or (D, H, W) that the network will see; None leaves H and W free.

    Returns
    -------
    float
        Largest absolute difference between ONNX Runtime and torch on random images, of two sizes where they are free.

    Raises
    ------
    RuntimeError
        The difference exceeds ``TOLERANCE``.
    """
    network = network.eval().to("cpu", memory_format=torch.contiguous_format)
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.randn(2, channels, *(size or (4 * size_multiple, 6 * size_multiple)))
    dynamic = torch.export.Dim.DYNAMIC
    free = {0: dynamic} if size else {0: dynamic, 2: dynamic, 3: dynamic}
    torch.onnx.export(
        network,
        (example,),
        str(path),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["prediction"],
        dynamic_shapes=(free,),
        external_data=False,
        verbose=False,
    )
    sizes = [tuple(size)] if size else [(5 * size_multiple, 5 * size_multiple), (8 * size_multiple, 4 * size_multiple)]
    difference = _compare(network, channels, path, sizes)
    if difference > TOLERANCE:
        raise RuntimeError(f"{path}: ONNX Runtime and torch differ by {difference:.2e}, more than {TOLERANCE:.0e}")
    return difference


@torch.no_grad()
def _compare(network: torch.nn.Module, channels: int, path: Path, sizes: Sequence[Sequence[int]]) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch, size in zip((1, 3), sizes, strict=False):
        image = torch.randn((batch, channels, *size), generator=generator)
        (result,) = session.run(None, {"image": image.numpy()})
        worst = max(worst, float(np.abs(result - network(image).numpy()).max()))
    return worst


def write_bundle(folder: Path, model: Path, metadata: dict, card: str, licence: Path) -> Path:
    """Lay out a bundle as MONAI does: configs/metadata.json, models/model.onnx, docs/README.md, LICENSE.

    Parameters
    ----------
    folder
        The bundle; what it holds is replaced.
    model
        ONNX file.
    metadata
        Content of metadata.json; the model's SHA-256 is added to its "iousynth" section.
    card
        Text of the model card.
    licence
        Text of the licence.
    """
    for part in ("configs", "models", "docs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    target = folder / "models" / "model.onnx"
    if model.resolve() != target.resolve():
        shutil.copyfile(model, target)
    checksum = hashlib.sha256(target.read_bytes()).hexdigest()
    section = {**metadata["iousynth"], "checksums": {"models/model.onnx": checksum}}
    text = json.dumps({**metadata, "iousynth": section}, indent=2, ensure_ascii=False)
    (folder / "configs" / "metadata.json").write_text(text + "\n", encoding="utf-8")
    (folder / "docs" / "README.md").write_text(card, encoding="utf-8")
    shutil.copyfile(licence, folder / "LICENSE")
    return folder
