"""Reading published PyTorch weights: what fits is loaded, everything else is refused in one line, nothing runs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from support.tiny_models import SHARED

torch = pytest.importorskip("torch")

from IoUSynthLib.generators import build, resvit  # noqa: E402
from IoUSynthLib.published.resvit import PUBLISHED, load_resvit, load_resvit_refiner  # noqa: E402
from IoUSynthLib.published.syndiff import load_syndiff  # noqa: E402
from IoUSynthLib.volume import InputError  # noqa: E402

MICRO = SHARED / "oracles" / "resvit_fixtures_micro"
REGIMES = {"2d": "2D", "2.5d": "2.5D", "2d_3d_refine": "2D+3D-refine", "full_3d": "3D"}
TARGETS = {"t2": ("T2w",), "t2_flair": ("T2w", "FLAIR")}
TINY = {"filters": 4, "blocks": 3, "transformer_blocks": (1,), "heads": 4, "pairs": 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny ResViT in 2.5D for T2w and FLAIR, saved as the benchmark's program saves."""
    network = build("resvit", "2.5D", ("T2w", "FLAIR"), **TINY)
    path = tmp_path_factory.mktemp("resvit") / "p2_best.pth"
    optimizer = torch.optim.Adam(network.parameters()).state_dict()
    torch.save({"G": network.state_dict(), "D": {"b": torch.ones(3)}, "oG": optimizer, "ep": 7, "vl1": 0.1}, path)
    return path


def altered(checkpoint, folder, change):
    content = torch.load(checkpoint, weights_only=True)
    change(content["G"])
    torch.save(content, folder / "altered.pth")
    return folder / "altered.pth"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("regime", REGIMES)
def test_released_format_is_read_and_reproduces_outputs(regime, target):
    folder = MICRO / f"ResViT-{regime}-{target}"
    if not folder.exists():
        pytest.skip("the ResViT fixtures are not here")
    network = load_resvit(folder / "p2_best.pth", REGIMES[regime], TARGETS[target])
    pair = np.load(folder / "io.npz")
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.from_numpy(pair["x"])).numpy(), pair["y"], atol=1e-4)


def test_generator_alone_is_read_too(checkpoint, tmp_path):
    torch.save(torch.load(checkpoint, weights_only=True)["G"], tmp_path / "bare.pth")
    networks = [load_resvit(path, "2.5D", ("T2w", "FLAIR")) for path in (checkpoint, tmp_path / "bare.pth")]
    assert not networks[0].training
    assert networks[0].transformer
    for left, right in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize(
    ("regime", "targets", "cause"),
    [
        ("2D", ("T2w", "FLAIR"), r"enc\.1\.weight has shape \(4, 3, 7, 7\) in place of \(4, 1, 7, 7\)"),
        ("2.5D", ("T2w",), r"dec\.7\.weight has shape \(2, .* in place of \(1,"),
        ("3D", ("T2w", "FLAIR"), r"lacks enc\.0\.weight"),
    ],
)
def test_wrong_regime_or_targets_name_the_first_misfit(checkpoint, regime, targets, cause):
    with pytest.raises(InputError, match=cause) as error:
        load_resvit(checkpoint, regime, targets)
    assert "\n" not in str(error.value)
    assert "choose the family, regime and targets" in str(error.value)


def set_weight(name, value):
    return lambda weights: weights.update({name: value})


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda weights: weights.pop("enc.4.bias"), "lacks enc.4.bias"),
        (set_weight("extra.weight", torch.ones(2)), "has extra.weight, which is no part of it"),
        (set_weight("enc.4.bias", "text"), "enc.4.bias is no tensor of float32 numbers"),
        (set_weight("enc.4.bias", torch.full((8,), torch.nan)), "enc.4.bias is not finite"),
        (set_weight("arts.1.trans.layers.0.attn.rpi", torch.zeros(64, 64, dtype=torch.int64)), "holds other numbers"),
    ],
)
def test_every_weight_is_checked(checkpoint, tmp_path, change, cause):
    with pytest.raises(InputError, match=cause):
        load_resvit(altered(checkpoint, tmp_path, change), "2.5D", ("T2w", "FLAIR"))


def test_another_family_is_refused(checkpoint):
    with pytest.raises(InputError, match=r"does not fit SynDiff in 2D for T2w: lacks all_modules\.2\.weight"):
        load_syndiff(checkpoint, "2D", ("T2w",))


class Bomb:
    def __reduce__(self):
        return (exec, ("open('exploded', 'w')",))


def test_code_in_a_file_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"G": Bomb()}, tmp_path / "new.pth")
    torch.save({"G": Bomb()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb()))
    for name in ("new.pth", "old.pth", "plain.pth"):
        with pytest.raises(InputError, match=r"could run code|not a complete PyTorch checkpoint"):
            load_resvit(tmp_path / name, "2D", ("T2w",))
    with pytest.raises(InputError, match="could run code and was not opened"):
        load_resvit(tmp_path / "new.pth", "2D", ("T2w",))
    assert not (tmp_path / "exploded").exists()


def test_damaged_files_are_refused(checkpoint, tmp_path):
    content = checkpoint.read_bytes()
    for number, part in enumerate((content[: len(content) // 2], content[:100], b"", b"\x89HDF\r\n" + content[:500])):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(part)
        with pytest.raises(InputError, match="not a complete PyTorch checkpoint; download it again"):
            load_resvit(path, "2.5D", ("T2w", "FLAIR"))
    with pytest.raises(InputError, match="cannot be read"):
        load_resvit(tmp_path / "nothing.pth", "2D", ("T2w",))


def test_refiner_is_read(tmp_path):
    refiner = resvit.Refiner(2, filters=4)
    torch.save(refiner.state_dict(), tmp_path / "refine.pth")
    image = torch.randn(1, 2, 4, 5, 6)
    with torch.no_grad():
        assert torch.equal(load_resvit_refiner(tmp_path / "refine.pth", ("T2w", "FLAIR"))(image), refiner(image))
    with pytest.raises(InputError, match=r"net\.0\.weight has shape"):
        load_resvit_refiner(tmp_path / "refine.pth", ("T2w",))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_syndiff_in_the_old_format_with_and_without_prefix(tmp_path, prefix):
    network = build("syndiff", "2.5D", ("T2w",), filters=4)
    state = {prefix + name: value for name, value in network.state_dict().items()}
    torch.save(state, tmp_path / "gen_diffusive_2_40.pth", _use_new_zipfile_serialization=False)
    loaded = load_syndiff(tmp_path / "gen_diffusive_2_40.pth", "2.5D", ("T2w",))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())
    with pytest.raises(InputError, match=r"all_modules\.2\.weight has shape \(4, 4, 3, 3\) in place of \(4, 2, 3, 3\)"):
        load_syndiff(tmp_path / "gen_diffusive_2_40.pth", "2D", ("T2w",))


def test_every_published_file_is_known_once():
    assert len(set(PUBLISHED.values())) == len(PUBLISHED) == 8
    assert all(len(checksum) == 64 for checksum in PUBLISHED)
