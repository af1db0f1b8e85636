"""What a run shows while it learns: the table, TensorBoard, the bar and the sample pictures."""

import builtins
import csv
import sys
import time

import numpy as np
import pytest
import torch

from IoUSynthLib.training.curves import Board, Curve, ProgressBar
from IoUSynthLib.training.data import Batch
from IoUSynthLib.training.samples import draw_generator, draw_segmenter


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_beyond_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "curve.csv"
    curve = Curve(path, 0)
    for step in (10, 20, 30):
        curve.add({"step": step, "training": step / 8})
    Curve(path, 20).add({"step": 30, "training": 1.5, "score": 0.25})
    assert rows(path) == [
        {"step": "10", "training": "1.25", "score": ""},
        {"step": "20", "training": "2.5", "score": ""},
        {"step": "30", "training": "1.5", "score": "0.25"},
    ]
    Curve(path, 0).add({"step": 10})  # a run from the start replaces what another left
    assert rows(path) == [{"step": "10"}]


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = Board(tmp_path, 0, pytest.fail)
    for step in (10, 20):
        board.add(step, {"absolute": step / 10}, np.zeros((8, 8, 3), np.uint8))
    board.close()
    time.sleep(1.1)  # files are read in the order of their names, which hold the second
    board = Board(tmp_path, 10, pytest.fail)  # killed after the checkpoint of step 10
    board.add(20, {"absolute": 5.0})
    board.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("absolute")] == [(10, 1.0), (20, 5.0)]
    assert [event.step for event in events.Images("samples")] == [10]


def test_without_tensorboard_it_says_so_once(tmp_path, monkeypatch):
    imported = builtins.__import__

    def absent(name, *arguments, **keywords):
        if name.startswith("torch.utils.tensorboard"):
            raise ModuleNotFoundError(name)
        return imported(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", absent)
    lines = []
    board = Board(tmp_path, 0, lines.append)
    board.add(1, {"absolute": 1.0})
    board.close()
    assert len(lines) == 1
    assert "only curve.csv" in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_on_a_terminal_only(terminal, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    lines = []
    progress = ProgressBar(4, 1, lines.append)
    progress.advance()
    progress.write("a line")
    progress.close()
    assert lines == ["a line"]
    assert ("2/4" in capsys.readouterr().err) == terminal


@pytest.fixture
def batch():
    fan = torch.zeros(6, 1, 32, 48)
    fan[:, :, 2:-2, 2:-2] = 1
    return Batch(torch.full((6, 3, 32, 48), -0.2), torch.full((6, 2, 32, 48), 1.0), fan)


def test_sample_picture_of_a_generator(batch):
    output = torch.stack([torch.full((6, 32, 48), value) for value in (-1.0, 0.0, np.log(0.61))], 1)
    batch.target[1, 1] = torch.nan
    picture = draw_generator(output, batch, inputs=("ioUS",), targets=("T2w", "FLAIR"))
    assert picture.shape[0] == 16 + 4 * 34
    assert picture.shape[1] >= 2 + 6 * 50  # the last title may be wider than its column

    def middle(row, column):
        return tuple(picture[16 + row * 34 + 16, 2 + column * 50 + 24].tolist())

    no_data = (42, 42, 46)
    expected = [(102,) * 3, (0,) * 3, (255,) * 3, (127,) * 3, (255,) * 3, (255,) * 3]
    assert [middle(0, column) for column in range(6)] == expected
    assert middle(1, 4) == no_data
    assert tuple(picture[16, 2].tolist()) == no_data
    assert picture[:16].max() > 200  # the titles


def test_sample_picture_of_a_segmenter(batch):
    logits = torch.zeros(6, 3, 32, 48)
    logits[:, 1] = 5
    labels = Batch(batch.image, torch.full((6, 1, 32, 48), 2.0), batch.fan)
    picture = draw_segmenter(logits, labels, ("ioUS",))
    assert tuple(picture[32, 76].tolist()) == (255, 214, 0)
    assert tuple(picture[32, 126].tolist()) == (0, 200, 255)


def test_a_patch_is_drawn_as_its_middle_slice(batch):
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn((6, 3, 32, 48), generator=generator), torch.ones(6, 1, 32, 48)
    slices = Batch(batch.image[:, :1], labels, batch.fan)
    parts = (logits, slices.image, slices.target, slices.fan)
    patch = [torch.stack([torch.zeros_like(part), part, torch.zeros_like(part)], 2) for part in parts]
    expected = draw_segmenter(logits, slices, ("ioUS",))
    assert np.array_equal(draw_segmenter(patch[0], Batch(*patch[1:]), ("ioUS",)), expected)
