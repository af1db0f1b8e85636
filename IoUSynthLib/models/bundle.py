"""A trained model on disk: what it is, where it lies, and whether it is intact.

A model is a MONAI bundle: a folder with ``configs/metadata.json``, ``models/model.onnx`` (or, where there is none,
``models/model.ts``), ``LICENSE`` and ``docs/README.md`` (the model card). What IoUSynth needs to know stands in the
section ``iousynth`` of the metadata.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..constants import CONTRASTS, TARGETS
from ..preprocessing import SCALINGS
from ..volume import InputError
from .onnx_file import MOST_BYTES, check_onnx
from .torchscript_file import check_torchscript

DEFAULT_GENERATOR = "ious2mr-2.5d"
#: Where there is MRI of the patient to be read beside the ultrasound.
DEFAULT_WITH_MRI = "ious-mri2mr-2.5d"
DEFAULT_SEGMENTER = "lesion-3d"

#: Folders to look into before all others, separated as in PATH.
SEARCH_VARIABLE = "IOUSYNTH_MODELS"

KINDS = ("generator", "segmenter")
REGIMES = ("2D", "2.5D", "3D")
INPUTS = ("ioUS", *CONTRASTS, "T1w")
#: How overlapping windows are weighted, and how images smaller than the window are padded; the first is the default.
BLENDINGS = ("hann", "hanning", "uniform", "gaussian")
PADDINGS = ("multiple", "window", "centre", "reflect")
#: Voxels of a window that images are padded to, at most: 256 along each axis.
_MOST_VOXELS = 2**24
#: Largest factor of the deviations that samples are drawn at; 1 is what a network has learned.
HOTTEST = 2.0
#: Along which axes the grid lies that a network sees.
FRAMES = ("volume", "patient")

#: Licences of weights, as SPDX identifiers, that restrict neither who uses them nor what for.
PERMISSIVE_LICENCES = ("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0")

#: Where a bundle's metadata lie in its folder.
METADATA = Path("configs", "metadata.json")
NETWORK_FILE = "models/model.onnx"
#: The second network of 2D + 3D-refine.
REFINER_FILE = "models/refiner.onnx"
#: The same as TorchScript: run where a bundle does not have them as ONNX, which needs PyTorch.
TORCHSCRIPT_FILE, REFINER_TORCHSCRIPT_FILE = "models/model.ts", "models/refiner.ts"
#: How the ultrasound that a generator has learned from looks to it, where it was measured.
FAMILIARITY_FILE = "configs/familiarity.json"
#: Channel in which a generator predicts the logarithm of its own error.
LOG_ERROR = "log_error"


@dataclass(frozen=True)
class Bundle:
    """A model on disk.

    Attributes
    ----------
    path
        The bundle's folder; its name is the model's name.
    version
        Version of the weights; empty where it has none.
    kind
        ``generator`` (ultrasound, or MRI of another contrast, to MRI) or ``segmenter`` (images to tissue classes).
    regime
        ``2D`` (one slice), ``2.5D`` (a slice with its two neighbours) or ``3D``.
    spacing
        Voxel size (x, y, z) in mm that the network was trained at.
    slice_axes
        Axes of ``[z, y, x]`` along which slices are cut; empty for 3D.
    window
        Size of the network's input, two numbers for slices and three for 3D.
    overlap
        Fraction of the window that neighbouring windows share.
    size_multiple
        Input sizes must be multiples of this.
    inputs, outputs
        Names of the images that go in, and of the channels that come out.
    checksums
        SHA-256 of the bundle's files, by path within the bundle.
    details
        The whole section ``iousynth`` of the metadata.
    network
        The file that is run, by its path within the bundle: ONNX, or TorchScript where there is no ONNX.
    """

    path: Path
    version: str
    kind: str
    regime: str
    spacing: tuple[float, float, float]
    slice_axes: tuple[int, ...]
    window: tuple[int, ...]
    overlap: float
    size_multiple: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    checksums: dict[str, str]
    details: dict[str, Any]
    network: str = NETWORK_FILE

    @property
    def name(self) -> str:
        """Name of the model: that of its folder."""
        return self.path.name

    @property
    def title(self) -> str:
        """Name and version, or the name alone."""
        return titled(self.describe())

    @property
    def licence(self) -> str:
        """Licence of the weights, as an SPDX identifier."""
        return str(self.details.get("licence", "not stated"))

    @property
    def permissive(self) -> bool:
        """Whether the licence is known to allow every use; of any other, somebody has to take note."""
        return self.licence in PERMISSIVE_LICENCES

    @property
    def size(self) -> int:
        """Bytes of all files of the bundle on disk."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    @property
    def class_weights(self) -> tuple[float, ...]:
        """Factors on a segmenter's probabilities before the most probable class is taken: its operating point."""
        return tuple(float(weight) for weight in self.details.get("class_weights", [1.0] * len(self.outputs)))

    @property
    def class_weights_with_cavity(self) -> tuple[float, ...]:
        """The factors for an ultrasound in which a resection cavity is found."""
        return tuple(float(weight) for weight in self.details.get("class_weights_with_cavity", self.class_weights))

    @property
    def expected_dice(self) -> dict[str, tuple[list[float], list[float]]]:
        """Of a segmenter, for each structure: rising confidences (:func:`.synthesis.outlines.confidences`), and the
        Dice that outlines drawn with these had in the mean. Empty where nobody has measured it.
        """
        tables = self.details.get("expected_dice", {})
        return {name: (list(table["confidence"]), list(table["dice"])) for name, table in tables.items()}

    @property
    def expected_dice_measured_on(self) -> str:
        """What cases :attr:`expected_dice` was measured on, in words; empty where the bundle does not say it."""
        return str(self.details.get("expected_dice_measured_on", ""))

    @property
    def images(self) -> tuple[str, ...]:
        """The MR contrasts among the outputs."""
        return tuple(name for name in self.outputs if name != LOG_ERROR)

    @property
    def optional(self) -> tuple[str, ...]:
        """Those of the inputs that may be missing, preoperative MRI as a rule: all -1 then, as outside the fan."""
        return tuple(self.details.get("optional", ()))

    @property
    def patient(self) -> dict[str, str]:
        """SHA-256 of the MRI, by contrast, of the one patient that the model is for; empty for all others."""
        return dict(self.details.get("patient", {}))

    @property
    def needs_ultrasound_alone(self) -> bool:
        """Whether the network runs on an ultrasound, with other inputs or without."""
        return set(self.inputs) - set(self.optional) == {"ioUS"}

    @property
    def generator(self) -> str:
        """Of a segmenter: name of the generator whose synthetic MRI it reads; the one that ships if it does not say."""
        return str(self.details.get("generator", DEFAULT_GENERATOR))

    @property
    def frame(self) -> str:
        """``volume`` (the grid keeps the directions of the ultrasound) or ``patient`` (axial slices first: the axes of
        the preoperative MRI where there is one, else LPS).
        """
        return str(self.details.get("frame", FRAMES[0]))

    @property
    def fixed_spacing(self) -> bool:
        """Whether a grid in the patient's frame has ``spacing`` even where there is a preoperative MRI with another."""
        return bool(self.details.get("fixed_spacing", False))

    @property
    def refiner(self) -> Bundle | None:
        """The second stage of 2D + 3D-refine, or None: a 3D network that sees the images of the first and returns them
        corrected. The entry ``refiner`` of the metadata says how its windows are cut (``window``, ``overlap``,
        ``size_multiple``, ``blending``, ``padding``) and what it sees (``inputs``, by default the images alone).
        """
        section = self.details.get("refiner")
        if section is None:
            return None
        return replace(
            self,
            regime="3D",
            slice_axes=(),
            window=tuple(int(length) for length in section["window"]),
            overlap=float(section["overlap"]),
            size_multiple=int(section["size_multiple"]),
            inputs=tuple(section.get("inputs", self.images)),
            outputs=self.images,
            details=section,
            network=_run_of(REFINER_FILE, REFINER_TORCHSCRIPT_FILE, self.checksums),
        )

    @property
    def scaling(self) -> str:
        """How the MRI that a generator reads is scaled, a name in :data:`IoUSynthLib.preprocessing.SCALINGS`."""
        return str(self.details.get("scaling", "z-score"))

    @property
    def draws(self) -> bool:
        """Whether the network takes noise, so that an image is one of many samples (:mod:`.synthesis.spread`); not as
        TorchScript, which has no inputs with defaults.
        """
        return bool(self.details.get("draws", False)) and not self.is_torchscript

    @property
    def temperature(self) -> float | None:
        """Factor of the deviations at which samples are drawn if nothing is said; None where there is none."""
        found = self.details.get("temperature") if self.draws else None
        return None if found is None else float(found)

    @property
    def fusion_scale(self) -> float:
        """How predictions along several slice axes become one, in voxels (:func:`.inference.fuse`); 0: their mean."""
        return float(self.details.get("fusion_scale", 0.0))

    @property
    def stretch(self) -> bool:
        """Whether slices are stretched to the window, whatever their shape, and predictions back."""
        return bool(self.details.get("stretch", False))

    @property
    def blending(self) -> str:
        """Weight of a window: ``hann`` (sampled at voxel centres), ``hanning`` (as NumPy's), ``uniform`` or
        ``gaussian`` (of an eighth of its length, as MONAI's).
        """
        return str(self.details.get("blending", BLENDINGS[0]))

    @property
    def padding(self) -> str:
        """``multiple`` (behind, to a multiple of ``size_multiple``) or up to the window: ``window`` (behind),
        ``centre`` (on both sides) or ``reflect`` (behind, mirrored).
        """
        return str(self.details.get("padding", PADDINGS[0]))

    @property
    def is_torchscript(self) -> bool:
        """Whether the network is one of TorchScript, which runs where PyTorch is installed."""
        return self.network in (TORCHSCRIPT_FILE, REFINER_TORCHSCRIPT_FILE)

    @property
    def sha256(self) -> str:
        """SHA-256 that the network's file must have."""
        return self.checksums[self.network]

    def describe(self) -> dict[str, str]:
        """Return what a report says about the model."""
        said = {"name": self.name, "version": self.version, "sha256": self.sha256, "licence": self.licence}
        return said | ({"refiner_sha256": self.refiner.sha256} if self.refiner else {})

    def describe_plan(self) -> dict[str, Any]:
        """Return how an image is cut into the network's windows, and how these are put together again."""
        plan = {"regime": self.regime, "slice_axes": list(self.slice_axes), "window": list(self.window)}
        plan |= {"overlap": self.overlap, "blending": self.blending, "padding": self.padding, "stretch": self.stretch}
        plan |= {"fusion_scale": self.fusion_scale} if self.fusion_scale else {}
        return plan | ({"refiner": self.refiner.describe_plan()} if self.refiner else {})

    def verify(self) -> None:
        """Compare every file of the bundle that has a checksum; raise :class:`InputError` at the first mismatch."""
        for name in self.checksums:
            self._read_verified(name)

    def read_network(self) -> bytes:
        """Return the verified content of the network's file: what was checked is what the session is made of.

        Raises
        ------
        InputError
            The checksum does not match, or the file would have a runtime do what no network needs
            (:func:`.onnx_file.check_onnx`, :func:`.torchscript_file.check_torchscript`).
        """
        content = self._read_verified(self.network)
        operators = "TorchScript" if self.is_torchscript else "ONNX"
        try:
            if self.is_torchscript:
                return check_torchscript(content)
            check_onnx(content)
        except ValueError as error:
            raise InputError(
                f"{self.path / self.network}: cannot be opened ({error}); export the model again as one file with the "
                f"operators of {operators}"
            ) from error
        return content

    def read_familiarity(self) -> dict[str, Any] | None:
        """Return the verified content of :data:`FAMILIARITY_FILE`, or None where the bundle has none."""
        if FAMILIARITY_FILE not in self.checksums:
            return None
        try:
            return dict(json.loads(self._read_verified(FAMILIARITY_FILE)))
        except (ValueError, TypeError) as error:
            file = self.path / FAMILIARITY_FILE
            raise InputError(f"{file}: cannot be read ({error}); install the model {self.name} again") from error

    def _read_verified(self, name: str) -> bytes:
        file = self.path / name
        try:
            if file.stat().st_size > MOST_BYTES:
                raise InputError(f"{file}: is larger than a model can be (2 GiB); install the model {self.name} again")
            content = file.read_bytes()
        except OSError as error:
            raise InputError(f"{file}: is missing or cannot be read; install the model {self.name} again") from error
        if hashlib.sha256(content).hexdigest() != self.checksums[name]:
            raise InputError(f"{file}: its checksum does not match the metadata; install the model {self.name} again")
        return content


def titled(model: Mapping[str, Any]) -> str:
    """Name and version of a model that a report describes (:meth:`Bundle.describe`), as far as they are known."""
    return " ".join(str(model[key]) for key in ("name", "version") if model.get(key))


def search_folders() -> list[Path]:
    """Return the folders that hold models, in the order in which they are searched."""
    named = [Path(part) for part in os.environ.get(SEARCH_VARIABLE, "").split(os.pathsep) if part]
    return [*named, user_folder(), _shipped_folder()]


def user_folder() -> Path:
    """Return the user's own model folder, as the operating system wants it."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "IoUSynth" / "Models"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "IoUSynth" / "Models"
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "iousynth" / "models"


def _shipped_folder() -> Path:
    return Path(__file__).resolve().parents[2] / "Resources" / "Models"


def origin(path: Path) -> str:
    """Say how a model of :func:`bundle_paths` came to its folder."""
    return {user_folder(): "installed", _shipped_folder(): "shipped"}.get(path.parent, f"${SEARCH_VARIABLE}")


def list_bundles() -> list[Bundle]:
    """Return every readable model, the first of each name in search order; damaged metadata are passed over."""
    found: dict[str, Bundle] = {}
    for path in bundle_paths():
        try:
            found.setdefault(path.name, load(path))
        except InputError:
            continue
    return list(found.values())


def bundle_paths() -> list[Path]:
    """Return the folders that hold a bundle's metadata, in search order."""
    return [
        path.parents[1]
        for folder in search_folders()
        if folder.is_dir()
        for path in sorted(folder.glob(f"*/{METADATA}"))
    ]


def load(model: str | Path) -> Bundle:
    """Read a model's metadata; nothing is executed and the weights are not opened.

    Parameters
    ----------
    model
        Name of a model in one of the :func:`search_folders`, or the path of a bundle's folder.

    Raises
    ------
    InputError
        There is no such model, or its metadata are incomplete.

    Examples
    --------
    >>> bundle = load("ious2mr-2.5d")
    >>> bundle.outputs, bundle.regime
    (('T2w', 'FLAIR', 'log_error'), '2.5D')
    """
    path = _find(model)
    file = path / METADATA
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
        return _parse(path, metadata)
    except OSError as error:
        raise InputError(f"{file}: cannot be read; install the model again") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{file}: is not the metadata of an IoUSynth model ({reason}); install it again") from error


def paired_generator(segmenter: Bundle) -> Bundle:
    """Load the generator whose images a segmenter reads: the one beside it, else the first that is found.

    Raises
    ------
    InputError
        It is not there, or it is none that the segmenter can read: its contrasts or its grid are others.
    """
    beside = segmenter.path.parent / segmenter.generator
    try:
        generator = load(beside if (beside / METADATA).is_file() else segmenter.generator)
    except InputError as error:
        raise InputError(f"{segmenter.path}: reads the images of another model, and {error}") from error
    missing = set(segmenter.inputs) - {*INPUTS[:1], *generator.images}
    right_kind = generator.kind == "generator"
    if missing or not right_kind:
        lack = f"does not predict {', '.join(sorted(missing))}" if right_kind else f"is a {generator.kind}"
        raise InputError(f"{generator.path}: {lack}, and {segmenter.name} needs it; install both models again")
    finer = any(a < b * 0.999 for a, b in zip(segmenter.spacing, generator.spacing, strict=True))
    if finer or segmenter.frame != generator.frame:
        raise InputError(f"{segmenter.path}: works on another grid than {generator.name}; install both models again")
    return generator


def _find(model: str | Path) -> Path:
    path = Path(model)
    if path.parent == Path():  # a bare name
        for folder in search_folders():
            if (folder / path / METADATA).is_file():
                return (folder / path).resolve()
    if (path / METADATA).is_file():
        return path.resolve()
    names = ", ".join(dict.fromkeys(path.name for path in bundle_paths())) or "none"
    raise InputError(f"{model}: no such model (found: {names}); give one of these names or a bundle's folder")


def _parse(path: Path, metadata: dict[str, Any]) -> Bundle:
    details = metadata["iousynth"]
    bundle = Bundle(
        path=path,
        version=str(metadata.get("version") or ""),
        kind=details["kind"],
        regime=details["regime"],
        spacing=tuple(float(value) for value in details["spacing"]),
        slice_axes=tuple(int(axis) for axis in details.get("slice_axes", ())),
        window=tuple(int(length) for length in details["window"]),
        overlap=float(details["overlap"]),
        size_multiple=int(details["size_multiple"]),
        inputs=tuple(details["inputs"]),
        outputs=tuple(details["outputs"]),
        checksums={str(name): str(value) for name, value in details["checksums"].items()},
        details=details,
    )
    bundle = replace(bundle, network=_run_of(NETWORK_FILE, TORCHSCRIPT_FILE, bundle.checksums))
    problem = _problem(bundle)
    if problem:
        raise ValueError(problem)
    return bundle


def _run_of(onnx: str, script: str, checksums: Mapping[str, str]) -> str:
    return script if script in checksums and onnx not in checksums else onnx


def _problem(bundle: Bundle) -> str | None:
    """Return what is wrong with a bundle's plan, or None."""
    dimensions = 3 if bundle.regime == "3D" else 2
    checks = {
        f"kind '{bundle.kind}' is unknown": bundle.kind in KINDS,
        f"regime '{bundle.regime}' is unknown": bundle.regime in REGIMES,
        "spacing must be three lengths in mm": len(bundle.spacing) == 3
        and all(math.isfinite(value) and value > 0 for value in bundle.spacing),
        "slice_axes must name axes 0, 1 or 2": bool(bundle.slice_axes) == (dimensions == 2)
        and set(bundle.slice_axes) <= {0, 1, 2},
        f"window must be {dimensions} multiples of size_multiple": bundle.size_multiple > 0
        and len(bundle.window) == dimensions
        and all(length > 0 and length % bundle.size_multiple == 0 for length in bundle.window),
        f"window must have at most {_MOST_VOXELS} voxels, or padding be multiple": bundle.padding == "multiple"
        or math.prod(bundle.window) <= _MOST_VOXELS,
        "overlap must be at least 0 and below 0.9": 0 <= bundle.overlap < 0.9,
        "fusion_scale must be from 0 to 32 voxels, and is for several slice_axes": 0 <= bundle.fusion_scale <= 32
        and (len(bundle.slice_axes) > 1 or not bundle.fusion_scale),
        "only slices can be stretched": not bundle.stretch or dimensions == 2,
        f"frame must be one of {', '.join(FRAMES)}": bundle.frame in FRAMES,
        f"scaling must be one of {', '.join(SCALINGS)}": bundle.scaling in SCALINGS,
        f"blending must be one of {', '.join(BLENDINGS)}": bundle.blending in BLENDINGS,
        f"padding must be one of {', '.join(PADDINGS)}": bundle.padding in PADDINGS,
        f"temperature must be from 0 to {HOTTEST:g}": 0 <= (bundle.temperature or 0) <= HOTTEST,
        "patient must give checksums by contrast": all(isinstance(value, str) for value in bundle.patient.values()),
        "generator must be the name of a model, and only a segmenter has one": _names_generator(bundle),
        f"inputs must be among {', '.join(INPUTS)}": bool(bundle.inputs) and set(bundle.inputs) <= set(INPUTS),
        "optional must be among the inputs, and ioUS is never": set(bundle.optional) <= set(bundle.inputs) - {"ioUS"},
        f"outputs do not fit a {bundle.kind}": _outputs_fit(bundle),
        "class_weights must be positive, one for each output": _weights_fit(bundle.class_weights, bundle),
        "class_weights_with_cavity must be positive, one for each output": _weights_fit(
            bundle.class_weights_with_cavity, bundle
        ),
        "expected_dice must give a structure rising confidences and as many values of dice": all(
            _rises(*table) for table in bundle.expected_dice.values()
        ),
        f"checksums must hold {bundle.network}": bundle.network in bundle.checksums,
        "only a generator has a refiner": bundle.kind == "generator" or bundle.refiner is None,
    }
    problem = next((message for message, fine in checks.items() if not fine), None)
    if problem or bundle.refiner is None:
        return problem
    problem = _problem(bundle.refiner)
    return f"refiner: {problem}" if problem else None


def _names_generator(bundle: Bundle) -> bool:
    if "generator" not in bundle.details:
        return True
    name = bundle.details["generator"]
    return bundle.kind == "segmenter" and isinstance(name, str) and name not in ("", "..") and Path(name).name == name


def _weights_fit(weights: tuple[float, ...], bundle: Bundle) -> bool:
    return len(weights) == len(bundle.outputs) and min(weights) > 0


def _rises(confidences: list[float], dice: list[float]) -> bool:
    rising = all(before < after for before, after in itertools.pairwise(confidences))
    return len(confidences) == len(dice) > 0 and rising and all(0 <= value <= 1 for value in dice)


def _outputs_fit(bundle: Bundle) -> bool:
    if bundle.kind == "segmenter":
        return bundle.outputs == ("background", "tumour", "cavity")
    images = bundle.images
    return bool(images) and len(set(bundle.outputs)) == len(bundle.outputs) and set(images) <= set(TARGETS)
