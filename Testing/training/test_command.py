"""``iousynth train`` on a cohort of tiny cases: what it writes, and one line for everything that is wrong."""

import json
import shutil

import numpy as np
import pytest
from support.noise_cohort import write_noise_cohort
from support.tiny_models import generator_network, write_bundle
from support.toy_presets import toy, toy_unet

from IoUSynthLib import cli
from IoUSynthLib.cases.case import Case, write_case
from IoUSynthLib.cases.index import write_index
from IoUSynthLib.models.bundle import load
from IoUSynthLib.training import release
from IoUSynthLib.training.presets import PRESETS
from IoUSynthLib.volume import Volume


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A case for training and one for validation."""
    return write_noise_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(autouse=True)
def _tiny_presets(monkeypatch):
    """Networks and slices of toy size, under the names that ship."""
    for name, preset in list(PRESETS.items()):
        if preset.last.foldable:
            monkeypatch.setitem(PRESETS, name, toy_unet(preset))


def run(*arguments):
    return cli.main(["train", *map(str, arguments)])


@pytest.mark.parametrize("name", ["ious2mr-2.5d", "ious2mr-2.5d-adversarial", "lesion-3d"])
def test_a_run_leaves_checkpoint_curve_and_pictures(name, cohort, tmp_path, capsys):
    assert run(name, "--data", cohort, "-o", tmp_path / "run", "--device", "cpu") == 0
    names = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*.*")}
    assert {"checkpoint.pt", "curve.csv", "samples/step-000002.png", "samples/step-000004.png"} <= names
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert [line.split("  ")[0] for line in lines] == ["step 2/4", "step 4/4"]
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    kept = [content[key] for key in ("preset", "recipe", "seed", "initial", "predictions", "generator")]
    assert kept == [name, "default", 0, None, False, None]
    measured = content["cohort"].pop("training_range")
    assert content["cohort"] == {"simulated": True, "seed": 0, "cases": {"train": 1, "validation": 1}, "heads": 1}
    assert set(measured) == {"brightness", "contrast", "grain", "fan_ml"}
    (stage,) = content["stages"]
    assert (stage["name"], stage["steps"]) == ("main", 4)
    assert stage["window"] == [32] * PRESETS[name].last.dimensions


@pytest.mark.parametrize("name", ["ious2mr-2.5d", "lesion-3d-ultrasound-only", "lesion-3d-synthetic-only"])
def test_the_run_of_any_preset_becomes_a_bundle(name, cohort, tmp_path, monkeypatch):
    """What the files of a network hold is tested elsewhere."""
    for export in ("export_onnx", "export_torchscript"):
        monkeypatch.setattr(release, export, lambda network, channels, path, **_: path.write_bytes(b"network") and 0.0)
    assert run(name, "--data", cohort, "-o", tmp_path / "run", "--device", "cpu", "--steps", 2) == 0
    assert cli.main(["models", "export", str(tmp_path / "run"), "-o", str(tmp_path / "own")]) == 0
    bundle, stage = load(tmp_path / "own"), PRESETS[name].last
    assert (bundle.kind, bundle.inputs, bundle.outputs) == (stage.kind, stage.inputs, stage.outputs)
    assert bundle.details["training_data"] == (
        "1 case for training of a simulated cohort of 1 head (seed 0), no real ultrasound"
    )
    assert ("training_range" in bundle.details) == ("ioUS" in stage.inputs)
    card = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")
    assert f"Trained with the preset `{name}` of IoUSynth: batches of 2 x 32x32" in card


@pytest.fixture
def published(cohort, tmp_path, monkeypatch):
    """Arguments of a training by the published recipe, of a family of toy size."""
    name = "pix2pix-2d-t2w-flair"
    monkeypatch.setitem(PRESETS, name, toy(PRESETS[name], 2))
    return name, "--data", cohort, "-o", tmp_path / "run", "--device", "cpu", "--recipe", "published"


def test_a_family_learns_by_the_published_recipe(published, tmp_path, monkeypatch, capsys):
    """Run and model say so; the run goes on with no other recipe."""
    assert run(*published) == 0
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert content["recipe"] == "published"
    assert "slices along axis 0, ultrasound varied in gamma, turned by up to 15" in content["stages"][0]["recipe"]
    assert not (tmp_path / "run" / "best.pt").exists(), "the last weights are kept"
    for export in ("export_onnx", "export_torchscript"):
        monkeypatch.setattr(release, export, lambda network, channels, path, **_: path.write_bytes(b"network") and 0.0)
    assert cli.main(["models", "export", str(tmp_path / "run"), "-o", str(tmp_path / "own")]) == 0
    bundle = load(tmp_path / "own")
    assert (bundle.details["recipe"], bundle.slice_axes) == ("published", (0, 1, 2))
    card = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8")
    assert "Trained with the preset `pix2pix-2d-t2w-flair` of IoUSynth, in the published recipe: batches of" in card
    error = complaint(capsys, *published[:-2])
    assert "was begun with the published recipe; give --recipe published, or another output folder" in error


def test_a_run_goes_on_with_its_own_preset_and_cohort_alone(cohort, tmp_path, capsys):
    begun, options = tmp_path / "run", ("--steps", 1, "--device", "cpu")
    assert run("ious2mr-2.5d", "--data", cohort, "-o", begun, *options) == 0
    before = {path: path.read_bytes() for path in (begun / "checkpoint.pt", begun / "run.json")}
    error = complaint(capsys, "lesion-3d", "--data", cohort, "-o", begun, *options)
    assert "run: was begun with the preset ious2mr-2.5d; give that, or another output folder" in error
    other = shutil.copytree(cohort, tmp_path / "other")
    index = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**index, "cases": index["cases"] + [index["cases"][-1]]}))
    error = complaint(capsys, "ious2mr-2.5d", "--data", other, "-o", begun, *options)
    assert f"run: was begun on another cohort, then in {cohort.resolve()}; give that, or" in error
    assert {path: path.read_bytes() for path in before} == before
    moved = shutil.copytree(cohort, tmp_path / "moved")
    assert run("ious2mr-2.5d", "--data", moved, "-o", begun, *options) == 0


def test_the_published_recipe_wants_all_targets(published, cohort, tmp_path, capsys):
    folder = shutil.copytree(cohort, tmp_path / "cohort")
    case = folder / "case-0000" / "case.json"
    case.write_text(json.dumps({**json.loads(case.read_text()), "targets": ["T2w"]}))
    error = complaint(capsys, *published[:2], folder, *published[3:])
    assert "cohort: no case for train has T2w and FLAIR, and the published recipe learns from no others" in error


def test_presets_that_have_no_published_recipe(cohort, tmp_path, capsys):
    error = complaint(capsys, "lesion-3d", "--data", cohort, "-o", tmp_path / "run", "--recipe", "published")
    assert "--recipe: lesion-3d has no published recipe; leave the option out" in error
    assert run("--list", "--recipe", "published") == 0
    lines = capsys.readouterr().out.splitlines()
    benchmark = [line for line in lines if not line.startswith(("brainvoxgen", "mdaunet", "unet-", "vae"))]
    assert len(benchmark) == 48
    assert all("varied" in line for line in benchmark if "-3d-" not in line)


def test_a_seed_gives_one_result(cohort, tmp_path):
    for number, seed in enumerate((1, 1, 2)):
        assert run("ious2mr-2.5d", "--data", cohort, "-o", tmp_path / str(number), "--seed", seed, "--steps", 2) == 0
    curves = [(tmp_path / str(number) / "curve.csv").read_text() for number in range(3)]
    assert curves[0] == curves[1] != curves[2]


def test_batches_drawn_ahead_give_the_same_result(cohort, tmp_path):
    for workers in (0, 1):
        output = tmp_path / str(workers)
        assert run("lesion-3d", "--data", cohort, "-o", output, "--steps", 2, "--workers", workers) == 0
    curves = [(tmp_path / str(workers) / "curve.csv").read_text() for workers in (0, 1)]
    assert curves[0] == curves[1]


def test_a_segmenter_learns_from_the_images_of_a_generator(cohort, tmp_path, capsys, monkeypatch):
    generator = write_bundle(tmp_path / "first", generator_network())
    arguments = ("lesion-3d", "--data", cohort, "--steps", 1)
    assert run(*arguments, "--generator", generator, "-o", tmp_path / "run") == 0
    assert run(*arguments, "-o", tmp_path / "true") == 0
    curves = [(tmp_path / name / "curve.csv").read_text() for name in ("run", "true")]
    assert curves[0] != curves[1]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["generator"] == "first"
    made = sorted(path.name for path in (tmp_path / "run" / "predictions").glob("*.npy"))
    assert made == [f"case-000{case}_{image}.npy" for case in (0, 1) for image in ("FLAIR", "T2w")]
    for export in ("export_onnx", "export_torchscript"):
        monkeypatch.setattr(release, export, lambda network, channels, path, **_: path.write_bytes(b"network") and 0.0)
    release.export_run(tmp_path / "run", tmp_path / "mine")
    assert load(tmp_path / "mine").generator == "first"
    other = write_bundle(tmp_path / "other", generator_network(repeats=1))
    error = complaint(capsys, *arguments, "--generator", other, "-o", tmp_path / "run")
    assert "predictions: holds images of another model, first; choose another folder" in error


@pytest.fixture
def painted(tmp_path):
    """A cohort of one volume of noise with a cavity."""
    folder = tmp_path / "painted"
    image = Volume(np.random.default_rng(0).integers(1, 200, (40, 40, 40)).astype(np.uint8), (0.8,) * 3)
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[10:20, 10:20, 10:20] = 2
    masks = (image.with_array(mask) for mask in (labels, np.ones_like(labels)))
    parameters = {"simulated": False, "painted": True, "labelled": ["cavity"], "targets": []}
    write_case(Case({"ioUS": image}, *masks, parameters), folder / "painted-0000")
    write_index(folder, [{"name": "painted-0000", "head": "real", "split": "train"}], simulated=False)
    return folder


def test_a_segmenter_learns_from_painted_cavities_besides(cohort, painted, tmp_path, capsys):
    arguments = ("lesion-3d-ultrasound-only", "--data", cohort, "--steps", 1, "--painted", painted)
    assert run(*arguments, "-o", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["painted"] == 1
    assert run(*arguments[:-2], "-o", tmp_path / "without") == 0
    curves = [(tmp_path / name / "curve.csv").read_text() for name in ("run", "without")]
    assert curves[0] != curves[1]
    assert "painted cases lack" in complaint(capsys, "ious2mr-2.5d", *arguments[1:], "-o", tmp_path / "generator")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "dataset.json").write_text("{}")
    options = ("--painted", tmp_path / "damaged", "-o", tmp_path / "other")
    assert "damaged/dataset.json: is damaged" in complaint(capsys, *arguments[:-2], *options)


def test_list(capsys):
    assert run("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert "generator" in lines[0]
    assert "4 steps  ioUS -> T2w, FLAIR, log_error" in lines[0]
    published = next(line for line in lines if line.startswith("pix2pix-2d-t2w "))
    assert published.endswith(
        "20000 steps  ioUS -> T2w  batches of 16 x 192x192, rate 0.0002/5e-05 cosine; absolute 10, structure 8, "
        "gradient 5, adversarial 1, matching 2, R1 10 every 16"
    )


def complaint(capsys, *arguments):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    return captured.err


def test_bad_input(cohort, tmp_path, capsys):
    output, name = tmp_path / "run", "ious2mr-2.5d"
    assert "PRESET, --data and -o are needed" in complaint(capsys, name)
    error = complaint(capsys, "nothing", "--data", cohort, "-o", output)
    assert "nothing: no such preset; choose from ious2mr-2.5d" in error
    error = complaint(capsys, name, "--data", tmp_path, "-o", output)
    assert f"{tmp_path / 'dataset.json'}: is missing; make a cohort with iousynth simulate" in error
    error = complaint(capsys, name, "--data", cohort, "-o", output, "--generator", name)
    assert "ious2mr-2.5d learns from true MRI alone" in error
    error = complaint(capsys, "lesion-3d", "--data", cohort, "-o", output, "--generator", "lesion-3d")
    assert "does not make FLAIR, T2w of ultrasound, which lesion-3d reads" in error
    assert not output.exists()
    (tmp_path / "file").write_text("")
    error = complaint(capsys, name, "--data", cohort, "-o", tmp_path / "file" / "run")
    assert "run: cannot be written (Not a directory); choose another output folder" in error


def test_bad_cohorts(tmp_path, capsys):
    index = tmp_path / "dataset.json"
    arguments = ("ious2mr-2.5d", "--data", tmp_path, "-o", tmp_path / "run")
    for text in ("{", "[]", '{"cases": [{}]}'):
        index.write_text(text)
        assert f"{index}: is damaged" in complaint(capsys, *arguments)
    index.write_text('{"cases": [{"name": "case-0000", "split": "train"}]}')
    assert "case.json: is missing" in complaint(capsys, *arguments)
    index.write_text('{"cases": []}')
    assert "has no cases for train; make a cohort with more heads" in complaint(capsys, *arguments)
    (tmp_path / "case-0000").mkdir()
    (tmp_path / "case-0000" / "case.json").touch()
    entry = {"name": "case-0000", "head": "icbm152", "split": "train"}
    for simulated, remedy in ((True, "simulate --anatomy DIR, with five or more"), (False, "prepare more patients")):
        index.write_text(json.dumps({"simulated": simulated, "cases": [entry]}))
        error = complaint(capsys, *arguments)
        assert "has no cases for validation; " in error
        assert remedy in error


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [("--steps", "0", "not a positive whole number"), ("--seed", "-1", "not a whole number"),
     ("--seed", "1.5", "not a whole number"), ("--device", "tpu", "invalid choice")],
)
def test_bad_options(option, value, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("ious2mr-2.5d", option, value)
    assert stopped.value.code == 2
    assert text in capsys.readouterr().err


def test_a_gpu_that_is_not_there(cohort, tmp_path, capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    error = complaint(capsys, "ious2mr-2.5d", "--data", cohort, "-o", tmp_path, "--device", "cuda")
    assert "has no GPU of its own (0 found)" in error


def test_a_checkpoint_of_another_preset(cohort, tmp_path, capsys):
    assert run("lesion-3d", "--data", cohort, "-o", tmp_path, "--steps", 1) == 0
    capsys.readouterr()
    error = complaint(capsys, "ious2mr-2.5d", "--data", cohort, "-o", tmp_path, "--steps", 2)
    assert "was begun with the preset lesion-3d; give that, or another output folder" in error


def test_a_model_that_is_not_there_cannot_be_started_from(cohort, tmp_path, capsys):
    assert run("lesion-3d", "--data", cohort, "-o", tmp_path / "run", "--initial", "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
