"""The benchmark's downstream segmenters (arXiv 2606.00630, 2.7): folders, folds and commands for nnU-Net v2.

nnU-Net learns from the acquired MRI of one contrast, and then outlines tumour and cavity on synthetic MRI. It is not
imported and need not be installed here: the script that is written runs it in an environment of its own, and
:func:`.from_files.evaluate_files` reads what it has outlined. Folders are those of its documentation; numbers, names,
trainer, folds and checkpoint are the benchmark's, so that its released weights fit. Plans are nnU-Net's own, as there:
on ReMIND it found voxels of 2 x 0.86 x 0.86 mm, patches of 48 x 112 x 112 and five stages by itself. On purpose,

* what lies outside the fan is blank in images and labels, as it is in synthetic MRI and when it is scored; with the
  region "crop" it is left, as published;
* images are on the cohort's grid, 0 where there is no data, else 1 to 1000: nnU-Net normalises each by its mean and SD;
* the checkpoint is ``checkpoint_best``, as the text has it and as it was released; the released scripts name none, by
  which nnU-Net takes ``checkpoint_final``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cases.case import UNLABELLED, Case, input_image, read_case, target_image
from ..constants import MARK
from ..files.volumes import write_volume
from ..preprocessing import to_intensity
from ..volume import InputError
from .baselines import FITTED_ON, MATCHED, Baselines, fit_baselines
from .from_files import find_files, read_entries, read_prediction, source_of
from .protocol import TRAINER

#: Number and name of the data set by what a segmenter reads. That of the ultrasound (Seg-US) needs no synthesis.
DATASETS = {"T2w": (501, "T2"), "FLAIR": (502, "FLAIR"), "ioUS": (503, "US")}
#: Sets of test images that need no prediction: what was acquired, and the ultrasound in its place as floors.
ACQUIRED, RAW, RAW_MATCHED = "acquired", "ioUS", "ioUS-matched"
SCRIPT = "run.sh"

_CHECKPOINT = "checkpoint_best.pth"
_LABELS = {"background": 0, "tumor": 1, "cavity": 2}
_FOLDS = 5

_TRAINING = """
[ -f nnUNet_preprocessed/{dataset}/done ] ||
    nnUNetv2_plan_and_preprocess -d {number} -c 3d_fullres --verify_dataset_integrity
touch nnUNet_preprocessed/{dataset}/done
for fold in {folds}; do
    [ -f "$model/fold_$fold/checkpoint_final.pth" ] ||
        nnUNetv2_train {number} 3d_fullres "$fold" -tr {trainer} -device {device} --c
done
"""
_RUN = """#!/bin/sh
# Runs nnU-Net v2, in an environment of its own; the same command goes on where it stopped:
#   python -m venv nnunet && nnunet/bin/pip install nnunetv2==2.7.0
#   PATH="$PWD/nnunet/bin:$PATH" sh run.sh
set -eu
cd "$(dirname "$0")"
export nnUNet_raw="$PWD/nnUNet_raw" nnUNet_preprocessed="$PWD/nnUNet_preprocessed" nnUNet_results="$PWD/nnUNet_results"
model={model}
{training}
outline() {{
    for image in "$1"/*_0000.nii.gz; do  # what is older than its image is of another one, or of another training
        made="predictions/$2/$(basename "$image" _0000.nii.gz).nii.gz"
        [ "$made" -nt "$image" ] || rm -f "$made"
    done
    nnUNetv2_predict_from_modelfolder -i "$1" -o "predictions/$2" -m "$model" -f {folds} \\
        -chk {checkpoint} -step_size 0.5 -device {device} --continue_prediction
}}
outline nnUNet_raw/{dataset}/imagesTs {acquired}
for folder in inputs/*; do
    [ ! -d "$folder" ] || outline "$folder" "$(basename "$folder")"
done
"""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes
    ----------
    training
        Cases to train on; none where weights were given.
    tests
        Test cases by set of images.
    missing
        What was left out, and why, in words.
    """

    training: Sequence[str]
    tests: Mapping[str, Sequence[str]]
    missing: Sequence[str]


def folds_by_patient(patients: Mapping[str, str]) -> list[dict[str, list[str]]]:
    """Five folds, no patient being on both sides of one, as the benchmark's program draws them.

    Parameters
    ----------
    patients
        Patient of each case. Of fewer than five patients there is a fold for each.

    Returns
    -------
    list of dict
        Sorted cases as ``train`` and ``val``: what nnU-Net's ``splits_final.json`` holds.

    Raises
    ------
    InputError
        There are fewer than two patients.

    Examples
    --------
    >>> folds_by_patient({"a-pre": "a", "a-post": "a", "b-pre": "b"})[0]
    {'train': ['a-post', 'a-pre'], 'val': ['b-pre']}
    """
    names = np.array(sorted(set(patients.values())))
    if len(names) < 2:
        raise InputError(f"{len(names)} patient (or head) to train on; folds by patient need two or more")
    np.random.default_rng(42).shuffle(names)
    folds = []
    for chosen in np.array_split(names, min(_FOLDS, len(names))):
        val = sorted(case for case, patient in patients.items() if patient in chosen)
        folds.append({"train": sorted(set(patients) - set(val)), "val": val})
    return folds


def write_downstream(
    cohort: Path,
    output: Path,
    target: str,
    *,
    predictions: Mapping[str, Path] | None = None,
    region: str = "fan",
    weights: Path | None = None,
    trainer: str = TRAINER,
    device: str = "cuda",
) -> Written:
    """Write all that nnU-Net needs to learn from a cohort, and to outline its test cases.

    Parameters
    ----------
    cohort
        Folder of a cohort with outlines. Its cases for training and validation are learned from.
    output
        Folder for ``nnUNet_raw`` (``imagesTr``, ``labelsTr``, ``imagesTs``, ``dataset.json``), ``nnUNet_preprocessed``
        (``splits_final.json``), ``inputs`` (a folder for each other set of test images) and :data:`SCRIPT`. Sets that
        another call has written for the same cohort stay.
    target
        What the segmenter reads, a key of :data:`DATASETS`.
    predictions
        Folders that ``synthesize`` has written, by the name of the experiment.
    region
        "fan" or "crop"; see the module.
    weights
        Trained models in nnU-Net's layout, such as the benchmark's; nothing is trained then.
    trainer
        Name of nnU-Net's class that trains, or has trained the weights.
    device
        What nnU-Net runs on, one of :data:`.protocol.NNUNET_DEVICES`.

    Raises
    ------
    InputError
        Cohort, predictions, weights or trainer cannot be used, or the folder is of another cohort.
    """
    predictions = predictions or {}
    _check_names(predictions, target)
    if not trainer.isidentifier():
        raise InputError(f"{trainer}: cannot be the name of a trainer; give one of nnU-Net's, such as {TRAINER}")
    _, entries = read_entries(cohort)
    if source_of(cohort, entries) != "ioUS":
        raise InputError(f"{cohort}: is made of pairs of MRI; give a cohort of ultrasound and MRI")
    dataset = "Dataset{}_{}".format(*DATASETS[target])
    raw, missing, learned = output / "nnUNet_raw" / dataset, [], []
    training = [name for name, entry in entries.items() if entry["split"] != "test"]
    if weights is None:
        learned = _write_training(_cases(cohort, training, target, missing), raw, target, region=region)
        folds = folds_by_patient({name: entries[name]["head"] for name in learned})
        _write_description(raw, DATASETS[target][1], learned)
        _write_folds(output / "nnUNet_preprocessed" / dataset, folds)
        script = _script(dataset, range(len(folds)), trainer=trainer, device=device)
    else:
        model, trained = find_weights(weights, dataset, trainer)
        script = _script(dataset, trained, trainer=trainer, device=device, model=model)
    fitted = {} if target == RAW else fit_baselines([cohort / name for name in training[:FITTED_ON]])
    tests: dict[str, list[str]] = {}
    for name, case in _cases(cohort, [name for name in entries if name not in training], target, missing):
        images = {ACQUIRED: _acquired(case, target, region)}
        if target != RAW:
            images |= _floors(case, fitted.get(target)) | _synthetic(name, case, target, predictions=predictions)
        for kind, image in images.items():
            folder = raw / "imagesTs" if kind == ACQUIRED else output / "inputs" / kind
            header = {"descrip": f"{MARK}; {target}"} if kind in predictions else {}
            _write(folder / f"{name}_0000.nii.gz", case, image.astype(np.float32), header=header)
            tests.setdefault(kind, []).append(name)
    if not tests:
        raise InputError(f"{cohort}: has no outlined test case with {target}; prepare or simulate one")
    for kind in predictions:
        if lacking := [name for name in tests[ACQUIRED] if name not in tests.get(kind, ())]:
            missing.append(f"{kind}: predicts no {target} of {', '.join(lacking)}")
    (output / SCRIPT).write_text(script, encoding="utf-8", newline="\n")
    return Written(learned, tests, missing)


def _check_names(predictions: Iterable[str], target: str) -> None:
    for name in predictions:
        if target == RAW:
            raise InputError(f"{name}: a segmenter of the ultrasound outlines no synthetic MRI; leave it out")
        if name in (ACQUIRED, RAW, RAW_MATCHED) or Path(name).name != name:
            raise InputError(f"{name}: cannot be the name of an experiment here; give it another, NAME=DIR")


def _cases(cohort: Path, names: Iterable[str], target: str, missing: list[str]) -> Iterator[tuple[str, Case]]:
    """The cases that can be taken; why another one cannot is added to what is missing."""
    for name in names:
        case = read_case(cohort / name)
        if (case.labels.array == UNLABELLED).any():
            missing.append(f"{name}: nobody has outlined tumour and cavity")
        elif target not in case.images:
            missing.append(f"{name}: {target} was not acquired")
        else:
            yield name, case


# Images ---------------------------------------------------------------------------------------------------------------


def _acquired(case: Case, target: str, region: str) -> np.ndarray:
    """What was acquired of a case, as predictions are stored: 0 for no data, else 1 to 1000."""
    image = to_intensity(input_image(case) if target == RAW else target_image(case, target))
    return image if region == "crop" else np.where(case.fan.array > 0, image, 0)


def _floors(case: Case, fitted: Baselines | None) -> dict[str, np.ndarray]:
    """The ultrasound in the place of the MRI, as it is and with the histogram of the MRI for training."""
    fan, ultrasound = case.fan.array > 0, input_image(case)
    images = {RAW: ultrasound}
    if fitted is not None:
        images[RAW_MATCHED] = fitted.predictions(ultrasound, fan)[MATCHED]
    return {kind: np.where(fan, to_intensity(image), 0) for kind, image in images.items()}


def _synthetic(name: str, case: Case, target: str, *, predictions: Mapping[str, Path]) -> dict[str, np.ndarray]:
    files = {kind: find_files(folder, name).get(target) for kind, folder in predictions.items()}
    return {kind: read_prediction(file, target, case).array for kind, file in files.items() if file is not None}


def _write(path: Path, case: Case, array: np.ndarray, *, header: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, case.fan.with_array(array), header)


# nnU-Net's files ------------------------------------------------------------------------------------------------------


def _write_training(cases: Iterable[tuple[str, Case]], raw: Path, target: str, *, region: str) -> list[str]:
    names = []
    for name, case in cases:
        labels = case.labels.array if region == "crop" else np.where(case.fan.array > 0, case.labels.array, 0)
        _write(raw / "imagesTr" / f"{name}_0000.nii.gz", case, _acquired(case, target, region).astype(np.float32))
        _write(raw / "labelsTr" / f"{name}.nii.gz", case, labels.astype(np.uint8))
        names.append(name)
    return names


def _write_description(raw: Path, channel: str, cases: Sequence[str]) -> None:
    content = {
        "channel_names": {"0": channel}, "labels": _LABELS, "numTraining": len(cases), "file_ending": ".nii.gz",
    }  # fmt: skip
    (raw / "dataset.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_folds(folder: Path, folds: Sequence[Mapping[str, Sequence[str]]]) -> None:
    file, text = folder / "splits_final.json", json.dumps(folds, indent=1) + "\n"
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise InputError(f"{file}: is of another cohort, or this one has changed; choose another output folder")
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _model_folder(trainer: str) -> str:
    return f"{trainer}__nnUNetPlans__3d_fullres"


def _script(dataset: str, folds: Iterable[int], *, trainer: str, device: str, model: Path | None = None) -> str:
    """What is run in nnU-Net's environment; it trains unless there is a model."""
    number, listed = dataset[len("Dataset") :].partition("_")[0], " ".join(map(str, folds))
    training = _TRAINING.format(dataset=dataset, number=number, folds=listed, trainer=trainer, device=device)
    return _RUN.format(
        dataset=dataset, folds=listed, checkpoint=_CHECKPOINT, acquired=ACQUIRED, device=device,
        training="" if model else training,
        model=shlex.quote(str(model)) if model else f"nnUNet_results/{dataset}/{_model_folder(trainer)}",
    )  # fmt: skip


def find_weights(folder: Path, dataset: str, trainer: str = TRAINER) -> tuple[Path, list[int]]:
    """The trained model of a data set, and its folds.

    Parameters
    ----------
    folder
        That of the model, or ``nnUNet_results``, or what the benchmark's archive of weights was unpacked to.
    dataset
        Such as ``Dataset501_T2``.
    trainer
        Name of the class that has trained it.

    Raises
    ------
    InputError
        No complete model is there, or its labels are others.
    """
    name = _model_folder(trainer)
    places = (folder / dataset / name, folder / "nnunet" / dataset / name, folder)
    model = next((place for place in places if (place / "plans.json").is_file()), None)
    folds = sorted(int(path.parent.name[5:]) for path in (model or folder).glob(f"fold_[0-9]/{_CHECKPOINT}"))
    if model is None or not folds:
        raise InputError(
            f"{folder}: holds no model of {dataset}; give the folder with {dataset}/{name}, in which are plans.json, "
            f"dataset.json and fold_0/{_CHECKPOINT} to fold_4"
        )
    try:
        labels = json.loads((model / "dataset.json").read_text(encoding="utf-8"))["labels"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{model / 'dataset.json'}: cannot be read ({error}); copy the model again") from error
    if labels not in (_LABELS, {"background": 0, "tumour": 1, "cavity": 2}):
        raise InputError(f"{model}: outlines {labels}; give a model of background 0, tumour 1 and cavity 2")
    return model.resolve(), folds
