"""Batches, resumption and export, on networks and volumes of toy size."""

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from IoUSynthLib.bundle import load
from IoUSynthLib.generators import build
from IoUSynthLib.training import release
from IoUSynthLib.training.data import SliceBatches, TrainingVolume, augment_ultrasound
from IoUSynthLib.training.export import export_onnx
from IoUSynthLib.training.loop import Schedule, Trainer, moving_average
from IoUSynthLib.training.losses import generator_loss
from IoUSynthLib.training.presets import PRESETS, train

FEATURES = (4, 4, 8, 8, 8, 4)


def volume(seed=0, size=48):
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, (1, size, size, size)).astype(np.float16)
    fan = np.zeros((size,) * 3, bool)
    fan[8:40, 8:40, 8:40] = True
    return TrainingVolume(image, np.concatenate([image, -image]), fan, np.argwhere(fan)[::50])


@pytest.fixture
def batches():
    return SliceBatches([volume(0), volume(1)], batch_size=6, size=32, seed=4, augment=False)


def test_a_batch_depends_on_its_number_alone(batches):
    first = batches.draw(7)
    batches.draw(3)
    again = batches.draw(7)
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.image, batches.draw(8).image)


def test_target_and_centre_slice_are_the_same_place(batches):
    batch = batches.draw(0)
    assert batch.image.shape == (6, 3, 32, 32)
    assert torch.equal(batch.image[:, 1], batch.target[:, 0])
    assert torch.equal(batch.image[:, 1], -batch.target[:, 1])


def test_neighbours_are_neighbours():
    size = 48
    ramp = np.broadcast_to(np.arange(size, dtype=np.float32) / 100, (1, size, size, size)).astype(np.float16)
    fan = np.ones((size,) * 3, bool)
    source = TrainingVolume(ramp, ramp, fan, np.full((1, 3), 24))
    steps = set()
    for number in range(12):
        image = SliceBatches([source], 4, 32, 0, augment=False).draw(number).image
        steps |= {round(float((part[2] - part[1]).mean()) * 100) for part in image}
        assert torch.allclose(image[:, 2] - image[:, 1], image[:, 1] - image[:, 0], atol=2e-3)
    assert steps == {-1, 0, 1}  # the ramp along the slicing axis, either way round, or across it


def test_augmentation_leaves_the_outside_and_the_mri_alone():
    rng = np.random.default_rng(0)
    image = rng.uniform(-0.9, 1, (9, 16, 16)).astype(np.float32)
    image[:3, :4] = -1
    for _ in range(10):
        changed = augment_ultrasound(image, rng)
        assert (changed[:3, :4] == -1).all()
        assert np.array_equal(changed[3:], image[3:])
        assert changed.min() >= -1
        assert changed.max() <= 1


def trainer(batches, folder, steps=4):
    torch.manual_seed(0)
    network = build("unet", "2.5D", ("T2w", "FLAIR"), features=FEATURES)
    schedule = Schedule(steps, warm_up=2, checkpoint_every=2, validation_batches=1)
    return Trainer(network, generator_loss, batches, batches, schedule, folder)


def test_a_killed_run_resumes_to_the_same_weights(batches, tmp_path):
    whole = trainer(batches, tmp_path / "whole").run(lambda line: None)

    class Killed(Exception):
        pass

    def kill(line):
        raise Killed

    with pytest.raises(Killed):
        trainer(batches, tmp_path / "parts").run(kill)  # after the checkpoint at step 2
    resumed = trainer(batches, tmp_path / "parts").run(lambda line: None)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert len((tmp_path / "parts" / "curve.csv").read_text().splitlines()) == 3


def test_learning_lowers_the_loss(batches, tmp_path):
    run = trainer(batches, tmp_path, steps=100)
    before = run._learn(batches.draw(0))
    run.run(lambda line: None)
    assert run._learn(batches.draw(0)) < 0.8 * before


def test_export_is_a_bundle_that_the_operating_room_opens(tmp_path, monkeypatch):
    """The released bundle carries the averaged weights, passes its own comparison and its checksum."""
    pytest.importorskip("onnxscript")
    from dataclasses import replace

    name = "ious2mr-2.5d"
    monkeypatch.setitem(PRESETS, name, replace(PRESETS[name], features=FEATURES))
    run = tmp_path / "run"
    run.mkdir()
    torch.manual_seed(1)
    average = AveragedModel(PRESETS[name].network(), use_buffers=True)
    torch.save({"average": average.state_dict()}, run / "checkpoint.pt")
    licence = tmp_path / "LICENSE"
    licence.write_text("a licence")
    folder = release.release(name, run, tmp_path / "models", licence, training="a test")
    bundle = load(folder)
    bundle.verify()
    assert bundle.outputs == ("T2w", "FLAIR", "log_error")
    assert "a test" in (folder / "docs" / "README.md").read_text()
    assert (folder / "LICENSE").read_text() == "a licence"


def test_export_notices_a_network_that_onnx_gets_wrong(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    from IoUSynthLib.training import export

    monkeypatch.setattr(export, "_compare", lambda *arguments: 0.5)
    with pytest.raises(RuntimeError, match=r"differ by 5\.00e-01"):
        export_onnx(torch.nn.Conv2d(3, 2, 3, padding=1), 3, tmp_path / "model.onnx")


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown preset 'x'; choose from ious2mr"):
        train("x", tmp_path, tmp_path)
    with pytest.raises(ValueError, match="unknown family"):
        build("x", "2D")
    with pytest.raises(ValueError, match="unknown regime"):
        build("unet", "4D")
    with pytest.raises(ValueError, match="not in 3D"):
        build("unet", "3D")


def test_the_average_of_a_short_run_forgets_its_first_weights():
    network = torch.nn.Linear(1, 1, bias=False)
    average = AveragedModel(network, multi_avg_fn=moving_average(0.999))
    for number in range(200):
        torch.nn.init.constant_(network.weight, 0.0 if number == 0 else 1.0)
        average.update_parameters(network)
    assert float(average.module.weight.detach()) > 0.999
