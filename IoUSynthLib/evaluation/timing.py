"""How long a model takes and how much memory, as the ioUS-to-MR benchmark measured it (arXiv 2606.00630, table 10).

Ten runs to warm up, thirty that are timed. A volume is 50 axial slices, one by one, or, in 3D, as many windows as 128
voxels along each axis take with the model's overlap: 8 of 96 voxels that share 24, 27 of 64 that share 16. What a case
takes in the pipeline, with all slice axes, outlines and files, is another figure: ``run/prediction/seconds`` of the
scores.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..inference import open_session
from ..models.bundle import Bundle, load
from ..volume import InputError
from .operations import multiplications

TIMING = "timing.json"
WARM_UP, TIMED, SLICES, SIDE = 10, 30, 50, 128


def time_model(model: str, device: str = "auto") -> dict[str, Any]:
    """Time the networks of a generator on noise.

    Call it before the model is used for anything else in the process: on a GPU what was taken earlier would not count.

    Returns
    -------
    dict
        ``model``, ``sha256``, ``device`` (as it was used), ``warm_up``, ``timed``; ``networks``, each with ``runs`` a
        volume and ``seconds`` a run (median); ``seconds`` a volume; ``parameters``, the floating-point constants of the
        networks' files, and ``multiplications`` of a volume (:func:`.operations.multiplications`), None without the
        package onnx; ``gpu_mib``, what the GPU's memory grew by, None on a processor
        or where nvidia-smi does not tell.

    Raises
    ------
    InputError
        The model or the device cannot be used.
    """
    bundle, before = load(model), _gpu_mib()
    networks = [network for network in (bundle, bundle.refiner) if network is not None]
    found = [_time(network, device) for network in networks]
    used, after = found[0].pop("device"), _gpu_mib()
    on_gpu = used == "cuda" and before is not None and after is not None
    return {
        "model": bundle.name, "sha256": bundle.sha256, "device": used, "warm_up": WARM_UP, "timed": TIMED,
        "networks": found, "seconds": sum(one["runs"] * one["seconds"] for one in found),
        **_counts(networks), "gpu_mib": after - before if on_gpu else None,
    }  # fmt: skip


def runs_of(bundle: Bundle) -> int:
    """How often a network runs for the volume."""
    if bundle.regime != "3D":
        return SLICES
    strides = [side * (1 - bundle.overlap) for side in bundle.window]
    return math.prod(
        max(0, math.ceil((SIDE - side) / stride)) + 1 for side, stride in zip(bundle.window, strides, strict=True)
    )


def _time(bundle: Bundle, device: str) -> dict[str, Any]:
    session = open_session(bundle, device)
    batch = np.random.default_rng(0).uniform(-1, 1, _shape(bundle)).astype(np.float32)
    seconds = []
    for _ in range(WARM_UP + TIMED):
        started = time.perf_counter()
        session.run(batch)  # the result is on the processor when it returns, so that nothing is still running
        seconds.append(time.perf_counter() - started)
    return {
        "runs": runs_of(bundle), "seconds": statistics.median(seconds[WARM_UP:]), "window": list(bundle.window),
        "device": session.device,
    }  # fmt: skip


def _shape(bundle: Bundle) -> tuple[int, ...]:
    """Of what a network takes at once."""
    channels = len(bundle.inputs) * (3 if bundle.regime == "2.5D" else 1)
    return (1, channels, *bundle.window)


def _counts(networks: Sequence[Bundle]) -> dict[str, int | None]:
    """Parameters, and multiplications of a volume."""
    try:
        import onnx
    except ImportError:
        return {"parameters": None, "multiplications": None}
    models = [onnx.load_from_string(network.read_network()) for network in networks]
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    constants = [constant for model in models for constant in model.graph.initializer]
    each = [multiplications(model, _shape(network)) for model, network in zip(models, networks, strict=True)]
    return {
        "parameters": sum(math.prod(constant.dims) for constant in constants if constant.data_type in kinds),
        "multiplications": None if None in each else sum(
            runs_of(network) * count for network, count in zip(networks, each, strict=True)
        ),
    }  # fmt: skip


def _gpu_mib() -> float | None:
    """Memory of the first GPU that is in use."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
        return float(told.splitlines()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def write_timing(path: Path, timing: dict[str, Any]) -> None:
    """Write what :func:`time_model` found."""
    path.write_text(json.dumps(timing, indent=1) + "\n", encoding="utf-8")


def read_timing(path: Path) -> dict[str, Any]:
    """Read it back; nothing where there is no such file.

    Raises
    ------
    InputError
        The file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        timing = json.loads(path.read_text(encoding="utf-8"))
        return {**timing, "seconds": float(timing["seconds"]), "device": str(timing["device"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({error!r}); remove it, or measure again") from error
