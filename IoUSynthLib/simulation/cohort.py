"""A cohort of simulated cases, split by head, in the layout of :mod:`IoUSynthLib.cases.index`.

Its folder ``templates`` holds the patients' tumours that are put into other heads.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from ..cases.case import is_complete, write_case
from ..cases.index import write_index
from ..cases.splits import split_heads
from .anatomy import Head, icbm_head, label_maps, read_head
from .case import simulate_case
from .parts import check_parts
from .patient import FILES, is_patient, read_patient
from .template import Template, read_template, template_of, write_template

#: Folder of a cohort with the tumours that are put into other heads.
TEMPLATES = "templates"


def head_paths(folder: Path) -> dict[str, Path]:
    """Anatomies below ``folder`` by name: label maps and folders of real MRI.

    Raises
    ------
    ValueError
        There are none.
    """
    patients = sorted(path.parent for path in folder.rglob(FILES["T1"]) if is_patient(path.parent))
    paths = {**label_maps(folder), **{path.name: path for path in patients}}
    if not paths:
        raise ValueError(
            f"{folder}: no anatomies; put BrainWeb (subject*.nii.gz) or SynthSeg (training_seg*.nii.gz) label maps "
            f"there, or folders with {', '.join(FILES.values())}"
        )
    return paths


def load_head(path: Path | None) -> Head:
    """The anatomy at one of :func:`head_paths`; the ICBM 152 head when None."""
    if path is None:
        return icbm_head()
    return read_patient(path) if path.is_dir() else read_head(path)


def simulate_cohort(
    count: int,
    output: Path,
    *,
    anatomy: Path | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    split: str | None = None,
    without: Collection[str] = (),
    device: str = "cpu",
    with_agent: bool = False,
    preoperative: bool = False,
) -> list[dict[str, str]]:
    """Simulate ``count`` cases, spread evenly over the heads, and write them with their index.

    Parameters
    ----------
    count
        Number of cases.
    output
        Folder of the cohort; cases that are complete in it are kept, so an interrupted call can be repeated.
    anatomy
        Folder with BrainWeb or SynthSeg label maps or real MRI; the ICBM 152 head where it is None.
    seed
        Case number n is drawn with the seed ``seed * 1_000_000 + n``.
    workers
        Number of processes.
    progress
        Called with the number of cases that are ready and the number of all.
    split
        Use only the heads of this split; those of all when None.
    without
        Parts of the simulator to leave out, see :mod:`.parts`. Without "real MRI" a label map of the same split stands
        in for every patient; the other cases keep their heads.
    device
        "cpu" or "cuda". Scatterers, noise and the outlines of lesions differ between devices.
    with_agent
        Whether cases have ceT1, too; nothing else changes by it.
    preoperative
        Whether they have the MRI from before the operation, too; nothing else changes by it.

    Returns
    -------
    list of dict
        The index's entries: name, head, split.

    Raises
    ------
    ValueError
        There are no anatomies, none of the split, or none that are label maps.
    """
    without = check_parts(without)
    paths: dict[str, Path | None] = {"icbm152": None} if anatomy is None else head_paths(anatomy)
    entries = _entries(count, paths, split=split, without=without)
    output.mkdir(parents=True, exist_ok=True)
    done = 0
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        templates = _templates(paths, output, pool)
        jobs = []
        for name, own_split in dict.fromkeys((entry["head"], entry["split"]) for entry in entries):
            numbers = [number for number, entry in enumerate(entries) if entry["head"] == name]
            chosen = {"donors": templates[own_split], "seed": seed, "without": without, "device": device}
            chosen |= {"with_agent": with_agent, "preoperative": preoperative}
            jobs.append(pool.submit(_simulate_head, paths[name], numbers, output, **chosen))
        for job in as_completed(jobs):
            done += job.result()
            if progress:
                progress(done, count)
    write_index(output, entries, seed=seed)
    return entries


def _entries(
    count: int, paths: dict[str, Path | None], *, split: str | None, without: Collection[str]
) -> list[dict[str, str]]:
    splits = split_heads(list(paths))
    heads = [name for name in paths if split in (None, splits[name])]
    if not heads:
        raise ValueError(f"no anatomies for {split}; put five or more of one source into the folder")
    labels = label_map_heads(paths)
    entries = []
    for number in range(count):
        name = heads[number % len(heads)]
        if "real MRI" in without and name not in labels:
            others = [other for other in labels if splits[other] == splits[name]]
            if not others:
                raise ValueError(f"{name}: no label map can stand in for this patient; add BrainWeb or SynthSeg maps")
            name = others[number % len(others)]
        entries.append({"name": f"case-{number:04d}", "head": name, "split": splits[name]})
    return entries


def label_map_heads(paths: dict[str, Path | None]) -> list[str]:
    """Names of the anatomies that are label maps, the ICBM 152 head among them; all others are real MRI."""
    return [name for name, path in paths.items() if path is None or not path.is_dir()]



def _templates(paths: dict[str, Path | None], output: Path, pool: ProcessPoolExecutor) -> dict[str, list[Path]]:
    """Files of the patients' tumours by split, so that no head is tested with a tumour that was trained on."""
    splits = split_heads(list(paths))
    patients = [name for name, path in paths.items() if path is not None and path.is_dir()]
    files = {name: output / TEMPLATES / f"{name}.npz" for name in patients}
    for job in [pool.submit(_write_template, paths[name], file) for name, file in files.items()]:
        job.result()
    return {
        split: [file for name, file in files.items() if splits[name] == split and file.is_file()]
        for split in ("train", "validation", "test")
    }


def _write_template(path: Path, file: Path) -> None:
    """Write the tumour of the patient in the folder ``path``, if there is one."""
    torch.set_num_threads(1)
    if file.is_file():
        return
    template = template_of(read_patient(path))
    if template is not None:
        write_template(template, file)


def _simulate_head(
    path: Path | None, numbers: list[int], output: Path, *, donors: list[Path], seed: int, without: Collection[str],
    device: str, with_agent: bool, preoperative: bool,
) -> int:
    """Simulate the cases of these numbers, which share a head, and return how many there are."""
    torch.set_num_threads(1)
    head: Head | None = None
    templates: list[Template] = []
    for number in numbers:
        folder = output / f"case-{number:04d}"
        if is_complete(folder):
            continue
        if head is None:
            head, templates = load_head(path), [read_template(file) for file in donors]
        drawn = seed * 1_000_000 + number
        how = {"device": device, "without": without, "templates": templates}
        how |= {"with_agent": with_agent, "preoperative": preoperative}
        write_case(simulate_case(head, drawn, **how), folder)
    return len(numbers)
