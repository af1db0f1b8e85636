"""Presets at toy size: each learns, is exported, reloaded, and synthesizes a volume through the pipeline.

``make test`` takes one of each family and of each regime, ``make test-all`` all 48.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, stats

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from support.machine_names import machine_names  # noqa: E402
from support.toy_presets import BENCHMARK, ONE_OF_EACH, toy  # noqa: E402

from IoUSynthLib import cli, pipeline  # noqa: E402
from IoUSynthLib.cases.case import Case, write_case  # noqa: E402
from IoUSynthLib.cases.index import read_index  # noqa: E402
from IoUSynthLib.inference import open_session, predict  # noqa: E402
from IoUSynthLib.models.bundle import METADATA, load  # noqa: E402
from IoUSynthLib.models.write import LICENCE_NOT_STATED  # noqa: E402
from IoUSynthLib.training import preset as preset_module  # noqa: E402
from IoUSynthLib.training import run as run_module  # noqa: E402
from IoUSynthLib.training import trainer  # noqa: E402
from IoUSynthLib.training.data import load_volumes  # noqa: E402
from IoUSynthLib.training.preset import REFINER, SLICES  # noqa: E402
from IoUSynthLib.training.presets import PRESETS  # noqa: E402
from IoUSynthLib.training.release import export_run  # noqa: E402
from IoUSynthLib.training.run import train  # noqa: E402
from IoUSynthLib.training.run_folder import (  # noqa: E402
    BUNDLE,
    PREDICTIONS,
    PRETRAINING,
    RUN,
    average_weights,
)
from IoUSynthLib.volume import Volume  # noqa: E402

EDGE = 40
#: Volumes take longer a step, and need fewer.
STEPS = {"2D": 12, "2.5D": 12, "2D+3D-refine": 12, "3D": 6}

@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Three cases for training and one for validation: T2w is the ultrasound inverted, FLAIR its square.

    The values are even in all, so that normalising each case by itself leaves what is to be learned the same. With one
    case for training a refiner learns what the first stage gets wrong in just this one.
    """
    folder, rng = tmp_path_factory.mktemp("cohort"), np.random.default_rng(0)
    fan = np.zeros((EDGE,) * 3, np.uint8)
    fan[3:-3, 3:-3, 3:-3] = 1
    entries = []
    for number, split in enumerate(("train", "train", "train", "validation")):
        texture = stats.rankdata(ndimage.gaussian_filter(rng.normal(size=fan.shape), 3)).reshape(fan.shape) / fan.size
        images = {
            "ioUS": Volume(((20 + 235 * texture) * fan).astype(np.uint8)),
            "T2w": Volume((1000 * (1 - texture)).astype(np.int16)),
            "FLAIR": Volume((1000 * texture**2).astype(np.int16)),
        }
        write_case(Case(images, Volume(0 * fan), Volume(fan), {"simulated": True}), folder / f"case-{number:04d}")
        entries.append({"name": f"case-{number:04d}", "head": "noise", "split": split})
    (folder / "dataset.json").write_text(json.dumps({"simulated": True, "seed": 0, "cases": entries}))
    return folder


@pytest.fixture(scope="module", autouse=True)
def _quick(no_board):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "Board", no_board)
        patch.setattr(preset_module, "perceptual_score", lambda batches: None)
        yield


def losses(folder):
    """The supervised loss of the averaged network on the fixed validation batch, by checkpoint."""
    lines = (folder / "curve.csv").read_text().splitlines()
    names = lines[0].split(",")
    columns = [names.index(name) for name in ("absolute", "structure", "gradient") if name in names]
    return [sum(float(line.split(",")[column]) for column in columns) for line in lines[1:]]


def untrained_loss(preset, cohort, run):
    """The same loss of the network before it has learned anything."""
    torch.manual_seed(0)
    stage = preset.last
    load = partial(stage.load, predictions=run / PREDICTIONS)
    train_batches, validation = (
        stage.batches(load_volumes(read_index(cohort, split), load), seed=0, augment=False)
        for split in ("train", "validation")
    )
    learner = trainer.Trainer(
        stage.network(), stage.objective(), train=train_batches, validation=validation, schedule=stage.recipe,
        folder=run,
    )
    learner.average.eval()
    return sum(learner._validate().values())


def small(name):
    return toy(PRESETS[name], STEPS[PRESETS[name].regime])


def learn(preset, cohort, run):
    """Train, and check that the loss falls."""
    network = train(preset, cohort, run, report=lambda line: None)
    before, after = untrained_loss(preset, cohort, run), losses(run)[-1]
    assert np.isfinite(after)
    assert after < before
    return network


@pytest.fixture(scope="module")
def slice_runs(cohort, tmp_path_factory):
    """Runs of the 2D presets with their bundles, each made when it is first asked for: also stages of 2D+3D-refine."""
    runs = {}

    def get(name):
        if name not in runs:
            run = tmp_path_factory.mktemp("slices") / name
            learn(small(name), cohort, run)
            assert export_run(run, run / BUNDLE, preset=small(name)) < 1e-3
            runs[name] = run
        return runs[name]

    return get


def presets(*regimes):
    """Parameters of a test: the names of the regimes' presets, marked as long where the short run leaves them out."""
    names = [name for name, preset in BENCHMARK.items() if preset.regime in regimes]
    return [pytest.param(name, marks=[] if name in ONE_OF_EACH else pytest.mark.long) for name in names]


@pytest.fixture
def sweep(tiny_models, ultrasound):
    """A part of the fan, small and oblique; the outlines are made with the tiny default models."""
    return Volume(ultrasound.array[16:36, 18:42, 20:44], ultrasound.spacing, ultrasound.origin, ultrasound.direction)


@pytest.mark.parametrize("name", presets("2D"))
def test_slices(name, slice_runs, sweep):
    check_bundle(small(name), slice_runs(name) / BUNDLE, sweep)


@pytest.mark.parametrize("name", presets("2.5D", "3D"))
def test_slices_with_neighbours_and_volumes(name, cohort, sweep, tmp_path):
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    network = learn(small(name), cohort, run)
    weights = average_weights(run, small(name).last.network())
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())
    assert export_run(run, bundle, preset=small(name)) < 1e-3
    check_bundle(small(name), bundle, sweep)


@pytest.mark.parametrize("name", presets("2D+3D-refine"))
def test_refinement(name, cohort, slice_runs, sweep, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(slice_runs(name.replace("2d+3d-refine", "2d")), run / SLICES)  # a first stage that is finished
    network = learn(small(name), cohort, run)
    check_refined(small(name), network, run, tmp_path / "bundle")
    check_images(small(name), tmp_path / "bundle", sweep)


def check_bundle(preset, folder, sweep):
    """The bundle is valid, of the preset's regime, and synthesizes."""
    bundle = load(folder)
    bundle.verify()
    assert bundle.outputs == preset.last.outputs
    assert bundle.regime == preset.regime
    assert (folder / "models" / "model.ts").is_file()
    check_images(preset, folder, sweep)


def check_images(preset, folder, sweep):
    """The pipeline makes the preset's images: finite, not constant, on the input's grid, outlined by the default."""
    result = pipeline.synthesize(sweep, folder, "cpu")
    fan = result.valid.array > 0
    assert tuple(result.images) == preset.last.targets
    assert result.report["companion"]["name"] == "ious2mr-2.5d"
    for image in result.images.values():
        assert image.same_grid(sweep, 0.0)
        assert np.isfinite(image.array).all()
        assert image.array[fan].std() > 0


def check_refined(preset, network, run, folder):
    """The first stage's bundle made the cached predictions; the whole has both stages, and the refiner's is this."""
    for target in preset.last.targets:
        cached = np.load(run / PREDICTIONS / f"case-0000_{target}.npy")
        assert cached.shape == (EDGE,) * 3
        assert np.abs(cached).max() <= 1
    record = json.loads((run / RUN).read_text())
    assert [(stage["name"], stage["window"]) for stage in record["stages"]] == [(SLICES, [64] * 2), (REFINER, [32] * 3)]
    assert read_index(Path(record["cohort_folder"]), "train"), "for an export to find"
    first = load(run / SLICES / "bundle")
    assert (first.regime, first.refiner) == ("2D", None)
    export_run(run, folder, preset=preset)
    bundle = load(folder)
    bundle.verify()
    assert (bundle.regime, bundle.sha256) == ("2D", first.sha256)
    inputs = (*preset.last.targets, "ioUS") if preset.last.family == "syndiff" else preset.last.targets
    assert (bundle.refiner.inputs, bundle.refiner.outputs) == (inputs, preset.last.targets)
    assert (folder / "models" / "refiner.ts").is_file()
    assert machine_names(folder) == []
    images = np.random.default_rng(0).uniform(-1, 1, (len(inputs), 32, 32, 32)).astype(np.float32)
    found = predict(open_session(bundle.refiner, "cpu"), images, np.ones((32, 32, 32), bool), bundle.refiner)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(images)[None])[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_resvit_learns_in_two_phases(cohort, tmp_path):
    """The first phase leaves the transformer branches alone, and the second starts from its weights."""
    preset = small("resvit-2d-t2w")
    torch.manual_seed(0)
    fresh = preset.last.network().state_dict()
    trained = train(preset, cohort, tmp_path, report=lambda line: None)
    assert trained.transformer
    early = torch.load(tmp_path / PRETRAINING / "checkpoint.pt", weights_only=True)["network"]
    late = trained.state_dict()
    branch = [name for name in early if ".trans." in name and name.endswith("weight")]
    assert branch
    for name in branch:
        assert torch.equal(early[name], fresh[name])
        assert not torch.equal(late[name], early[name])
    assert not torch.equal(early["enc.1.weight"], fresh["enc.1.weight"])


def test_a_finished_run_is_not_trained_again(cohort, tmp_path, monkeypatch):
    preset = toy(PRESETS["cut-2d-t2w"], 2)
    first = train(preset, cohort, tmp_path, report=lambda line: None).state_dict()
    record, lines = (tmp_path / RUN).read_text(), []
    monkeypatch.setattr(run_module, "training_range", lambda volumes: pytest.fail("was measured already"))
    again = train(preset, cohort, tmp_path, report=lines.append).state_dict()
    assert not lines
    assert (tmp_path / RUN).read_text() == record
    about = json.loads(record)["cohort"]
    assert (about["cases"], about["seed"]) == ({"train": 3, "validation": 1}, 0)
    assert set(about["training_range"]) == {"brightness", "contrast", "grain", "fan_ml"}
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_from_the_command_line(cohort, tmp_path, monkeypatch, capsys):
    """Train for a step, export, and refuse what is no run or would overwrite."""
    name = "cut-3d-t2w"
    monkeypatch.setitem(PRESETS, name, toy(PRESETS[name], 1, patch=16))
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    arguments = ["train", name, "--data", str(cohort), "--device", "cpu", "-o", str(run)]
    assert cli.main(arguments) == 0
    assert cli.main([*arguments, "--initial", "ious2mr-2.5d"]) == 2
    assert "--initial: cut-3d-t2w starts from random weights" in capsys.readouterr().err
    assert cli.main(["models", "export", str(run), "-o", str(bundle)]) == 0
    assert "ONNX Runtime, TorchScript and torch differ by" in capsys.readouterr().out
    assert load(bundle).regime == "3D"
    assert (bundle / "models" / "model.ts").is_file()
    assert machine_names(bundle) == []
    assert load(bundle).licence == LICENCE_NOT_STATED
    assert not {"authors", "copyright", "changelog"} & set(json.loads((bundle / METADATA).read_text()))
    assert "batches of 2 x 16x16x16, " in (bundle / "docs" / "README.md").read_text()
    assert cli.main(["models", "export", str(run), "-o", str(bundle)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["models", "export", str(cohort), "-o", str(tmp_path / "other")]) == 2
    assert "is no run of a preset" in capsys.readouterr().err
    arguments = ["models", "export", str(run), "-o", str(tmp_path / "other")]
    assert cli.main([*arguments, "--licence", str(tmp_path / "nothing")]) == 2
    assert "nothing: cannot be read (No such file or directory); give the text" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
