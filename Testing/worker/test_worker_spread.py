"""Samples come back from the child as the pipeline makes them."""

from __future__ import annotations

import numpy as np
from support.tiny_models import drawing_network, write_bundle
from support.worker import wait

from IoUSynthLib import pipeline
from IoUSynthLib.pipeline import Options


def test_the_child_gives_what_the_pipeline_gives(running, ultrasound, tmp_path):
    model = write_bundle(tmp_path / "vae", drawing_network(), outputs=["T2w", "FLAIR"], draws=True, temperature=0.5)
    options = Options(model, "cpu", samples=3, seed=4)
    running.submit(ultrasound, options)
    result, expected = wait(running)[-1].result, pipeline.synthesize_with(ultrasound, options)
    for name in ("deviation", "frequency"):
        got, wanted = getattr(result.spread, name), getattr(expected.spread, name)
        np.testing.assert_array_equal(got.array, wanted.array)
        assert got.array.dtype == wanted.array.dtype
        assert got.same_grid(ultrasound, 0.0)
    assert result.report["spread"] == expected.report["spread"]
