"""The way through a generator: what stands in for its session, and the expected error where it is asked for."""

import numpy as np
from support.tiny_models import TINY_ERROR, generator_network, write_bundle

from IoUSynthLib.models.bundle import load
from IoUSynthLib.synthesis.generate import generate
from IoUSynthLib.synthesis.grid import FieldOfView, network_grid


def test_the_error_is_made_only_where_it_is_asked_for(tmp_path, ultrasound):
    generator = load(write_bundle(tmp_path / "tiny", generator_network()))
    grid = network_grid(FieldOfView.of(ultrasound), generator)
    without, with_error = (generate(generator, grid, device="cpu", with_error=asked) for asked in (False, True))
    assert without.error is None
    assert np.allclose(with_error.error[grid.valid], TINY_ERROR, atol=1e-6)
    assert not with_error.error[~grid.valid].any()
    for name, sign in {"T2w": -1, "FLAIR": 1}.items():
        assert np.array_equal(without.images[name], with_error.images[name])
        expected = np.where(grid.valid, sign * grid.image.array / 2, 0)
        assert np.allclose(without.images[name], expected, atol=1e-5)


def test_a_stand_in_for_the_session_runs_alone(tmp_path, ultrasound):
    class Constant:
        device = "cpu"

        def run(self, batch):
            return np.full((len(batch), 3, *batch.shape[2:]), 7.0, np.float32)

    generator = load(write_bundle(tmp_path / "tiny", b"no network"))
    grid = network_grid(FieldOfView.of(ultrasound), generator)
    made = generate(generator, grid, session=Constant(), with_error=True)
    assert np.array_equal(made.images["T2w"], grid.valid.astype(np.float32))  # clipped to the networks' range
    assert np.allclose(made.error[grid.valid], np.exp(7.0))
