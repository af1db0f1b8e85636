"""``iousynth models``: what is found, what it is, and whether it is as it was."""

from __future__ import annotations

import json

from support.tiny_models import write_bundle

from IoUSynthLib import cli


def test_models_are_listed_described_and_verified(tiny_models, capsys, tmp_path, monkeypatch):
    assert cli.main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ious2mr-2.5d  0.0.1  generator 2.5D  ioUS -> T2w, FLAIR, log_error") for line in lines)
    assert cli.main(["models", "info", "lesion-3d"]) == 0
    assert json.loads(capsys.readouterr().out)["iousynth"]["kind"] == "segmenter"
    assert cli.main(["models", "verify", "lesion-3d", "ious2mr-2.5d"]) == 0
    assert capsys.readouterr().out.count("checksums match") == 2
    bad = write_bundle(tmp_path / "bad", b"text", checksums={"models/model.onnx": "0" * 64})
    assert cli.main(["models", "verify", str(bad), "lesion-3d"]) == 2
    captured = capsys.readouterr()
    assert "checksum does not match" in captured.err
    assert "lesion-3d" in captured.out
    assert cli.main(["models", "info", "nothing"]) == 2
    monkeypatch.setattr("IoUSynthLib.models.command.bundle_paths", list)
    assert cli.main(["models", "list"]) == 2
    assert "none found" in capsys.readouterr().err
