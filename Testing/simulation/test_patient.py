"""Heads from real MRI, on a phantom whose tissues are known."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.tiny_models import SHARED

from IoUSynthLib.simulation.anatomy import Head
from IoUSynthLib.simulation.case import simulate_case
from IoUSynthLib.simulation.cohort import head_paths, load_head
from IoUSynthLib.simulation.patient import FILES, MANUAL_FILE, TUMOUR_FILE, read_patient
from IoUSynthLib.simulation.tissues import PROPERTIES, Tissue

#: Arbitrary scanner units of T1, T2 and FLAIR by tissue.
SIGNAL = {
    Tissue.VENTRICLE: (200, 2000, 90), Tissue.CORTEX: (500, 900, 500), Tissue.WHITE_MATTER: (800, 600, 380),
    Tissue.LOW_GRADE_TUMOUR: (450, 1400, 800),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nested ellipsoids: ventricle, white matter with a tumour, cortex; a bias field of 20 % from left to right."""
    folder = tmp_path_factory.mktemp("patient")
    shape = (60, 76, 64)
    index = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")) * 2.0
    radius = np.sqrt(sum((axis / half) ** 2 for axis, half in zip(index, (55, 70, 60), strict=True)))
    tissues = np.zeros(shape, int)
    for limit, tissue in ((1, Tissue.CORTEX), (0.85, Tissue.WHITE_MATTER), (0.35, Tissue.VENTRICLE)):
        tissues[radius < limit] = tissue
    tumour = ((index - np.array([0, 0, 35.0]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 10**2
    tissues[tumour] = Tissue.LOW_GRADE_TUMOUR
    bias = 1 + 0.1 * index[2] / 60
    noise = np.random.default_rng(0)
    for number, name in enumerate(FILES.values()):
        values = sum(np.where(tissues == tissue, signal[number], 0) for tissue, signal in SIGNAL.items())
        write(folder / name, values * bias * noise.normal(1, 0.02, shape))
    write(folder / TUMOUR_FILE, tumour.astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def head(folder: Path) -> Head:
    return read_patient(folder)


def write(path: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing((2.0,) * 3)
    sitk.WriteImage(image, str(path))


def test_tissues_and_signals_are_found(folder: Path, head: Head) -> None:
    assert head.name == folder.name
    for tissue in (Tissue.WHITE_MATTER, Tissue.CORTEX, Tissue.VENTRICLE, Tissue.LOW_GRADE_TUMOUR):
        assert (head.tissues == tissue).any(), tissue.name
    for target, contrast in (("T2w", "t2w"), ("FLAIR", "flair")):
        signal = head.signals[target].astype(np.float32)
        assert signal.shape == head.tissues.shape
        for tissue in (Tissue.WHITE_MATTER, Tissue.VENTRICLE):
            measured = np.median(signal[head.tissues == tissue])
            assert measured == pytest.approx(getattr(PROPERTIES[tissue], contrast), abs=0.06)
    volumes = {tissue: (head.tissues == tissue).sum() * head.spacing**3 for tissue in Tissue}
    assert volumes[Tissue.LOW_GRADE_TUMOUR] == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.1)


def test_what_is_bright_in_flair_is_no_necrosis(folder: Path, tmp_path: Path) -> None:
    """In a tumour that takes up contrast, a core without is fluid only where FLAIR is dark."""
    for name in FILES.values():
        shutil.copy(folder / name, tmp_path / name)
    flair = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / FILES["FLAIR"])))
    tumour = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / TUMOUR_FILE))) > 0
    labels = np.where(tumour, 4, 0)
    first, second = (half & tumour for half in (np.indices(flair.shape)[0] < 28, np.indices(flair.shape)[0] > 31))
    labels[first | second] = 1
    flair[first] *= 0.4
    write(tmp_path / FILES["FLAIR"], flair)
    write(tmp_path / MANUAL_FILE, labels)
    tissues = read_patient(tmp_path).tissues
    volumes = {tissue: (tissues == tissue).sum() for tissue in (Tissue.NECROSIS, Tissue.LOW_GRADE_TUMOUR)}
    assert 0.6 < volumes[Tissue.NECROSIS] / volumes[Tissue.LOW_GRADE_TUMOUR] < 1.6
    assert (tissues == Tissue.HIGH_GRADE_TUMOUR).any()


def test_targets_of_a_case_are_the_measured_signals(folder: Path, head: Head) -> None:
    """White matter of the case has the patient's contrast, not the one that was drawn for labels."""
    case = simulate_case(head, seed=4, size=48, voxel=2.0)
    fan = case.fan.array > 0
    values = case.images["T2w"].array[fan] / 1000
    share = np.mean(np.abs(values - PROPERTIES[Tissue.WHITE_MATTER].t2w) < 0.08)
    assert share > 0.2
    assert case.parameters["head"] == folder.name


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs t1\.nii\.gz, t2\.nii\.gz, flair\.nii\.gz"):
        read_patient(tmp_path)
    assert head_paths(folder.parent)[folder.name] == folder


@pytest.mark.long
def test_real_patients_have_plausible_tissues() -> None:
    if not (SHARED / "data" / "open_ms").is_dir():
        pytest.skip("the MRI is not here")
    head = load_head(next(iter(head_paths(SHARED / "data" / "open_ms").values())))
    litres = {tissue: float((head.tissues == tissue).sum()) * head.spacing**3 / 1e6 for tissue in Tissue}
    assert 0.3 < litres[Tissue.WHITE_MATTER] < 0.8
    assert 0.3 < litres[Tissue.CORTEX] + litres[Tissue.DEEP_GREY] < 1.0
    assert 0.05 < litres[Tissue.VENTRICLE] + litres[Tissue.SULCUS] < 0.6
