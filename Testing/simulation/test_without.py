"""Parts of the simulator that are taken away: what changes with each, and that nothing else does."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from IoUSynthLib.simulation import cohort
from IoUSynthLib.simulation.case import simulate_case
from IoUSynthLib.simulation.parts import PARTS, simplify
from IoUSynthLib.simulation.probe import BRAIN_ATTENUATION, draw_probe
from IoUSynthLib.simulation.scene import plain_scene
from IoUSynthLib.simulation.tissues import Tissue
from IoUSynthLib.simulation.ultrasound import simulate_ultrasound

SIZE, VOXEL = 40, 2.4
#: A turned grid, lost contact, drift and a tumour in view.
SEED = 37


def simulate(head, *without):
    return simulate_case(head, SEED, size=SIZE, voxel=VOXEL, without=without)


def without_names(parameters, *names):
    return {name: value for name, value in parameters.items() if name not in names}


@pytest.fixture(scope="module")
def whole(head):
    case = simulate(head)
    assert case.parameters["without"] == []
    assert case.parameters["probe"]["lost_contact"] is not None
    assert (case.labels.array == 1).any()
    return case


@pytest.fixture(scope="module")
def patient(head):
    """The head with measured signals that no table would give."""
    noise = np.random.default_rng(0).uniform(0.2, 0.3, (2, *head.tissues.shape)).astype(np.float16)
    return replace(head, signals=dict(zip(("T2w", "FLAIR"), noise, strict=True)))


def test_without_shadow_only_the_brightness_changes(head, whole):
    case = simulate(head, "shadow")
    for name in ("T2w", "FLAIR"):
        assert np.array_equal(case.images[name].array, whole.images[name].array)
    for name in ("labels", "fan"):
        assert np.array_equal(getattr(case, name).array, getattr(whole, name).array)
    assert not np.array_equal(case.images["ioUS"].array, whole.images["ioUS"].array)
    assert case.images["ioUS"].same_grid(whole.images["ioUS"])
    assert case.parameters["without"] == ["shadow"]
    assert without_names(case.parameters, "probe", "without") == without_names(whole.parameters, "probe", "without")
    changed = {name for name, value in case.parameters["probe"].items() if value != whole.parameters["probe"][name]}
    assert changed == {"even_attenuation", "lost_contact", "unevenness"}


def test_without_shadow_blood_casts_none(white_matter, points, probe):
    """The same scatterers behind a slab that attenuates and behind brain, in dB."""
    slab = white_matter.clone()
    slab[(points[1] > 20) & (points[1] < 30) & (points[0].abs() < 8)] = int(Tissue.BLOOD)
    behind = (points[1] > 40) & (points[1] < 60) & (points[0].abs() < 5) & (points[2].abs() < 15)

    def level(tissues, probe):
        generator = torch.Generator().manual_seed(3)
        volume, fan = simulate_ultrasound(plain_scene(tissues, points), probe, [0.3] * len(Tissue), generator=generator)
        return float(volume[behind & fan].mean()) * probe.dynamic_range

    even = simplify(probe, {"shadow"})
    assert level(slab, probe) - level(white_matter, probe) < -8
    assert level(slab, even) == pytest.approx(level(white_matter, even), abs=0.3)


def test_without_turn_the_same_head_lies_in_the_world(head, whole):
    case = simulate(head, "turn")
    assert np.allclose(case.parameters["turn"], np.eye(3))
    assert not np.allclose(whole.parameters["turn"], np.eye(3)), "choose a seed whose grid is turned"
    assert without_names(case.parameters, "turn", "without") == without_names(whole.parameters, "turn", "without")
    indices = np.argwhere(whole.fan.array)[:, ::-1]
    world = whole.labels.ijk_to_lps @ np.c_[indices, np.ones(len(indices))].T
    there = np.round((np.linalg.inv(case.labels.ijk_to_lps) @ world)[2::-1]).astype(int)
    assert ((there >= 0) & (there < SIZE)).all()
    agreement = case.labels.array[tuple(there)] == whole.labels.array[tuple(indices.T[::-1])]
    assert agreement.mean() > 0.999
    assert case.fan.array[tuple(there)].mean() > 0.85


def test_without_sweep_the_hand_is_steady_and_nothing_is_missed(head, whole):
    case = simulate(head, "sweep")
    for name in ("T2w", "FLAIR"):
        assert np.array_equal(case.images[name].array, whole.images[name].array)
    assert np.array_equal(case.labels.array, whole.labels.array)
    assert not np.array_equal(case.fan.array, whole.fan.array)
    changed = {name for name, value in case.parameters["probe"].items() if value != whole.parameters["probe"][name]}
    assert changed <= {"step_irregularity", "drift", "unsteadiness", "tracking_error", "longest_gap"}
    assert {"step_irregularity", "drift"} <= changed


def test_a_regular_sweep_has_no_gaps():
    """Half the distance between frames at the deepest sample, for probes of all kinds."""
    for seed in range(300):
        probe = simplify(draw_probe(np.random.default_rng(seed)), {"sweep"})
        step = 2 * probe.sweep_half_length / (probe.frames - 1)
        if probe.tilt_pivot is not None:
            half = np.arctan(probe.sweep_half_length / (probe.tilt_pivot + 0.6 * probe.depth))
            step = 2 * half / (probe.frames - 1) * (probe.depth + probe.tilt_pivot)
        assert step / 2 < probe.longest_gap


def test_without_real_mri_the_targets_are_the_tables(patient, head):
    given, case, drawn = simulate(patient), simulate(patient, "real MRI"), simulate(head)
    assert not np.array_equal(given.images["T2w"].array, drawn.images["T2w"].array)
    for name in ("ioUS", "T2w", "FLAIR"):
        assert np.array_equal(case.images[name].array, drawn.images[name].array)


def test_the_probe_stays_where_no_part_of_it_is_taken_away():
    probe = draw_probe(np.random.default_rng(1))
    assert simplify(probe, ()) == simplify(probe, {"turn", "real MRI"}) == probe
    assert simplify(probe, {"shadow"}).even_attenuation == BRAIN_ATTENUATION


def test_an_unknown_part_is_named(head):
    with pytest.raises(ValueError, match=r"unknown part 'fog' of the simulator; choose from shadow, sweep, real MRI"):
        simulate(head, "fog")


@pytest.fixture
def drawn_cases(monkeypatch, tmp_path):
    """A cohort of six label maps and two patients; what would be simulated, by head, without the parts."""
    paths = {f"subject{n:02d}": tmp_path / f"subject{n:02d}.nii.gz" for n in range(6)}
    paths |= {name: tmp_path / name for name in ("ann", "bob")}
    for name in ("ann", "bob"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(cohort, "head_paths", lambda folder: paths)
    return lambda count, split, *without: [
        entry["head"] for entry in cohort._entries(count, cohort.head_paths(tmp_path), split=split, without=without)
    ]


def test_label_maps_stand_in_for_patients(drawn_cases):
    whole, replaced = drawn_cases(20, "train"), drawn_cases(20, "train", "real MRI")
    assert set(whole) == {"subject00", "subject01", "ann", "bob"}
    for first, second in zip(whole, replaced, strict=True):
        assert second == first if first.startswith("subject") else second in {"subject00", "subject01"}
    assert drawn_cases(4, "test") == ["subject03", "subject04", "subject05", "subject03"]
    assert drawn_cases(8, None)[-2:] == ["ann", "bob"]


def test_a_split_without_heads_is_named(monkeypatch):
    assert set(PARTS) == {"shadow", "sweep", "real MRI", "turn"}
    with pytest.raises(ValueError, match="no anatomies for test; put five or more"):
        cohort._entries(3, {"icbm152": None}, split="test", without=())
