"""Batches, resumption and export, on networks and volumes of toy size."""

from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from support.machine_names import machine_names
from torch.optim.swa_utils import AveragedModel

from IoUSynthLib.generators import build
from IoUSynthLib.generators.recipe import Schedule
from IoUSynthLib.training import trainer
from IoUSynthLib.training.augmentation import vary_gain
from IoUSynthLib.training.data import SliceBatches, TrainingVolume
from IoUSynthLib.training.export import export_onnx
from IoUSynthLib.training.losses import generator_loss
from IoUSynthLib.training.objectives.objective import Objective
from IoUSynthLib.training.run import train
from IoUSynthLib.training.samples import draw_generator
from IoUSynthLib.training.trainer import Trainer, moving_average
from IoUSynthLib.volume import InputError

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
        image = SliceBatches([source], 4, 32, seed=0, augment=False).draw(number).image
        steps |= {round(float((part[2] - part[1]).mean()) * 100) for part in image}
        assert torch.allclose(image[:, 2] - image[:, 1], image[:, 1] - image[:, 0], atol=2e-3)
    assert steps == {-1, 0, 1}  # the ramp along the slicing axis, either way round, or across it


def test_augmentation_leaves_the_outside_and_the_mri_alone():
    rng = np.random.default_rng(0)
    image = rng.uniform(-0.9, 1, (9, 16, 16)).astype(np.float32)
    image[:3, :4] = -1
    for _ in range(10):
        changed = vary_gain(image, rng, 3)
        assert (changed[:3, :4] == -1).all()
        assert np.array_equal(changed[3:], image[3:])
        assert changed.min() >= -1
        assert changed.max() <= 1


def trainer_of(network, batches, schedule, folder, **optional):
    common = {"train": batches, "validation": batches, "schedule": schedule, "folder": folder}
    return Trainer(network, Objective(generator_loss), **common, **optional)


def toy_trainer(batches, folder, steps=4, **optional):
    torch.manual_seed(0)
    network = build("unet", "2.5D", ("T2w", "FLAIR"), features=FEATURES)
    schedule = Schedule(steps, warm_up=2, checkpoint_every=2, validation_batches=1)
    return trainer_of(network, batches, schedule, folder, **optional)


def test_a_killed_run_resumes_to_the_same_weights(batches, tmp_path):
    whole = toy_trainer(batches, tmp_path / "whole").run(lambda line: None)

    class Killed(Exception):
        pass

    def kill(line):
        raise Killed

    with pytest.raises(Killed):
        toy_trainer(batches, tmp_path / "parts").run(kill)  # after the checkpoint at step 2
    resumed = toy_trainer(batches, tmp_path / "parts").run(lambda line: None)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert len((tmp_path / "parts" / "curve.csv").read_text().splitlines()) == 3


def test_a_kill_while_the_checkpoint_is_written_leaves_the_one_before(batches, tmp_path, monkeypatch):
    toy_trainer(batches, tmp_path, steps=2).run(lambda line: None)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def half(state, file):
        file.write(before[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(KeyboardInterrupt):
            toy_trainer(batches, tmp_path, steps=4).run(lambda line: None)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 3  # a row ahead of the checkpoint
    toy_trainer(batches, tmp_path, steps=4).run(lambda line: None)
    assert [line.split(",")[0] for line in (tmp_path / "curve.csv").read_text().splitlines()] == ["step", "2", "4"]


def test_the_best_average_is_kept(batches, tmp_path):
    values, seen = iter([3.0, 1.0, float("nan"), 2.0, 1.0]), []

    def score(network):
        assert not network.training
        assert not torch.is_grad_enabled()
        seen.append([value.clone() for value in network.state_dict().values()])
        return next(values)

    toy_trainer(batches, tmp_path, steps=10, score=score).run(lambda line: None)
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert (best["step"], best["score"]) == (4, 1.0)
    network = AveragedModel(build("unet", "2.5D", ("T2w", "FLAIR"), features=FEATURES), use_buffers=True)
    network.load_state_dict(best["average"])
    for value, expected in zip(network.module.state_dict().values(), seen[1], strict=True):
        assert torch.equal(value, expected)
    scores = [line.split(",")[-1] for line in (tmp_path / "curve.csv").read_text().splitlines()]
    assert scores == ["score", "3.0", "1.0", "nan", "2.0", "1.0"]


def test_a_resumed_run_remembers_the_best(batches, tmp_path):
    toy_trainer(batches, tmp_path, steps=2, score=lambda network: 1.0).run(lambda line: None)
    toy_trainer(batches, tmp_path, steps=4, score=lambda network: 2.0).run(lambda line: None)
    assert torch.load(tmp_path / "best.pt", weights_only=True)["step"] == 2


def test_a_checkpoint_of_another_network_is_refused(batches, tmp_path):
    toy_trainer(batches, tmp_path, steps=2).run(lambda line: None)
    other = trainer_of(torch.nn.Conv2d(3, 3, 1), batches, Schedule(4), tmp_path)
    with pytest.raises(InputError, match=r"checkpoint\.pt: cannot be gone on from .* choose another output folder"):
        other.run()
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="it is damaged"):
        toy_trainer(batches, tmp_path, steps=4).run(lambda line: None)


@pytest.mark.parametrize("clip", [1e-3, float("inf")])
def test_gradients_are_clipped_as_the_schedule_says(clip, batches, tmp_path):
    """Plain descent at rate 1: a step is as long as the gradient."""
    network = torch.nn.Conv2d(3, 3, 1)
    trainer = trainer_of(network, batches, Schedule(1, rate=1.0, warm_up=0, decay="constant", clip=clip), tmp_path)
    trainer.optimizer = torch.optim.SGD(network.parameters(), 1.0)
    before = torch.nn.utils.parameters_to_vector(network.parameters()).clone()
    trainer._learn(batches.draw(0))
    length = float((torch.nn.utils.parameters_to_vector(network.parameters()) - before).norm())
    assert length == pytest.approx(clip, rel=1e-2) if clip < 1 else length > 1e-2


def test_a_loss_that_is_not_finite_stops_the_run_before_the_checkpoint(batches, tmp_path):
    run = toy_trainer(batches, tmp_path, steps=4)
    run.objective.loss = lambda output, batch: {"absolute": output.sum() * (float("nan") if run.step > 2 else 1.0)}
    with pytest.raises(FloatingPointError, match="within the 2 steps before step 4"):
        run.run(lambda line: None)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2


def test_sample_pictures_show_the_same_slices(batches, tmp_path):
    picture = partial(draw_generator, inputs=("ioUS",), targets=("T2w", "FLAIR"))
    toy_trainer(batches, tmp_path, picture=picture).run(lambda line: None)
    paths = sorted((tmp_path / "samples").iterdir())
    assert [path.name for path in paths] == ["step-000002.png", "step-000004.png"]
    first, second = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in paths)
    assert np.array_equal(first[:, :34], second[:, :34])  # the ultrasound
    assert not np.array_equal(first[:, 34:68], second[:, 34:68])  # the prediction


def test_learning_lowers_the_loss(batches, tmp_path):
    run = toy_trainer(batches, tmp_path, steps=60)
    before = run._learn(batches.draw(0))["training"]
    run.run(lambda line: None)
    assert run._learn(batches.draw(0))["training"] < 0.8 * before


def test_export_notices_a_network_that_onnx_gets_wrong(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    from IoUSynthLib.training import export

    monkeypatch.setattr(export, "_compare", lambda *arguments, **sizes: 0.5)
    with pytest.raises(RuntimeError, match=r"differ by 5\.00e-01"):
        export_onnx(torch.nn.Conv2d(3, 2, 3, padding=1), 3, tmp_path / "model.onnx")


def test_what_is_taken_out_of_an_export_changes_nothing_that_it_computes(tmp_path):
    """Remarks and debug files of torch name folders of the machine; without them the files give the very same bytes."""
    onnxruntime = pytest.importorskip("onnxruntime")
    from IoUSynthLib.training import export

    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.LeakyReLU(0.1), torch.nn.MaxPool2d(2),
        torch.nn.Upsample(scale_factor=2), torch.nn.Conv2d(8, 1, 3, padding=1),
    ).eval()  # fmt: skip
    image = torch.randn(2, 3, 32, 32)
    files = graph, script = tmp_path / "model.onnx", tmp_path / "model.ts"
    export.write_onnx(network, {"image": image}, [[0]], path=graph)
    torch.jit.trace(network, image, check_trace=False).save(str(script))

    def outputs():
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        return session.run(None, {"image": image.numpy()})[0], torch.jit.load(str(script))(image).detach().numpy()

    before = outputs()
    assert all(machine_names(file) for file in files)
    export.strip_onnx(graph)
    export.strip_torchscript(script)
    assert machine_names(tmp_path) == []
    assert all(map(np.array_equal, before, outputs()))


def test_weights_in_half_precision_take_half_the_room(tmp_path):
    pytest.importorskip("onnxscript")
    torch.manual_seed(4)
    network, files = torch.nn.Conv2d(16, 32, 3, padding=1), [tmp_path / name for name in ("whole.onnx", "half.onnx")]
    differences = [export_onnx(network, 16, file, half=file.stem == "half") for file in files]
    assert machine_names(tmp_path) == []
    assert differences[0] < 1e-5 < differences[1] < 1e-2
    assert files[0].stat().st_size - files[1].stat().st_size > 1.8 * network.weight.numel()


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


@pytest.mark.parametrize("has", [True, False])
def test_mixed_precision_where_the_processor_has_it_alone(has, batches, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "has_bfloat16", lambda device: has)
    seen = set()
    network = build("unet", "2.5D", ("T2w",), features=FEATURES)
    convolution = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    convolution.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    tool = trainer_of(network, batches, Schedule(1), tmp_path)
    tool._learn(batches.draw(0))
    assert seen == {torch.bfloat16 if has else torch.float32}
