"""Sessions of ONNX Runtime, or of PyTorch for TorchScript, and which device they really run on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..constants import DEVICES
from ..models.bundle import Bundle
from ..parallel import usable_cores
from ..volume import InputError
from .torchscript import FEATURES, PREDICTION, PROVIDERS, ScriptedNetwork, open_torchscript

if TYPE_CHECKING:
    from types import ModuleType

    import onnxruntime

#: What the inputs are called by which a network draws: (1, N) standard normal numbers, and, where it has one, the
#: factor of its deviations. They have defaults.
NOISE, TEMPERATURE = "noise", "temperature"

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
#: A fixed choice of algorithm would be searched anew for each input shape; "DEFAULT" is slow with cuDNN 9.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
#: How ONNX Runtime, PyTorch, CUDA and the C++ library say that memory is short.
_NO_MEMORY = re.compile(
    r"(?i)allocat\w+ failed|fail\w* to allocate|can't allocate|out of memory|bad_?\s?alloc|alloc_failed"
)


class Session:
    """A network that is ready to run.

    Attributes
    ----------
    device
        ``cpu`` or ``cuda``: read back from the runtime, not what was asked for.
    runtime
        ``ONNX Runtime`` or ``TorchScript``.
    providers
        What the runtime calls what is in use, the first choice first.
    unused
        Providers that were asked for and are not in use: ONNX Runtime falls back without a word.
    features
        Names of the outputs of its encoder; none where the file does not give them.
    defaults
        Shapes of the inputs that have defaults, by name.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession | ScriptedNetwork, asked: Sequence[str], bundle: Bundle
    ) -> None:
        self._session, self._path, self._outputs = session, bundle.path, len(bundle.outputs)
        self.providers = tuple(session.get_providers())
        self.runtime = "TorchScript" if bundle.is_torchscript else "ONNX Runtime"
        self.device = "cuda" if self.providers[0] in (_CUDA, PROVIDERS["cuda"]) else "cpu"
        self.unused = tuple(provider for provider in asked if provider not in self.providers)
        names = [node.name for node in session.get_outputs()]
        self.features = tuple(name for name in names if name.startswith(FEATURES))
        with_defaults = () if bundle.is_torchscript else session.get_overridable_initializers()
        self.defaults = {node.name: tuple(node.shape) for node in with_defaults}

    def run(self, batch: np.ndarray, given: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """Run the network on a float32 batch (B, C, ...) and return its prediction (B, outputs, ...).

        What else is ``given`` by name takes the place of an input's default.

        Raises
        ------
        InputError
            It cannot be run, makes another shape, or the graphics card has too little memory.
        MemoryError
            The computer has.
        """
        (prediction,) = self._run([PREDICTION], {"image": batch, **(given or {})})
        if prediction.shape != (len(batch), self._outputs, *batch.shape[2:]):
            raise InputError(
                f"{self._path}: the network made {prediction.shape} of {batch.shape}, not {self._outputs} images of "
                "that size; export it again"
            )
        return prediction

    def encode(self, batch: np.ndarray) -> list[np.ndarray]:
        """Run the network and return what its encoder makes of a batch, (B, channels, ...) at each of its levels."""
        return self._run(list(self.features), {"image": batch})

    def sampled(self, seed: Sequence[int], temperature: float | None = None) -> SampledSession:
        """Return the network with its random numbers drawn, of a seed of one or more whole numbers."""
        noise = np.random.default_rng(seed).standard_normal(self.defaults[NOISE], dtype=np.float32)
        given = {NOISE: noise}
        if temperature is not None:
            given[TEMPERATURE] = np.array(temperature, np.float32)
        return SampledSession(self, given)

    def _run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return self._session.run(names, inputs)
        except Exception as error:  # ONNX Runtime has a dozen exception classes without a common base
            if not _NO_MEMORY.search(str(error)):
                raise InputError(f"{self._path}: the network cannot be run ({error}); export it again") from error
            if self.device == "cpu":
                raise MemoryError("the network needs more memory than is free; crop the volume to the fan") from error
            raise InputError(
                "device cuda: the graphics card has too little free memory; close other programs that use it, or "
                "choose the device cpu"
            ) from error


@dataclass(frozen=True, eq=False)
class SampledSession:
    """A network whose random numbers are drawn, the same for all windows of a volume: it makes one sample.

    Attributes
    ----------
    session
        The network.
    given
        What it is given beside the image, by name.
    """

    session: Session
    given: dict[str, np.ndarray]

    @property
    def device(self) -> str:
        """Of the session."""
        return self.session.device

    def run(self, batch: np.ndarray) -> np.ndarray:
        """As :meth:`Session.run`."""
        return self.session.run(batch, self.given)


_sessions: dict[tuple[Path, str, str], Session] = {}


def open_session(bundle: Bundle, device: str = "auto") -> Session:
    """Verify a model's checksum and open it, or return the session that is open already.

    Parameters
    ----------
    bundle
        The model.
    device
        ``auto`` takes CUDA where it works and the CPU elsewhere; ``cuda`` insists.

    Raises
    ------
    InputError
        The model's runtime is not installed, the checksum does not match, the file is not a network that fits its
        metadata, or CUDA was asked for and does not work.
    """
    if device not in DEVICES:
        raise InputError(f"device '{device}': unknown; choose one of {', '.join(DEVICES)}")
    key = (bundle.path, bundle.sha256, device)
    if key not in _sessions:
        _sessions[key] = _open_scripted(bundle, device) if bundle.is_torchscript else _open(bundle, device)
    return _sessions[key]


def load_runtime() -> ModuleType:
    """Import ONNX Runtime, or say how to install it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"onnxruntime: is not installed or cannot be loaded ({error}); install it with: pip install onnxruntime"
        ) from error
    return onnxruntime


def available_providers() -> list[str]:
    """Return the providers that this build of ONNX Runtime has; whether they work shows only in a session."""
    return list(load_runtime().get_available_providers())


def why_unused() -> str:
    """Say why ONNX Runtime does not use its CUDA provider, as far as the operating system tells."""
    name = "onnxruntime_providers_cuda.dll" if sys.platform == "win32" else "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(Path(load_runtime().__file__).parent / "capi" / name))
    except OSError as error:
        if "undefined symbol" not in str(error):  # that is how it answers outside ONNX Runtime
            return " ".join(str(error).split())
    return "no NVIDIA GPU answers, or its driver is too old"


def _open_scripted(bundle: Bundle, device: str) -> Session:
    session = Session(open_torchscript(bundle, device), (), bundle)
    _check_signature(session, bundle)
    return session


def _open(bundle: Bundle, device: str) -> Session:
    runtime = load_runtime()
    network = bundle.read_network()
    offered = device != "cpu" and _CUDA in runtime.get_available_providers()
    if device == "cuda" and not offered:
        raise _no_cuda("this ONNX Runtime has no CUDA provider")
    if offered and hasattr(runtime, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            runtime.preload_dlls()  # CUDA and cuDNN out of their Python packages, where these are installed
    asked = {_CUDA: _CUDA_OPTIONS, _CPU: {}} if offered else {_CPU: {}}
    try:
        inner = runtime.InferenceSession(network, _options(runtime), providers=list(asked.items()))
    except Exception as error:  # ONNX Runtime has a dozen exception classes without a common base
        raise InputError(f"{bundle.path}: ONNX Runtime cannot open the model ({error}); install it again") from error
    session = Session(inner, tuple(asked), bundle)
    _check_signature(session, bundle)
    if device == "cuda" and session.device != "cuda":
        raise _no_cuda(f"ONNX Runtime fell back to the CPU ({why_unused()})")
    return session


def _no_cuda(reason: str) -> InputError:
    return InputError(
        f"device cuda: {reason}; install onnxruntime-gpu with its CUDA and cuDNN in place of onnxruntime, or choose cpu"
    )


def _options(runtime: ModuleType) -> onnxruntime.SessionOptions:
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; what matters is checked and told in words
    if usable_cores() < (os.cpu_count() or 1):  # else ONNX Runtime takes all physical cores
        options.intra_op_num_threads = usable_cores()
    # Spinning threads would take time from Slicer's windows between two windows of the volume.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options


def _check_signature(session: Session, bundle: Bundle) -> None:
    inner = session._session
    outputs = [node.name for node in inner.get_outputs() if node.name not in session.features]
    names = ([node.name for node in inner.get_inputs()], outputs)
    if names != (["image"], [PREDICTION]):
        raise InputError(f"{bundle.path}: the network must map 'image' to 'prediction', not {names}; export it again")
    drawn = {NOISE: bundle.draws, TEMPERATURE: bundle.temperature is not None}
    lacking = [name for name, wanted in drawn.items() if wanted and name not in session.defaults]
    if lacking:
        raise InputError(
            f"{bundle.path}: the network takes no {' and no '.join(lacking)}, its metadata say it does; export it again"
        )
    channels = (inner.get_inputs()[0].shape[1], inner.get_outputs()[0].shape[1])
    expected = (len(bundle.inputs) * (3 if bundle.regime == "2.5D" else 1), len(bundle.outputs))
    if any(isinstance(found, int) and found != wanted for found, wanted in zip(channels, expected, strict=True)):
        raise InputError(
            f"{bundle.path}: the network has {channels} channels, its metadata say {expected}; export it again"
        )
