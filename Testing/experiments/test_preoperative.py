"""What MRI brings beside ultrasound, measured with a network that adds it to the ultrasound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from support.tiny_models import WITH_MRI, mri_generator_network, write_bundle

from IoUSynthLib.cases.case import PREOPERATIVE, Case, from_network_range, read_case, write_case
from IoUSynthLib.cases.index import read_index, write_index
from IoUSynthLib.experiments.__main__ import main
from IoUSynthLib.experiments.preoperative import BASELINE, NONE, as_shown, conditions, ghosts, with_gains
from IoUSynthLib.simulation.tissues import Tissue
from IoUSynthLib.synthesis.preoperative import MOST_DISAGREEMENT
from IoUSynthLib.volume import Volume

pytest.importorskip("torch")
SIDE = 40
CONDITIONS = [
    "exact", "off by 2 mm", "off by 4 mm", "off by 8 mm", "brain shift up to 8 mm", "T2w alone", "ceT1 alone",
    "FLAIR alone", "another patient's",
]  # fmt: skip


def case(seed: int, kind: str) -> Case:
    """A tumour of 12 voxels, or a cavity of 8 in its place, in smooth noise; the MRI before the operation has both."""
    rng = np.random.default_rng(seed)
    centre = np.linalg.norm(np.indices((SIDE,) * 3) - SIDE / 2, axis=0)
    fan = (centre < 18).astype(np.uint8)
    tissues = np.where(centre < 6, Tissue.HIGH_GRADE_TUMOUR, Tissue.WHITE_MATTER).astype(np.uint8)
    cavity = (centre < 4) & ("cavity" in kind)
    labels = np.where(cavity, 2, (centre < 6) & ("cavity" not in kind)).astype(np.uint8)

    def image(name: str, earlier: bool) -> np.ndarray:
        noise = ndimage.gaussian_filter(rng.standard_normal(fan.shape), 2)
        values = 450 + 60 * noise / noise.std() + 350 * (centre < 6)
        return np.where(cavity & (not earlier), 120 if name == "FLAIR" else 900, values).astype(np.int16)

    images = {"ioUS": (rng.uniform(20, 255, fan.shape) * fan).astype(np.uint8)}
    images |= {name: image(name, earlier=False) for name in ("T2w", "FLAIR")}
    images |= {f"{PREOPERATIVE}{name}": image(name, earlier=True) for name in ("T2w", "ceT1", "FLAIR")}
    images[f"{PREOPERATIVE}tissues"] = tissues
    volumes = {name: Volume(array, (0.8,) * 3) for name, array in images.items()}
    parameters = {
        "simulated": True, "head": f"head{seed}", "lesion": {"kind": kind}, "preoperative": ["T2w", "FLAIR", "ceT1"],
    }  # fmt: skip
    return Case(volumes, Volume(labels, (0.8,) * 3), Volume(fan, (0.8,) * 3), parameters)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    kinds = ("high grade", "cavity with residual")
    for seed, kind in enumerate(kinds):
        write_case(case(seed, kind), folder / f"case-{seed}")
    write_index(folder, [{"name": f"case-{n}", "head": f"head{n}", "split": "test"} for n in range(2)])
    return folder


def test_the_command_measures_each_case_once(
    cohort: Path, tiny_bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tiny_bundles))
    write_bundle(tmp_path / "with-mri", mri_generator_network(), **WITH_MRI)
    given = ["preoperative", "--cohort", str(cohort), "--model", str(tmp_path / "with-mri")]
    given += ["-o", str(tmp_path / "out")]
    assert main(given) == 0
    told = capsys.readouterr()
    assert "case-0: 1 of 2" in told.err
    rows = json.loads((tmp_path / "out" / "cases" / "case-0.json").read_text())["rows"]
    assert list(rows) == [BASELINE, NONE, *CONDITIONS]
    assert "disagreement" not in rows[BASELINE]
    assert rows["exact"]["disagreement"] > rows["T2w alone"]["disagreement"] > 0
    assert rows["ceT1 alone"] == {**rows[NONE], "disagreement": 0.0}, "the network does not look at it"
    text = (tmp_path / "out" / "preoperative.md").read_text()
    assert all(f"\n| {name} |" in text for name in rows)
    assert "2 simulated test cases, 1 of them after a resection" in text
    assert main(given) == 0
    assert capsys.readouterr().err == "", "nothing is measured again"
    write_bundle(tmp_path / "other", mri_generator_network(gain=0.1), **WITH_MRI)
    given[4] = str(tmp_path / "other")
    assert main(given) == 2
    assert "is of another model" in capsys.readouterr().err


def test_displacements_are_as_long_as_they_are_called(cohort: Path) -> None:
    first, second = (read_case(folder) for folder in read_index(cohort, "test"))
    found = conditions(first, second, WITH_MRI["optional"], seed=0)
    assert list(found) == CONDITIONS
    points = np.argwhere(first.fan.array > 0)[::97, ::-1] * 0.8

    def moved(name: str) -> np.ndarray:
        transform = found[name].transform
        return np.linalg.norm([np.subtract(transform.TransformPoint(p), p) for p in points.tolist()], axis=1)

    for millimetres in (2, 4, 8):
        assert moved(f"off by {millimetres} mm").mean() == pytest.approx(millimetres, rel=0.1)
    assert moved("brain shift up to 8 mm").max() == pytest.approx(8, rel=0.15)
    foreign = found["another patient's"].images["T2w"].array
    assert np.array_equal(foreign, second.images["preoperative_T2w"].array)


def test_a_ghost_is_tumour_in_the_place_of_the_cavity() -> None:
    after = case(1, "cavity")
    cavity = after.labels.array == 2
    nothing = np.full(cavity.shape, -0.8, np.float32)
    assert ghosts(after, nothing, np.where(cavity, 2, 0)) == {"ghost outlined ml": 0, "ghost shown ml": 0}
    bright = np.where(np.indices(cavity.shape)[0] < SIDE // 2, 0.5, -0.8)
    found = ghosts(after, bright, np.ones_like(after.labels.array))
    assert found["ghost outlined ml"] == pytest.approx(cavity.sum() * 0.512e-3)
    assert found["ghost shown ml"] == pytest.approx((cavity & (bright > 0)).sum() * 0.512e-3)
    assert from_network_range(np.array(0.0)) == pytest.approx(0.55), "above white matter's FLAIR, far above fluid's"


def test_mri_that_changes_too_much_is_left_out_of_what_is_shown() -> None:
    rows = {
        BASELINE: {"PSNR T2w": 19.0, "Dice of the cavity": 0.9},
        NONE: {"PSNR T2w": 20.0},
        "exact": {"PSNR T2w": 22.0, "Dice of the cavity": 0.5, "disagreement": MOST_DISAGREEMENT},
        "another patient's": {"PSNR T2w": 15.0, "disagreement": MOST_DISAGREEMENT + 0.01},
    }
    shown = with_gains(as_shown(rows))
    assert (shown["exact"]["PSNR T2w, gain"], shown["exact"]["Dice of the cavity"]) == (2.0, 0.9)
    assert (shown["another patient's"]["PSNR T2w, gain"], shown["another patient's"]["used"]) == (0.0, 0.0)
