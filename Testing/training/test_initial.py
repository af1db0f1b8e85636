"""Starting a training from the weights of a bundle."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from support.tiny_models import write_bundle

from IoUSynthLib.generators.unet import build
from IoUSynthLib.models.bundle import NETWORK_FILE, Bundle, load
from IoUSynthLib.training.data import PatchBatches, SliceBatches, TrainingVolume
from IoUSynthLib.training.export import export_onnx
from IoUSynthLib.training.initial import start_from
from IoUSynthLib.training.preset import Stage
from IoUSynthLib.volume import InputError

FEATURES = (4, 4, 4, 4, 4, 4)
CLASSES = ["background", "tumour", "cavity"]


def batches(inputs: int) -> SliceBatches:
    image = np.random.default_rng(0).uniform(-1, 1, (inputs, 32, 32, 32)).astype(np.float16)
    fan = np.ones((32, 32, 32), bool)
    return SliceBatches([TrainingVolume(image, image[:1], fan, np.argwhere(fan)[::50])], 4, 32, seed=0, augment=False)


@pytest.fixture(scope="module")
def trained() -> torch.nn.Module:
    """A network whose normalisations have seen data, so that they are far from the identity."""
    torch.manual_seed(3)
    network = build(2, 6, 3, features=FEATURES)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 2)
            torch.nn.init.normal_(layer.bias)
    for number in range(20):
        network(batches(2).draw(number).image)
    return network.eval()


@pytest.fixture(scope="module")
def bundle(trained: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("initial")
    export_onnx(trained, 6, folder / "model.onnx", size=(32, 32))  # in half the time that any size takes
    network = (folder / "model.onnx").read_bytes()
    return load(write_bundle(folder / "tiny", network, inputs=["ioUS", "T2w"], outputs=CLASSES, kind="segmenter"))


def test_the_started_network_computes_what_the_bundle_does(trained: torch.nn.Module, bundle: Bundle) -> None:
    network = build(2, 6, 3, features=FEATURES)
    start_from(network, ["ioUS", "T2w"], bundle, batches=batches(2))
    image = batches(2).draw(77).image
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(image), trained(image), atol=2e-4, rtol=1e-3)


def test_its_normalisations_are_set_for_training_too(trained: torch.nn.Module, bundle: Bundle) -> None:
    """In training a layer normalises by the batch; that must not throw the weights away."""
    network = build(2, 6, 3, features=FEATURES)
    start_from(network, ["ioUS", "T2w"], bundle, batches=batches(2))
    image = torch.cat([batches(2).draw(number).image for number in range(8)])
    with torch.no_grad():
        difference = (network.train()(image) - trained(image)).std()
        assert difference < 0.05 * trained(image).std()


def test_fewer_inputs_keep_their_columns(trained: torch.nn.Module, bundle: Bundle) -> None:
    network = build(2, 3, 3, features=FEATURES)
    start_from(network, ["T2w"], bundle, batches=batches(1))
    whole = build(2, 6, 3, features=FEATURES)
    start_from(whole, ["ioUS", "T2w"], bundle, batches=batches(2))
    first = "conv_0.conv_0.conv.weight"
    torch.testing.assert_close(network.state_dict()[first], whole.state_dict()[first][:, 3:])


def test_what_comes_to_the_inputs_has_no_say_at_first(trained: torch.nn.Module, bundle: Bundle) -> None:
    """Wherever the known inputs stand among the new ones."""
    network = build(2, 12, 3, features=FEATURES)
    start_from(network, ["T1w", "T2w", "ceT1", "ioUS"], bundle, batches=batches(4))
    image = batches(4).draw(77).image
    with torch.no_grad():
        expected = trained(torch.cat([image[:, 9:], image[:, 3:6]], 1))
        torch.testing.assert_close(network.eval()(image), expected, atol=2e-4, rtol=1e-3)


def test_another_architecture_is_refused(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="do not fit a network that reads ioUS"):
        start_from(build(2, 3, 3, features=(8, 8, 8, 8, 8, 8)), ["ioUS"], bundle, batches=batches(1))
    with pytest.raises(InputError, match="do not fit a network that reads FLAIR"):
        start_from(build(2, 3, 3, features=FEATURES), ["FLAIR"], bundle, batches=batches(1))


def test_a_network_of_volumes_and_weights_in_half_precision(released_segmenter: tuple[Bundle, Stage]) -> None:
    bundle, stage = released_segmenter
    assert "widened" in str(onnx.load(bundle.path / NETWORK_FILE).graph.node[0])
    torch.manual_seed(1)
    trained = stage.network().eval()  # the weights that it was exported with
    image = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 32)).astype(np.float16)
    fan = np.ones((32, 32, 32), bool)
    volume = TrainingVolume(image, image[:1], fan, np.argwhere(fan)[::500])
    patches = PatchBatches([volume], 1, (32, 32, 32), seed=0, augment=False)
    network = stage.network()
    start_from(network, stage.inputs, bundle, batches=patches)
    shown = torch.from_numpy(image.astype(np.float32))[None]
    with torch.no_grad():
        assert torch.allclose(network.eval()(shown), trained(shown), atol=1e-2)
