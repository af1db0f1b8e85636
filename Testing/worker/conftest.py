"""A real worker with a temporary folder of its own."""

from __future__ import annotations

import pytest

from IoUSynthLib.worker.parent import Worker


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder in which the worker makes its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def running(tiny_models, temporary):
    job = Worker()
    yield job
    job.close()
