"""``iousynth models import`` with tiny checkpoints: the bundle computes what the checkpoint computes, or is refused."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from IoUSynthLib import bundle, cli  # noqa: E402
from IoUSynthLib.generators import build, diffusion  # noqa: E402
from IoUSynthLib.inference import open_session, predict  # noqa: E402
from IoUSynthLib.published import command, plans, resvit, syndiff  # noqa: E402

RESVIT = {"filters": 4, "blocks": 2, "transformer_blocks": (1,), "heads": 4, "pairs": 1}
SYNDIFF = {"filters": 4, "multipliers": (1, 2), "attention_level": 1, "blocks": 1}


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    """Windows of 32 pixels and 16 voxels in place of 256 and 96: the export and its check run in seconds."""

    def small(family, regime):
        section = plans.plan(family, regime)
        return {**section, "window": [16 if regime == "3D" else 32] * len(section["window"])}

    monkeypatch.setattr(command, "plan", small)


def save_resvit(folder, regime, targets):
    network = build("resvit", regime, targets, **RESVIT).eval()
    torch.save({"G": network.state_dict(), "ep": 3}, folder / "p2_best.pth")
    return network


def run(folder, family, regime, *more, targets=("T2w",), file="p2_best.pth"):
    options = ["--family", family, "--regime", regime, "--targets", *targets, *more]
    return cli.main(["models", "import", str(folder / file), *options, "-o", str(folder / "bundle")])


def left_over(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "p2_best.pth")


def test_a_slice_network_becomes_a_bundle_that_computes_the_same(tmp_path, capsys):
    network = save_resvit(tmp_path, "2.5D", ("T2w", "FLAIR"))
    assert run(tmp_path, "resvit", "2.5D", targets=("T2w", "FLAIR")) == 0
    line = capsys.readouterr().out
    assert "resvit in 2.5D for T2w and FLAIR, no published file, but one that fits" in line
    assert "Apache-2.0" in line
    assert left_over(tmp_path) == ["bundle"]
    model = bundle.load(tmp_path / "bundle")
    model.verify()
    assert (model.regime, model.slice_axes, model.outputs, model.inputs) == ("2.5D", (0,), ("T2w", "FLAIR"), ("ioUS",))
    assert (model.frame, model.stretch, model.licence) == ("patient", True, "Apache-2.0")
    assert model.spacing == (0.94, 0.94, 2.0)
    images = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    found = predict(open_session(model, "cpu"), images, np.ones((3, 32, 32), dtype=bool), model)
    neighbours = images[0][[0, 0, 1]].transpose(0, 2, 1)[None]  # the authors' slices are [x, y]
    with torch.no_grad():
        expected = network(torch.from_numpy(np.ascontiguousarray(neighbours))).numpy()[0].transpose(0, 2, 1)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-3)


def test_a_volume_network_becomes_a_bundle(tmp_path):
    network = save_resvit(tmp_path, "3D", ("T2w",))
    assert run(tmp_path, "resvit", "3D") == 0
    model = bundle.load(tmp_path / "bundle")
    assert (model.regime, model.window, model.blending, model.padding) == ("3D", (16, 16, 16), "hanning", "centre")
    image = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 16)).astype(np.float32)
    found = predict(open_session(model, "cpu"), image, np.ones((16, 16, 16), dtype=bool), model)
    with torch.no_grad():
        expected = network(torch.from_numpy(np.ascontiguousarray(image[0].T[None, None])))[0, 0].numpy().T
    np.testing.assert_allclose(found[0, 4:-4, 4:-4, 4:-4], expected[4:-4, 4:-4, 4:-4], atol=1e-3)


def test_diffusion_becomes_a_bundle_once_its_licence_is_accepted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "Sampler", partial(diffusion.Sampler, steps=2))  # half the graph, half the time
    monkeypatch.setattr(syndiff, "build", lambda *names, filters: build(*names, **SYNDIFF))
    torch.save(build("syndiff", "2D", ("T2w",), **SYNDIFF).state_dict(), tmp_path / "p2_best.pth")
    assert run(tmp_path, "syndiff", "2D") == 2
    error = capsys.readouterr().err
    assert "non-commercial" in error
    assert "add --accept-licence" in error
    assert error.count("\n") == 1
    assert left_over(tmp_path) == []
    assert run(tmp_path, "syndiff", "2D", "--accept-licence") == 0
    model = bundle.load(tmp_path / "bundle")
    assert model.licence == syndiff.LICENCE
    assert "non-commercial" in (tmp_path / "bundle" / "LICENSE").read_text()
    session = open_session(model, "cpu")
    image = np.random.default_rng(0).uniform(-1, 1, (2, 1, 32, 32)).astype(np.float32)
    result = session.run(image)
    assert result.shape == (2, 1, 32, 32)
    assert np.abs(result).max() <= 1
    assert np.array_equal(session.run(image), result), "no random numbers are drawn when the model runs"


@pytest.mark.parametrize(
    ("family", "regime", "cause"),
    [
        ("resvit", "2D", r"enc.1.weight has shape (4, 3, 7, 7) in place of (4, 1, 7, 7)"),
        ("syndiff", "2D", "lacks all_modules.2.weight"),
        ("pix2pix", "2D+3D-refine", "a bundle holds one network"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, capsys, family, regime, cause):
    save_resvit(tmp_path, "2.5D", ("T2w",))
    assert run(tmp_path, family, regime, "--accept-licence") == 2
    error = capsys.readouterr().err
    assert cause in error
    assert error.count("\n") == 1
    assert left_over(tmp_path) == []


def test_nothing_is_left_of_a_failed_export(tmp_path, capsys, monkeypatch):
    save_resvit(tmp_path, "2D", ("T2w",))

    def fail(network, channels, path, size):
        path.write_bytes(b"half a network")
        raise RuntimeError("they differ")

    monkeypatch.setattr(command, "export_onnx", fail)
    assert run(tmp_path, "resvit", "2D") == 2
    assert "cannot be exported (they differ)" in capsys.readouterr().err
    assert left_over(tmp_path) == []


def test_an_existing_bundle_is_kept_and_targets_have_an_order(tmp_path, capsys):
    (tmp_path / "bundle").mkdir()
    assert run(tmp_path, "resvit", "2D") == 2
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "bundle").rmdir()
    assert run(tmp_path, "resvit", "2D", targets=("FLAIR", "T2w")) == 2
    assert "targets FLAIR T2w" in capsys.readouterr().err


def test_a_published_file_under_another_name_is_told(tmp_path, capsys, monkeypatch):
    save_resvit(tmp_path, "2D", ("T2w",))
    checksum = command._checksum(tmp_path / "p2_best.pth")
    monkeypatch.setitem(resvit.PUBLISHED, checksum, ("2D+3D-refine", ("T2w",)))
    assert run(tmp_path, "resvit", "2D") == 2
    assert "is the published ResViT in 2D+3D-refine for T2w" in capsys.readouterr().err
    monkeypatch.setattr(command, "export_onnx", lambda network, channels, path, size: path.write_bytes(b"x") and 0.0)
    assert run(tmp_path, "resvit", "2D+3D-refine") == 0
    details = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())["iousynth"]
    assert details["source"] == {"sha256": checksum, "published": True}
    assert details["regime"] == "2D"


@pytest.mark.parametrize("regime", ["2D", "2.5D", "2D+3D-refine", "3D"])
@pytest.mark.parametrize("family", ["resvit", "syndiff", "pix2pix"])
def test_every_plan_makes_a_valid_bundle(tmp_path, family, regime):
    from tiny_models import write_bundle

    section = {"slice_axes": [], **plans.plan(family, regime), "outputs": ["T2w"]}
    model = bundle.load(write_bundle(tmp_path / "planned", b"", **section))
    assert (model.regime == "3D") == (regime == "3D")
