"""ResViT against the released shapes, against inputs and outputs of the released code, and against MONAI's Swin."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.tiny_models import SHARED

torch = pytest.importorskip("torch")

from IoUSynthLib.generators import build, resvit  # noqa: E402

FIXTURES = SHARED / "oracles" / "resvit_fixtures"
MICRO = SHARED / "oracles" / "resvit_fixtures_micro"
REGIMES = {"2d": "2D", "2.5d": "2.5D", "2d_3d_refine": "2D+3D-refine", "full_3d": "3D"}
TARGETS = {"t2": ("T2w",), "t2_flair": ("T2w", "FLAIR")}
VARIANTS = [f"ResViT-{regime}-{target}" for regime in REGIMES for target in TARGETS]
SLICE_VARIANTS = [name for name in VARIANTS if "full_3d" not in name]
TINY = {"filters": 4, "blocks": 3, "transformer_blocks": (1,), "heads": 4, "pairs": 1}


def variant(name, **size):
    _, regime, target = name.split("-")
    return build("resvit", REGIMES[regime], TARGETS[target], **size)


def load(network, folder):
    file = folder / "p2_best.pth"
    if not file.exists():
        pytest.skip("the ResViT fixtures are not here")
    network.load_state_dict(torch.load(file, weights_only=True)["G"])
    return network.eval()


@torch.no_grad()
def run(network, array):
    return network(torch.from_numpy(array)).numpy()


@pytest.mark.parametrize(
    ("regime", "targets", "count"),
    [
        ("2D", ("T2w",), 18_247_489),
        ("2D", ("T2w", "FLAIR"), 18_250_626),
        ("2.5D", ("T2w",), 18_253_761),
        ("2.5D", ("T2w", "FLAIR"), 18_256_898),
        ("2D+3D-refine", ("T2w",), 18_247_489),
        ("3D", ("T2w",), 23_778_113),
        ("3D", ("T2w", "FLAIR"), 23_794_578),
    ],
)
def test_parameters_as_published(regime, targets, count):
    with torch.device("meta"):
        network = build("resvit", regime, targets)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(("targets", "count"), [(("T2w",), 57_121), (("T2w", "FLAIR"), 58_850)])
def test_refiner_parameters_as_published(targets, count):
    with torch.device("meta"):
        refiner = resvit.Refiner(len(targets))
    assert sum(parameter.numel() for parameter in refiner.parameters()) == count


@pytest.mark.parametrize("name", VARIANTS)
def test_keys_and_shapes_as_released(name):
    file = FIXTURES / "fullsize_state_dict_shapes.json"
    if not file.exists():
        pytest.skip("the released shapes are not here")
    with torch.device("meta"):
        state = variant(name).state_dict()
    found = {key: {"shape": list(value.shape), "dtype": str(value.dtype)[6:]} for key, value in state.items()}
    assert found == json.loads(file.read_text())[name]["state_dict_G"]


@pytest.mark.parametrize("name", VARIANTS)
def test_outputs_of_the_released_code(name):
    """Bottlenecks that are no multiple of the window; 2e-5 also tells apart a LayerNorm epsilon of 1e-6."""
    network = load(variant(name, **TINY), MICRO / name)
    pair = np.load(MICRO / name / "io.npz")
    np.testing.assert_allclose(run(network, pair["x"]), pair["y"], atol=2e-5)
    network.transformer = False
    np.testing.assert_allclose(run(network, pair["x"]), pair["y_phase1"], atol=2e-5)


@pytest.mark.parametrize("name", SLICE_VARIANTS)
def test_nine_blocks_of_the_released_code(name):
    network = load(variant(name, filters=8), FIXTURES / name)
    for case, output, network.transformer in (
        ("in64", "out", True),
        ("in64", "out_phase1", False),
        ("inpad", "out", True),
    ):
        found = run(network, np.load(FIXTURES / name / f"{case}.npy"))
        np.testing.assert_allclose(found, np.load(FIXTURES / name / f"{case}_{output}.npy"), atol=1e-3)


def test_intermediate_features_of_the_released_code():
    folder = FIXTURES / "ResViT-2d-t2"
    network = load(variant(folder.name, filters=8), folder)
    found = {}
    for name, module in (("enc", network.enc), ("art3", network.arts[3]), ("art4", network.arts[4])):
        module.register_forward_hook(lambda _, __, output, name=name: found.update({name: output[:1]}))
    run(network, np.load(folder / "in64.npy"))
    expected = np.load(folder / "in64_intermediate.npz")
    for name, features in found.items():
        np.testing.assert_allclose(features.numpy(), expected[name], atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
def test_refinement_of_the_released_code(target):
    folder = FIXTURES / f"ResViT-2d_3d_refine-{target}"
    if not folder.exists():
        pytest.skip("the ResViT fixtures are not here")
    refiner = resvit.Refiner(len(TARGETS[target]))
    refiner.load_state_dict(torch.load(folder / "refine.pth", weights_only=True))
    found = run(refiner, np.load(folder / "refine_in_BCDHW.npy"))
    np.testing.assert_allclose(found, np.load(folder / "refine_out_BCDHW.npy"), atol=1e-5)


@pytest.mark.parametrize(("dimensions", "window", "size"), [(2, 8, (24, 16)), (3, 4, (8, 4, 12))])
def test_attention_equals_monais_swin(dimensions, window, size):
    swin = pytest.importorskip("monai.networks.nets.swin_unetr")
    shift = window // 2
    layer = resvit._WindowAttention(16, dimensions, 4)
    theirs = swin.WindowAttention(16, 4, (window,) * dimensions, qkv_bias=True)
    torch.nn.init.normal_(layer.rpb)
    state = layer.state_dict()
    names = {"rpb": "relative_position_bias_table", "rpi": "relative_position_index"}
    theirs.load_state_dict({names.get(key, key): value for key, value in state.items()})
    tokens = torch.randn(2, *size, 16)
    mask = resvit.shift_mask(size, window, shift, like=tokens)
    expected_mask = swin.compute_mask(size, (window,) * dimensions, (shift,) * dimensions, "cpu")
    torch.testing.assert_close(mask[:, 0], expected_mask)
    windows = resvit.partition(tokens, window)
    found = layer(windows, mask)
    torch.testing.assert_close(found.flatten(0, 1), theirs(windows.flatten(0, 1), expected_mask), atol=1e-5, rtol=0)
    assert torch.equal(resvit.merge(windows, tokens.shape, window), tokens)


def test_masking_in_3d_is_a_choice():
    image = torch.randn(1, 1, 32, 32, 32)
    networks = [build("resvit", "3D", **TINY), build("resvit", "3D", masked=True, **TINY)]
    networks[1].load_state_dict(networks[0].state_dict())
    with torch.no_grad():
        released, masked = (network.eval()(image) for network in networks)
    assert released.shape == masked.shape == image.shape
    assert not torch.allclose(released, masked, atol=1e-4)


def test_without_transformer_its_weights_do_not_matter():
    network = build("resvit", "2.5D", ("T2w", "FLAIR"), **TINY).eval()
    network.transformer = False
    image = torch.randn(1, 3, 32, 36)
    with torch.no_grad():
        before = network(image)
        for parameter in [*network.arts[1].trans.parameters(), *network.arts[1].agg.parameters()]:
            parameter.add_(1.0)
        assert torch.equal(network(image), before)
    assert before.shape == (1, 2, 32, 36)
