"""A generator that goes on learning on one patient's MRI: simulated, trained, interrupted, and refused for another."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from support.tiny_models import write_bundle  # noqa: E402
from support.toy_presets import toy_unet  # noqa: E402

from IoUSynthLib import cli, pipeline  # noqa: E402
from IoUSynthLib.cases.index import read_index  # noqa: E402
from IoUSynthLib.files.volumes import read_volume, write_volume  # noqa: E402
from IoUSynthLib.models.bundle import NETWORK_FILE, load  # noqa: E402
from IoUSynthLib.simulation.patient import FILES  # noqa: E402
from IoUSynthLib.synthesis.preoperative import image_sha256  # noqa: E402
from IoUSynthLib.training import personal, trainer  # noqa: E402
from IoUSynthLib.training.presets import PRESETS  # noqa: E402
from IoUSynthLib.volume import InputError, Volume  # noqa: E402


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """Nested ellipsoids of 70 mm: fluid, white matter, cortex."""
    folder, noise = tmp_path_factory.mktemp("patients") / "mine", np.random.default_rng(0)
    folder.mkdir()
    index = np.stack(np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing="ij")) * 2.0
    radius = np.sqrt((index**2).sum(0)) / 35
    signals = {"T1": (500, 800, 200), "T2w": (900, 600, 2000), "FLAIR": (500, 380, 90)}
    for name, file in FILES.items():
        image = np.zeros(radius.shape)
        for limit, signal in zip((1, 0.85, 0.4), signals[name], strict=True):
            image[radius < limit] = signal
        write_volume(folder / file, Volume((image * noise.normal(1, 0.02, image.shape)).astype(np.float32), (2.0,) * 3))
    return folder


def only_weights(network):
    """An ONNX file with a network's convolutions and no graph, which is all that a training begins with."""
    named = {name: value.numpy() for name, value in network.state_dict().items() if "conv" in name.split(".")[-2]}
    kept = [onnx.numpy_helper.from_array(value, name) for name, value in named.items()]
    return onnx.helper.make_model(onnx.helper.make_graph([], "weights", [], [], kept)).SerializeToString()


@pytest.fixture(scope="module")
def toy(tiny_bundles, tmp_path_factory):
    """Networks and sweeps of toy size, a checkpoint every two steps, and the bundle of the generator to go on from."""
    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, personal.PRESET, toy_unet(PRESETS[personal.PRESET]))
        write_bundle(folder / "models" / "ious2mr-2.5d", only_weights(PRESETS[personal.PRESET].last.network()))
        patch.setattr(personal, "simulate_case", partial(personal.simulate_case, size=40))
        patch.setattr(personal, "_CHUNK", 2)
        patch.setenv("IOUSYNTH_MODELS", f"{folder / 'models'}:{tiny_bundles}")
        yield folder


@pytest.fixture(autouse=True)
def _quick(no_board, monkeypatch):
    monkeypatch.setattr(trainer, "Board", no_board)


@pytest.fixture(scope="module")
def model(toy, patient, no_board):
    """The patient's model, of an interrupted and of a repeated command."""
    command = ["personalize", str(patient), "-o", str(toy / "mine"), "--steps", "4", "--cases", "4", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "Board", no_board)
        real, made = personal.simulate_case, []

        def interrupted(head, seed):
            if len(made) == 3:
                raise KeyboardInterrupt
            made.append(seed)
            return real(head, seed)

        patch.setattr(personal, "simulate_case", interrupted)
        assert cli.main(command) == 130
        assert not (toy / "mine").exists()
        patch.setattr(personal, "simulate_case", lambda head, seed: made.append(seed) or real(head, seed))
        assert cli.main(command) == 0
        assert made == [0, 1, 2, 3, 4, 5], "none is simulated twice"
    return toy / "mine"


def weights(model):
    graph = onnx.load(str(model / NETWORK_FILE)).graph
    return {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}


def test_the_bundle_names_the_patients_mri(model, toy, patient):
    bundle = load(model)
    assert bundle.patient == {name: image_sha256(read_volume(patient / file)) for name, file in FILES.items()}
    assert bundle.details["preset"] == personal.PRESET
    card = (model / "docs" / "README.md").read_text()
    assert "4 cases for training of a simulated cohort of 1 head (seed 0)" in card
    assert "It began with the weights of ious2mr-2.5d" in card
    assert "for one patient alone" in card
    assert "4 steps" in card
    cohort = toy / "mine-run" / "cohort"
    assert [len(read_index(cohort, split)) for split in ("train", "validation")] == [4, 2]
    before, after = weights(toy / "models" / "ious2mr-2.5d"), weights(model)
    first, last = (np.concatenate([found[name].ravel() for name in before]) for found in (before, after))
    assert 0.9 < np.corrcoef(first, last)[0, 1] < 1, "it went on from these weights"


@pytest.mark.long
def test_the_same_seed_and_steps_give_the_same_weights(model, toy, patient, tmp_path):
    personal.personalize(
        patient, tmp_path / "again", tmp_path / "run", budget=personal.Budget(steps=4), cases=4,
        report=lambda line: None,
    )  # fmt: skip
    first, again = weights(model), weights(tmp_path / "again")
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_it_is_refused_beside_other_mri_and_doubted_without_any(
    model, patient, ultrasound, ultrasound_file, tiny_bundles, monkeypatch
):
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tiny_bundles))  # what it went on from has no graph here

    def synthesize(*options):
        output = str(ultrasound_file.parent / "out")
        code = cli.main(["synthesize", str(ultrasound_file), "-o", output, "--model", str(model), *options])
        report = ultrasound_file.parent / "out" / "case_report.json"
        return code, json.loads(report.read_text()) if report.is_file() else {}

    other = ultrasound_file.parent / "other.nii.gz"
    image = read_volume(patient / "t2.nii.gz")
    write_volume(other, image.with_array(image.array * 1.01))
    assert synthesize("--preoperative", str(other)) == (2, {})
    code, report = synthesize("--preoperative", str(patient / "t2.nii.gz"))
    assert code == 0
    assert report["mri_sha256"] == [image_sha256(image)]
    assert not any("for one patient alone" in warning for warning in report["warnings"])
    code, report = synthesize()
    assert code == 0
    assert "mine is for one patient alone, and whether this is the one cannot be told" in " ".join(report["warnings"])
    with pytest.raises(InputError, match=r"mine: was personalised on other MRI than this patient's; choose another"):
        pipeline.synthesize(ultrasound, model, mri_sha256=("0" * 64,))


def test_a_run_of_another_patient_is_not_gone_on_with(model, toy, patient, tmp_path):
    for change in ({"seed": 1}, {"cases": 5}):
        with pytest.raises(InputError, match="was begun for another patient, seed or number of sweeps"):
            personal.personalize(patient, tmp_path / "new", toy / "mine-run", **{"cases": 4, **change})
    with pytest.raises(InputError, match="mine: exists already"):
        personal.personalize(patient, model, toy / "mine-run", cases=4)
    with pytest.raises(InputError, match=r"needs t1\.nii\.gz, t2\.nii\.gz, flair\.nii\.gz"):
        personal.personalize(tmp_path, tmp_path / "new", tmp_path / "run")


def test_the_time_is_kept_to(toy, patient, tmp_path, monkeypatch):
    """Half of it is for simulating, and what is left for learning; a second call has spent it already."""
    now, real = [0.0], personal.simulate_case

    def simulate(head, seed):
        now[0] += 10.0
        return real(head, seed)

    trained = []

    def train(preset, cohort, run, **how):
        now[0] += 20.0
        trained.append(preset.last.recipe.steps)

    monkeypatch.setattr(personal, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(personal, "simulate_case", simulate)
    monkeypatch.setattr(personal, "train", train)
    monkeypatch.setattr(personal, "export_run", lambda *what, **how: 0.0)
    said = []
    for _ in range(2):
        personal.personalize(
            patient, tmp_path / "model", tmp_path / "run", budget=personal.Budget(minutes=2), report=said.append
        )
    assert len(read_index(tmp_path / "run" / "cohort", "train")) == 4, "60 s of 120, and never fewer"
    assert "half of the time is over: learns from 4 simulated sweeps, not 12" in said
    assert trained == [2, 4, 6, 2]
