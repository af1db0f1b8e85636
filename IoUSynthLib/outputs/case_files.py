"""The files that ``synthesize`` writes for a case."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..constants import FREQUENCY, MARK, SPREAD, TARGETS
from ..files.itk import ERRORS, metadata
from ..files.paths import check_path
from ..files.volumes import read_volume, write_volume
from ..input_checks import check_input
from ..models.bundle import titled
from ..parallel import side_by_side
from ..volume import InputError, Volume

if TYPE_CHECKING:
    from ..pipeline import SynthesisResult
    from ..synthesis.preoperative import Preoperative

#: Kinds of images that a case can have; a model need not give all of them.
KINDS = (*TARGETS, "uncertainty", "segmentation", SPREAD, FREQUENCY)
#: Bytes that the name of a file can have on the file systems of Linux, macOS and Windows.
LONGEST_NAME = 255


def output_names(case: str) -> list[str]:
    """Return the names of all files that a case can have."""
    images = (f"{case}_{kind}.nii.gz" for kind in KINDS)
    return [*images, f"{case}_report.json", f"{case}.png", f"{case}_contribution.png"]


def check_length(path: Path, names: Sequence[str]) -> None:
    """Raise :class:`InputError` when files of these names, made of that of ``path``, would be too long to exist."""
    if any(len(os.fsencode(name)) > LONGEST_NAME for name in names):
        raise InputError(f"{path}: its name is too long for the files that are made of it; shorten it")


class Staging:
    """A temporary folder inside ``output``, so that the files of a case appear there all at once or not at all.

    Raises
    ------
    InputError
        ``output`` cannot be made or written, which is found out before the work begins.
    """

    def __init__(self, output: Path) -> None:
        check_path(output)
        self.output = output
        self._missing = [folder for folder in (output, *output.parents) if not folder.exists()]
        try:
            output.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix=".iousynth-", dir=output))
        except OSError as error:
            _remove_empty(self._missing)
            raise InputError(f"{output}: cannot be written ({error.strerror}); choose another output folder") from error

    def keep(self) -> None:
        """Move the files to ``output``, a report last: where it is, all that it names is there."""
        for file in sorted(self.folder.iterdir(), key=lambda file: (file.suffix == ".json", file.name)):
            os.replace(file, self.output / file.name)

    def discard(self) -> None:
        """Remove the folder with what is left in it, and ``output`` if it was made for nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)
        _remove_empty(self._missing)


@contextlib.contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """Give the folder of a :class:`Staging`; move its files at the end, or leave nothing behind on failure."""
    staging = Staging(output)
    try:
        yield staging.folder
        staging.keep()
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); free space or choose another") from error
    finally:
        staging.discard()


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that were made for nothing, innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def write_outputs(
    folder: Path,
    case: str,
    volume: Volume,
    *,
    result: SynthesisResult,
    shown: Mapping[str, Volume],
    preoperative: Preoperative | None = None,
    kinds: Collection[str] = KINDS,
) -> list[str]:
    """Write the files of a case into a folder and return their names.

    Use :func:`staging_folder` round it, so that all of them appear or none, and :func:`remove_stale` after it. Only
    images of these kinds are written; acquired MRI is shown in the picture, by title. What preoperative MRI contributed
    is a picture of its own.
    """
    from .contribution_picture import write_contribution_picture
    from .picture import write_picture

    images = {**result.images, "uncertainty": result.uncertainty, "segmentation": result.segmentation}
    if result.spread is not None:
        images |= {SPREAD: result.spread.deviation, FREQUENCY: result.spread.frequency}
    written = {kind: image for kind, image in images.items() if image is not None and kind in kinds}
    report, picture, contribution = output_names(case)[-3:]
    files = [f"{case}_{kind}.nii.gz" for kind in written]
    names = [*files, report, picture, *([contribution] if result.contribution else [])]
    result.report["files"] = names
    (folder / report).write_text(json.dumps(result.report, indent=1) + "\n", encoding="utf-8")
    drawn = [partial(write_picture, folder / picture, volume, result, shown=shown, name=case)]
    if result.contribution:
        drawn.append(partial(
            write_contribution_picture, folder / contribution, volume, result, preoperative=preoperative, name=case
        ))  # fmt: skip
    side_by_side(lambda write: write(), [
        *drawn,
        *(partial(write_volume, folder / name, image, image_header(kind, result.report))
          for name, (kind, image) in zip(files, written.items(), strict=True)),
    ])  # fmt: skip
    return names


def image_header(kind: str, report: dict[str, Any]) -> dict[str, str]:
    """Return what an image's file header says; NIfTI has room for 79 characters in ``descrip``."""
    model = report["model"]
    if kind == "segmentation":  # what it was outlined on says more than who outlined it, as that is always the same
        model = report["segmenter"] if report["input"].get("mri") else report.get("companion") or model
    return {"descrip": f"{MARK}; {kind}; IoUSynth {__version__}; {titled(model)}"[:79]}


def remove_stale(output: Path, case: str, written: Sequence[str]) -> None:
    """Remove what an earlier run with another model has left of a case: images that this one does not give.

    Only files whose header says that they are synthetic are removed.

    Raises
    ------
    InputError
        One of them cannot be removed.
    """
    for file in (output / name for name in output_names(case) if name not in written):
        try:
            if is_synthetic(file):
                file.unlink()
        except OSError as error:
            raise InputError(f"{file}: is left of an earlier run ({error.strerror}); remove it by hand") from error


def check_acquired(path: Path) -> None:
    """Raise :class:`InputError` when a file was made by IoUSynth: it is no ultrasound and no MRI of a patient."""
    if path.is_file() and is_synthetic(path):
        raise InputError(f"{path}: was made by IoUSynth, not acquired; give the image that was acquired")


def read_acquired(path: Path) -> Volume:
    """Read an MRI of a patient.

    Raises
    ------
    InputError
        It cannot be used, or was made by IoUSynth.
    """
    check_acquired(path)
    return check_input(read_volume(path), str(path))


def is_synthetic(file: Path) -> bool:
    """Tell whether the header of a file says that the image is synthetic."""
    if file.suffix == ".png":
        from .drawing import described

        return described(file).startswith(MARK)
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    try:
        check_path(file)
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
    except (InputError, *ERRORS):
        return False
    return metadata(reader).get("descrip", "").startswith(MARK)
