"""``iousynth simulate``: a cohort in the layout that training reads, and refusals that say what to do."""

import numpy as np
import pytest

from IoUSynthLib.cases.index import read_index, write_index
from IoUSynthLib.cli import main
from IoUSynthLib.simulation import cohort
from IoUSynthLib.simulation.anatomy import Head
from IoUSynthLib.simulation.command import check_begun
from IoUSynthLib.volume import InputError


@pytest.fixture
def simulator(monkeypatch, case_writer):
    """Replaces the physics, which its own tests cover, by a stand-in in this process."""

    def simulate(count, output, *, anatomy, seed, workers, progress, device, with_agent, preoperative):
        assert (device, with_agent, preoperative) == ("cpu", False, False)
        entries = [{"name": f"case-{n:04d}", "head": "icbm152", "split": "train"} for n in range(count)]
        for number, entry in enumerate(entries):
            case_writer(output / entry["name"], seed * 1_000_000 + number, entry["head"])
            progress(number + 1, count)
        write_index(output, entries, seed=seed)
        return entries

    monkeypatch.setattr(cohort, "simulate_cohort", simulate)


@pytest.fixture
def case_writer():
    from IoUSynthLib.cases.case import Case, write_case
    from IoUSynthLib.volume import Volume

    def write(folder, seed, head):
        grid = Volume(np.full((8, 8, 8), 9, np.uint8))
        probe = {"face_radius": 5.0, "tilt_pivot": None, "sweep_half_length": 4.0, "depth": 8.0}
        lesion = {"kind": "low grade"}
        parameters = {"seed": seed, "head": head, "probe": probe, "lesion": lesion, "face": [0, 0, 0]}
        parameters["axes"] = np.eye(3).tolist()
        write_case(Case(dict.fromkeys(("ioUS", "T2w", "FLAIR"), grid), grid, grid, parameters), folder)

    return write


def test_writes_cohort_and_contact_sheet(tmp_path, simulator, capsys):
    output = tmp_path / "cohort"
    assert main(["simulate", "-n", "2", "-o", str(output), "--seed", "5"]) == 0
    printed = capsys.readouterr()
    assert "wrote 2 simulated cases (2 for train, 0 for validation, 0 for test)" in printed.out
    assert "2 of 2 cases" in printed.err
    assert (output / "contact_sheet.png").stat().st_size > 1000
    assert [folder.name for folder in read_index(output, "train")] == ["case-0000", "case-0001"]
    assert main(["simulate", "-n", "3", "-o", str(output), "--seed", "5"]) == 0  # goes on


def test_other_seed_or_anatomy_is_refused(tmp_path, simulator, capsys):
    output = tmp_path / "cohort"
    assert main(["simulate", "-n", "1", "-o", str(output), "--seed", "5"]) == 0
    assert main(["simulate", "-n", "1", "-o", str(output), "--seed", "6"]) == 2
    assert "another seed or anatomy; choose another output folder" in capsys.readouterr().err
    with pytest.raises(InputError, match="another seed or anatomy"):
        check_begun(output, ["subject20"], seed=5)
    (output / "case-0000" / "case.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        check_begun(output, ["icbm152"], seed=5)


@pytest.mark.parametrize(
    ("content", "message"), [({}, "label maps"), ({"training_seg_01.nii.gz": "text"}, "is not an image")]
)
def test_unusable_anatomy_is_refused(tmp_path, content, message, capsys):
    anatomy = tmp_path / "anatomy"
    anatomy.mkdir()
    for name, text in content.items():
        (anatomy / name).write_text(text)
    assert main(["simulate", "-n", "1", "-o", str(tmp_path / "out"), "--anatomy", str(anatomy)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(anatomy) in error
    assert message in error


def test_output_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert main(["simulate", "-n", "1", "-o", str(tmp_path / "out")]) == 2
    assert "repeat the command" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-n", "0", "-o", "x"], ["-n", "1"], ["-n", "1", "-o", "x", "--seed", "-3"]])
def test_bad_options_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["simulate", *arguments])
    assert stop.value.code == 2
    assert "simulate --help" in capsys.readouterr().err


def test_a_gpu_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["simulate", "-n", "1", "-o", str(tmp_path / "cohort"), "--device", "cuda"]) == 2
    assert "device cuda: PyTorch finds no GPU; choose cpu" in capsys.readouterr().err
    assert not (tmp_path / "cohort").exists()


def test_a_whole_cohort_goes_through(tmp_path, monkeypatch, capsys):
    """The real simulator in the worker process, on a head that costs nothing to read."""
    spacing = 2.0
    radius = np.linalg.norm((np.indices((70, 70, 70)) - 34.5) * spacing, axis=0)
    head = Head("icbm152", np.where(radius < 62, 1 + (radius < 55), 0).astype(np.uint8), spacing)
    monkeypatch.setattr(cohort, "ProcessPoolExecutor", _InThisProcess)
    monkeypatch.setattr(cohort, "load_head", lambda path: head)
    assert main(["simulate", "-n", "1", "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("wrote 1 simulated cases")
    for said in (printed.out, printed.err.splitlines()[0]):
        assert "none for validation or test, because there are too few heads (1)" in said
        assert "--anatomy" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"case-0000", "dataset.json", "contact_sheet.png"}


class _InThisProcess:
    """A pool that runs a job when it is submitted."""

    def __init__(self, *arguments, **options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def submit(self, function, *arguments, **options):
        from concurrent.futures import Future

        future = Future()
        future.set_result(function(*arguments, **options))
        return future
