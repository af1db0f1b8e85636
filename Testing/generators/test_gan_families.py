"""Pix2Pix, SwinPix2Pix, CycleGAN and CUT: the published sizes, what they take and what they give."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.tiny_models import SHARED

from IoUSynthLib.generators import REGIMES, build
from IoUSynthLib.generators.cut import SliceGenerator, VolumeGenerator
from IoUSynthLib.generators.cyclegan import ResidualGenerator
from IoUSynthLib.generators.gan import Refiner

FAMILIES = ("pix2pix", "swin_pix2pix", "cyclegan", "cut")
TARGETS = ("T2w", "FLAIR")
#: Parameters for T2w in the four regimes (2D+3D-refine without its refiner), then for T2w and FLAIR.
COUNTS = {
    "pix2pix": [(37022817, 37024865, 37022817, 13967377), (37023394, 37025442, 37023394, 13968242)],
    "swin_pix2pix": [(1444120, 1445056, 1444120, 13967377), (1444157, 1445093, 1444157, 13968242)],
    "cyclegan": [(11370881, 11377153, 11370881, 23629057), (11374018, 11380290, 11374018, 23640034)],
    "cut": [(37090593, 37096865, 37090593, 23629057), (37091170, 37097442, 37091170, 23640034)],
}
#: The seed's table 10, in millions; "about Pix2Pix-3D" for CUT in 3D is left out, the released network has 23.63.
TABLE_10 = {
    "pix2pix": (37.0, 37.0, None, 13.97),
    "swin_pix2pix": (1.44, 1.44, None, 13.97),
    "cyclegan": (11.37, 11.38, None, 23.63),
    "cut": (37.09, 37.10, None, None),
}
WIDTHS = {"pix2pix": 4, "swin_pix2pix": 6, "cyclegan": 4, "cut": 4}


def _count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_published_parameter_counts(family):
    with torch.device("meta"):
        counts = [tuple(_count(build(family, regime, TARGETS[:n])) for regime in REGIMES) for n in (1, 2)]
    assert counts == COUNTS[family]
    for millions, count in zip(TABLE_10[family], counts[0], strict=True):
        assert millions is None or abs(count / 1e6 - millions) < 0.005 * (10 if millions == 37.0 else 1.1)


def test_counts_of_refiner_and_of_the_way_back():
    with torch.device("meta"):
        assert [_count(Refiner(n)) for n in (1, 2)] == [160289, 161154]
        assert _count(ResidualGenerator(2, 1, 3, width=64)) == 22754308 - 11377153
        assert _count(ResidualGenerator(2, 2, 1, width=64)) == 22748035 - 11374018


def test_counts_that_the_notes_call_exact():
    file = SHARED / "oracles" / "gan_param_counts.json"
    if not file.exists():
        pytest.skip("the oracles are not here")
    known = {name: entry["published"] for name, entry in json.loads(file.read_text()).items()}
    regimes = {"2d": 0, "25d": 1, "3d": 3}
    families = {"swin": "swin_pix2pix"}
    checked = 0
    for name, value in known.items():
        family, _, rest = name.split(" ")[0].partition("_")
        regime, _, target = rest.partition("_")
        family = families.get(family, family)
        if family not in COUNTS or "+" in name:
            continue
        assert COUNTS[family][target == "t2_flair"][regimes[regime]] == value, name
        checked += 1
    assert checked == 19
    assert known["refiner_t2"] == 160289
    assert known["refiner_t2_flair"] == 161154
    assert known["cyclegan_25d_t2 G_AB+G_BA(in1,out3)"] == 22754308
    assert known["cyclegan_2d_t2_flair G_AB(1->2)+G_BA(2->1)"] == 22748035


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("regime", REGIMES)
def test_shapes_range_and_gradient(family, regime):
    torch.manual_seed(0)
    network = build(family, regime, TARGETS, width=WIDTHS[family]).train()
    size = (1, 32, 16, 16) if regime == "3D" else (3 if regime == "2.5D" else 1, 64, 64)
    prediction = network(torch.randn(2, *size) * 3)
    assert prediction.shape == (2, 2, *size[1:])
    assert float(prediction.detach().abs().max()) <= 1.0
    prediction.mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_swin_in_3d_is_the_network_of_pix2pix():
    state = [build(family, "3D", ("T2w",), width=4).state_dict() for family in ("pix2pix", "swin_pix2pix")]
    assert [(name, value.shape) for name, value in state[0].items()] == [
        (name, value.shape) for name, value in state[1].items()
    ]


def test_swin_width_must_suit_its_heads():
    with pytest.raises(ValueError, match="multiple of 6"):
        build("swin_pix2pix", "2D", width=10)


@pytest.mark.parametrize("regime", ["2D", "3D"])
def test_cut_gives_the_features_that_are_compared(regime):
    torch.manual_seed(0)
    network = build("cut", regime, ("T2w",), width=4).eval()
    assert isinstance(network, SliceGenerator if regime == "2D" else VolumeGenerator)
    image = torch.randn(1, 1, *((32, 64) if regime == "2D" else (16, 8, 16)))
    with torch.no_grad():
        result, features = network.forward_with_features(image)
        assert torch.equal(result, network(image))
    strides = (1, 2, 4, 32) if regime == "2D" else (1, 2, 4, 8)
    channels = (4, 4, 8, 32) if regime == "2D" else (4, 8, 16, 32)
    sizes = [tuple(np.array(image.shape[2:]) // stride) for stride in strides]
    assert [tuple(f.shape) for f in features] == [(1, c, *s) for c, s in zip(channels, sizes, strict=True)]


def test_refiner_adds_a_correction_and_clips():
    torch.manual_seed(0)
    refiner = Refiner(2, width=4).eval()
    image = torch.rand(1, 2, 8, 12, 4) * 2 - 1
    with torch.no_grad():
        refiner.head.weight.zero_()
        refiner.head.bias.copy_(torch.tensor([0.25, -3.0]))
        result = refiner(image)
    assert torch.allclose(result[:, 0], (image[:, 0] + 0.25).clamp(max=1))
    assert torch.equal(result[:, 1], torch.full_like(result[:, 1], -1.0))
