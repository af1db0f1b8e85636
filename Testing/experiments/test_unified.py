"""Tables of MMHVAE on tiny cases: sets and means by hand, a toy training that is kept, runs that are given."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.training import NoBoard  # noqa: E402

from IoUSynthLib.cases.case import Case, write_case  # noqa: E402
from IoUSynthLib.cases.index import write_index  # noqa: E402
from IoUSynthLib.experiments import trials, unified  # noqa: E402
from IoUSynthLib.experiments.__main__ import main  # noqa: E402
from IoUSynthLib.training import trainer  # noqa: E402
from IoUSynthLib.training.presets import PRESETS  # noqa: E402
from IoUSynthLib.training.run import train  # noqa: E402
from IoUSynthLib.training.run_folder import FinishedRun  # noqa: E402
from IoUSynthLib.volume import InputError, Volume  # noqa: E402

SHAPE = (6, 32, 32)
MRI = ("T2w", "ceT1", "FLAIR")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Noise whose MRI follows from it; the second test case lacks FLAIR."""
    folder, rng, entries = tmp_path_factory.mktemp("cohort"), np.random.default_rng(0), []
    fan = np.zeros(SHAPE, np.uint8)
    fan[1:-1, 1:-1, 1:-1] = 1
    for number, split in enumerate(("train", "train", "validation", "test", "test")):
        texture, name = rng.random(SHAPE), f"case-{number}"
        targets = MRI[:2] if number == 4 else MRI
        images = {target: Volume((1000 * texture**k).astype(np.int16)) for k, target in enumerate(targets, 1)}
        images["ioUS"] = Volume(((20 + 235 * texture) * fan).astype(np.uint8))
        about = {"simulated": True, "head": name, "targets": list(targets), "lesion": {"kind": "none"}}
        about["white_matter"] = dict.fromkeys(targets, 500)
        write_case(Case(images, Volume(0 * fan), Volume(fan), about), folder / name)
        entries.append({"name": name, "head": name, "split": split})
    write_index(folder, entries, seed=0)
    return folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(trainer, "Board", NoBoard)
    monkeypatch.setattr(trials, "export_run", lambda *arguments, **how: 0.0)


def run(cohort, output, *arguments):
    return main(["unified", *map(str, ("--data", cohort, "-o", output, "--steps", 2, "--cases", 2, *arguments))])


def test_all_15_sets():
    assert sorted(map(len, unified.SETS)) == [1] * 4 + [2] * 6 + [3] * 4 + [4]
    assert len(set(unified.SETS)) == 15


def test_means_over_sets_by_hand():
    scores = {"ioUS": {"T2w": {"PSNR": 10.0}}, "T2w": {"T2w": {"PSNR": 40.0}}, "ioUS + ceT1": {"T2w": {"PSNR": 13.0}}}
    found = unified._with_means(scores)
    assert found["T2w", unified.ALL, "PSNR"] == pytest.approx(21)
    assert found["T2w", unified.WITHOUT, "PSNR"] == pytest.approx(11.5)
    assert found["T2w", "ioUS", "PSNR"] == 10


def test_slices_go_through_in_the_window_and_the_set_alone():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

        def forward(self, image, present, temperature):
            assert temperature == 0.7
            self.seen.append((tuple(image.shape), present, float(image[..., 30:].max())))
            return image[:, [0]].expand(-1, 4, -1, -1) + 0.5, None

    network = Network()
    slices = np.full((4, 20, 24, 30), np.nan, np.float16)
    slices[[1, 3]] = 0.25
    made = unified.made_of(network, slices, (1, 3), 32)
    assert made.shape == slices.shape
    assert (made == 0.75).all()
    assert network.seen == [((16, 2, 32, 32), (1, 3), -1.0), ((4, 2, 32, 32), (1, 3), -1.0)]
    with pytest.raises(InputError, match="takes slices of 16 pixels, and a case has 24 x 30"):
        unified.made_of(network, slices, (1, 3), 16)


@pytest.mark.parametrize(("edge", "window", "levels"), [(32, 32, 5), (64, 64, 6), (100, 128, 7)])
def test_narrow_presets_fit_the_cases(edge, window, levels):
    for name in dict.fromkeys(name for table in unified.TABLES.values() for name in table):
        stage = unified.narrow(PRESETS[name], edge, 10).last
        assert stage.recipe.window == (window, window)
        assert stage.recipe.rate >= 1e-3
        if name.startswith("mmhvae"):
            assert stage.size["levels"] == levels
        stage.network()


def test_a_toy_training_is_scored_beside_the_mean_and_kept(cohort, tmp_path, capsys):
    assert run(cohort, tmp_path, "--presets", "mmhvae") == 0
    text = (tmp_path / "unified-I.md").read_text()
    assert capsys.readouterr().out == text
    assert text.startswith("Table I of MMHVAE on 2 simulated cases of heads that training never saw; trained small")
    assert text.count("| ioUS + T2w + ceT1 + FLAIR |") == 4
    summary = json.loads((tmp_path / "unified-I.json").read_text())["summary"]
    # A case without FLAIR has the seven sets without it, and is no case of any other.
    assert summary["T2w/mmhvae/ioUS + ceT1/PSNR"]["n"] == 2
    assert summary["T2w/mmhvae/ioUS + FLAIR/PSNR"]["n"] == summary["FLAIR/mmhvae/ioUS/PSNR"]["n"] == 1
    assert 0 < summary["ioUS/mmhvae/all sets/PSNR"]["mean"] < 50
    own, every = (summary[f"ioUS/mean of training/{of}/PSNR"]["mean"] for of in ("ioUS", "all sets"))
    assert own == pytest.approx(every)
    assert (tmp_path / "unified-I.png").stat().st_size > 1000
    before = (tmp_path / "mmhvae" / "scores.json").read_bytes()
    assert run(cohort, tmp_path, "--presets", "mmhvae") == 0
    assert (tmp_path / "mmhvae" / "scores.json").read_bytes() == before
    capsys.readouterr()
    assert run(cohort, tmp_path, "--presets", "mmhvae", "--steps", 3) == 2
    assert "is of another setting (2 steps of batches" in capsys.readouterr().err


def test_a_run_that_is_given_is_not_trained(cohort, tmp_path, monkeypatch, capsys):
    """Scores follow the network: one that makes the mean of training scores as the mean does."""
    preset = unified.narrow(PRESETS["mmhvae-without-gan"], 32, 2)
    train(preset, cohort, tmp_path / "run", report=lambda line: None)
    means = [np.mean([volume.target[k][volume.fan].astype(np.float32).mean()
                      for volume in (preset.last.load(cohort / f"case-{n}") for n in (0, 1))])
             for k in range(4)]  # fmt: skip

    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(means, dtype=torch.float32))

        def forward(self, image, present, temperature):
            return self.weight[None, :, None, None].expand(len(image), 4, *image.shape[2:]), None

    read = FinishedRun.read
    monkeypatch.setattr(FinishedRun, "read", lambda folder, preset=None: SimpleNamespace(
        folder=folder, preset=preset or unified.narrow(read(folder).preset, 32, 2), network=lambda stage: Mean()
    ))  # fmt: skip
    chosen = ("--table", "IV", "--presets", "mmhvae-without-gan", "--runs", tmp_path / "run")
    assert run(cohort, tmp_path / "out", *chosen) == 0
    content = json.loads((tmp_path / "out" / "unified-IV.json").read_text())
    about, summary = content["networks"]["mmhvae-without-gan"], content["summary"]
    assert about["setting"].startswith("checkpoint ")
    assert "minutes" not in about
    assert not (tmp_path / "out" / "mmhvae-without-gan" / "run").exists()
    for image in ("ioUS", *MRI):
        own, mean = (summary[f"{image}/{name}/all sets/PSNR"] for name in ("mmhvae-without-gan", unified.MEAN))
        assert own["mean"] == pytest.approx(mean["mean"], abs=1e-3)
    assert "| goes in |" not in (tmp_path / "out" / "unified-IV.md").read_text()
    capsys.readouterr()
    assert run(cohort, tmp_path / "other", "--table", "III", "--runs", tmp_path / "run") == 2
    assert "is a run of mmhvae-without-gan; give one each of mmhvae-zeros" in capsys.readouterr().err


def test_bad_input(cohort, tmp_path, capsys):
    assert run(cohort, tmp_path / "out", "--presets", "mmhvae-zeros") == 2
    assert "mmhvae-zeros: not of Table I; choose from mvae, resvit-unified, mmhvae" in capsys.readouterr().err
    assert run(tmp_path, tmp_path / "out") == 2
    assert "no cohort can be read" in capsys.readouterr().err
