"""How far an ultrasound is from those of a training: known distributions, known images, damaged files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from support.tiny_models import generator_network, write_bundle

from IoUSynthLib.inference import open_session
from IoUSynthLib.models.bundle import FAMILIARITY_FILE, METADATA, load
from IoUSynthLib.synthesis.familiarity import Familiarity, compare, measure_features, shrunk_covariance
from IoUSynthLib.synthesis.grid import FieldOfView, network_grid
from IoUSynthLib.volume import InputError


def drawn(count: int, seed: int, size: int = 6) -> np.ndarray:
    """Cases whose features go together: one direction varies ten times as much as the others."""
    rng = np.random.default_rng(seed)
    return 5 + rng.standard_normal((count, size)) * 0.1 + rng.standard_normal((count, 1))


def test_the_covariance_is_shrunk_as_ledoit_and_wolf_have_it():
    """Their estimators, case by case and element by element."""
    cases = drawn(9, 0) - drawn(9, 0).mean(axis=0)
    count, size = cases.shape
    sample = sum(np.outer(case, case) for case in cases) / count
    scale = sum(sample[i, i] for i in range(size)) / size
    apart = sum((sample[i, j] - scale * (i == j)) ** 2 for i in range(size) for j in range(size)) / size
    spread = sum(((np.outer(case, case) - sample) ** 2).sum() for case in cases) / size / count**2
    expected = min(spread, apart) / apart * scale * np.eye(size) + (1 - min(spread, apart) / apart) * sample
    assert np.allclose(shrunk_covariance(cases), expected)
    assert np.allclose(shrunk_covariance(np.ones((4, 3)) * 2), np.full((3, 3), 4.0)), "certain: nothing to shrink"


def test_the_distance_is_mahalanobis():
    known = Familiarity.fit(list(drawn(4000, 1)), list(drawn(400, 2)))
    inverse = np.linalg.inv(np.cov(drawn(4000, 1).T))
    for case in drawn(5, 3):
        away = case - drawn(4000, 1).mean(axis=0)
        assert known.distance(case) == pytest.approx(np.sqrt(away @ inverse @ away / 6), rel=0.05)
    along, across = np.full(6, 7.0), np.array([7.0, 3.0] * 3)
    assert known.distance(along) < known.limit < known.distance(across), "as far away, in no usual direction"


def test_few_cases_with_many_features():
    """Held-out cases of the same kind are familiar, those with another texture are not."""
    known = Familiarity.fit(list(drawn(12, 1, size=90)), list(drawn(6, 2, size=90)))
    assert max(known.distance(case) for case in drawn(20, 3, size=90)) < 1.2 * known.limit
    assert known.distance(drawn(1, 4, size=90)[0] + np.where(np.arange(90) % 2, 2, -2)) > known.limit
    assert known.cases == {"train": 12, "validation": 6}


@pytest.fixture
def bundle(tmp_path):
    pytest.importorskip("onnx")
    return load(write_bundle(tmp_path / "with-features", generator_network(features=True), slice_axes=[0]))


def familiar_with(bundle, content):
    """The bundle with a file of what is familiar to it."""
    file = bundle.path / FAMILIARITY_FILE
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    metadata = json.loads((bundle.path / METADATA).read_text())
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    metadata["iousynth"]["checksums"][FAMILIARITY_FILE] = checksum
    (bundle.path / METADATA).write_text(json.dumps(metadata))
    return load(bundle.path)


def test_features_are_deviations_within_the_fan(bundle, ultrasound):
    """Of a checkerboard of 2x2 pixels within the fan, of which the tiny encoder halves the size, and grey outside."""
    grid = network_grid(FieldOfView.of(ultrasound), bundle)
    _z, y, x = np.indices(grid.valid.shape)
    squares = np.where((y // 2 + x // 2) % 2, 0.5, -0.5)
    grid = replace(grid, image=grid.image.with_array(squares), valid=np.hypot(y - 30, x - 24) < 16)
    found = measure_features(open_session(bundle, "cpu"), grid, bundle)
    assert np.allclose(found, 0.5, atol=0.01), "of each of the three slices"
    outside = replace(grid, image=grid.image.with_array(np.where(np.hypot(y - 30, x - 24) < 19, squares, 9.0)))
    assert np.allclose(measure_features(open_session(bundle, "cpu"), outside, bundle), found), "the fan alone counts"
    nothing = replace(grid, valid=np.zeros_like(grid.valid))
    assert measure_features(open_session(bundle, "cpu"), nothing, bundle) is None


def test_a_bundle_that_does_not_tell_is_not_compared(bundle, tiny_models, ultrasound):
    for model in (bundle, load("ious2mr-2.5d")):
        grid = network_grid(FieldOfView.of(ultrasound), model)
        assert compare(open_session(model, "cpu"), grid, model) is None


def test_an_input_is_compared_with_what_the_bundle_tells(bundle, ultrasound):
    grid = network_grid(FieldOfView.of(ultrasound), bundle)
    session = open_session(bundle, "cpu")
    own = measure_features(session, grid, bundle)
    near = [own * (1 + 0.05 * np.random.default_rng(number).standard_normal(3)) for number in range(12)]
    known = familiar_with(bundle, Familiarity.fit(near[:8], near[8:]).describe())
    found = compare(session, grid, known)
    assert found["distance"] < found["limit"] < 4
    flat = replace(grid, image=grid.image.with_array(grid.image.array * 0.2))
    assert compare(session, flat, known)["distance"] > 3 * found["limit"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ({"mean": [1.0]}, "is not what an input can be compared with"),
        ({**Familiarity.fit(list(drawn(9, 0)), list(drawn(3, 1))).describe(), "rest": 0.0}, "is not what an input"),
        (Familiarity.fit(list(drawn(9, 0)), list(drawn(3, 1))).describe(), "has 6 features, the network 3; export the"),
    ],
    ids=["no JSON", "entries are missing", "no variance", "of another network"],
)
def test_a_damaged_file_is_refused(bundle, ultrasound, content, message):
    known = familiar_with(bundle, content)
    grid = network_grid(FieldOfView.of(ultrasound), known)
    with pytest.raises(InputError, match=message):
        compare(open_session(known, "cpu"), grid, known)


def test_what_is_stored_is_what_is_read(bundle):
    known = Familiarity.fit(list(drawn(30, 0)), list(drawn(9, 1)))
    again = Familiarity.of(familiar_with(bundle, known.describe()))
    case = drawn(1, 2)[0]
    assert again.distance(case) == pytest.approx(known.distance(case), rel=1e-3)
    assert (again.limit, again.cases) == (pytest.approx(known.limit, rel=1e-4), known.cases)
    assert len(known.directions) == 5, "one less than there are features"
