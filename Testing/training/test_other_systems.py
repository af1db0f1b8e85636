"""The systems of other papers at toy size: each learns MRI from MRI, is exported, and runs through ONNX."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from support.pair_cohort import SPACING, write_pair_cohort  # noqa: E402
from support.toy_presets import OTHERS, toy  # noqa: E402

from IoUSynthLib import cli  # noqa: E402
from IoUSynthLib.cases.case import read_case, target_image  # noqa: E402
from IoUSynthLib.files.volumes import read_volume, write_volume  # noqa: E402
from IoUSynthLib.inference import open_session, predict  # noqa: E402
from IoUSynthLib.models.bundle import load  # noqa: E402
from IoUSynthLib.training import preset as preset_module  # noqa: E402
from IoUSynthLib.training import trainer  # noqa: E402
from IoUSynthLib.training.presets import PRESETS  # noqa: E402
from IoUSynthLib.training.release import export_run  # noqa: E402
from IoUSynthLib.training.run import train  # noqa: E402
from IoUSynthLib.training.run_folder import RUN, FinishedRun  # noqa: E402

NAMES = [name for name, preset in PRESETS.items() if getattr(preset.last, "family", "") in OTHERS and "-t2w" in name]
#: One of each family, and the variant of 3D-mDAUNet that differs most.
SHORT = (
    "unet-pix2pix-2d-t2w", "unet-cyclegan-2d-t2w", "vae-2d-t2w", "mdaunet-3d-t2w-plain-discriminator",
    "brainvoxgen-3d-t2w",
)  # fmt: skip
STEPS = {"2D": 8, "3D": 3}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_pair_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module", autouse=True)
def _quick(no_board):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "Board", no_board)
        patch.setattr(preset_module, "perceptual_score", lambda batches: None)
        yield


def marked(name):
    return pytest.param(name, marks=[] if name in SHORT else pytest.mark.long)


@pytest.mark.parametrize("name", [marked(name) for name in NAMES])
def test_a_system_learns_is_exported_and_runs(name, cohort, tmp_path):
    preset = toy(PRESETS[name], STEPS[PRESETS[name].regime])
    train(preset, cohort, tmp_path / "run", report=lambda line: None)
    record = json.loads((tmp_path / "run" / RUN).read_text())
    assert (record["input"], record["voxels_mm"], record["scaling"]) == ("T1w", list(SPACING), "z-score")
    assert FinishedRun.read(tmp_path / "run").preset.last.inputs == ("T1w",)
    learned = preset.reading(record["input"], record["voxels_mm"])
    assert export_run(tmp_path / "run", tmp_path / "model", preset=learned, torchscript=False) < 1e-3
    bundle = load(tmp_path / "model")
    assert (bundle.inputs, bundle.images, bundle.spacing, bundle.scaling) == (("T1w",), ("T2w",), SPACING, "z-score")
    case = read_case(cohort / "P3")
    image, fan = target_image(case, "T1w")[None], case.fan.array > 0
    found = predict(open_session(bundle, "cpu"), image, fan, bundle)
    assert found.shape == (1, *fan.shape)
    assert np.isfinite(found).all()
    assert np.ptp(found[0][fan]) > 0
    write_volume(tmp_path / "t1.nii.gz", case.images["T1w"])
    given, model, made = (str(tmp_path / name) for name in ("t1.nii.gz", "model", "out"))
    assert cli.main(["translate", given, "--model", model, "-o", made]) == 0
    made = read_volume(tmp_path / "out" / "t1_T2w.nii.gz")
    assert made.same_grid(case.images["T1w"], 1e-4)
    assert (made.array[fan] >= 1).mean() > 0.95, "all but the corners of the cube, which no brain has"
    assert not made.array[~fan].any()
