"""Cases: seeds, geometry, lesions, contrast, and a cohort of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from IoUSynthLib.cases.case import read_case, write_case
from IoUSynthLib.cases.harmonisation import REFERENCES, harmonised, white_matter
from IoUSynthLib.cases.index import read_index
from IoUSynthLib.constants import VOXEL_MM
from IoUSynthLib.simulation.case import STANDOFF, draw_pose, grid_points, simulate_case
from IoUSynthLib.simulation.cohort import simulate_cohort
from IoUSynthLib.simulation.lesion import Lesion, grow
from IoUSynthLib.simulation.mri import Agent, acquire, simulate_mri, take_up
from IoUSynthLib.simulation.scene import plain_scene
from IoUSynthLib.simulation.tissues import CE_T1, PROPERTIES, TUMOUR, Tissue

SIZE = 64
COARSE = 1.6


@pytest.fixture(scope="module")
def case(head):
    return simulate_case(head, seed=5, size=SIZE, voxel=COARSE)


def lesion(kind, radii, **changes):
    values = {
        "centre": (0.0, 40.0, 0.0), "roughness": 0.0, "core": 0.5, "oedema": 1.5, "wall": 2.0, "residual": 0.4,
        "opened": False, "blood": 0.0, "mass_effect": 0.0,
    }  # fmt: skip
    return Lesion(kind=kind, radii=radii, **{**values, **changes})


def test_same_seed_same_case(head, case):
    again = simulate_case(head, seed=5, size=SIZE, voxel=COARSE)
    other = simulate_case(head, seed=6, size=SIZE, voxel=COARSE)
    for name, volume in case.images.items():
        assert np.array_equal(volume.array, again.images[name].array)
        assert not np.array_equal(volume.array, other.images[name].array)
    assert case.parameters == again.parameters


def test_a_contrast_agent_changes_nothing_else(head, case):
    """The sums were found before there was ceT1."""
    with_agent = simulate_case(head, seed=5, size=SIZE, voxel=COARSE, with_agent=True)
    assert list(with_agent.images) == ["ioUS", "T2w", "FLAIR", "ceT1"]
    for name, total in (("ioUS", 1798913), ("T2w", 66154410), ("FLAIR", 69764270)):
        assert np.array_equal(with_agent.images[name].array, case.images[name].array)
        assert int(case.images[name].array.astype(np.int64).sum()) == pytest.approx(total, rel=1e-3)
    assert np.array_equal(with_agent.labels.array, case.labels.array)
    added = {"targets", "agent", "white_matter"}
    assert {key: value for key, value in with_agent.parameters.items() if key not in added} == case.parameters
    assert with_agent.parameters["targets"] == ["T2w", "FLAIR", "ceT1"]


def test_mri_from_before_the_operation_changes_nothing_else(head, case):
    earlier = simulate_case(head, seed=5, size=SIZE, voxel=COARSE, preoperative=True)
    for name, volume in case.images.items():
        assert np.array_equal(earlier.images[name].array, volume.array), name
    assert np.array_equal(earlier.labels.array, case.labels.array)
    added = {"preoperative", "preoperative_lesion", "agent"}
    assert {key: value for key, value in earlier.parameters.items() if key not in added} == case.parameters
    assert set(earlier.images) - set(case.images) == {f"preoperative_{n}" for n in ("T2w", "FLAIR", "ceT1", "tissues")}


def test_before_a_resection_there_is_a_tumour_where_the_cavity_is(head):
    """Elsewhere the MRI is the target; what is left of the tumour was part of it."""
    found = set()
    for seed in range(12):
        case = simulate_case(head, seed=seed, size=48, voxel=2.0, preoperative=True)
        kind = case.parameters["lesion"]["kind"]
        tumour = np.isin(case.images["preoperative_tissues"].array, TUMOUR)
        if "cavity" not in kind:
            for name in ("T2w", "FLAIR"):
                assert np.array_equal(case.images[f"preoperative_{name}"].array, case.images[name].array)
            assert np.array_equal(tumour, case.labels.array == 1)
        elif (case.labels.array == 2).sum() > 300:
            found.add(kind)
            cavity = case.labels.array == 2
            assert tumour[cavity].mean() > 0.4
            assert tumour[case.labels.array == 1].all()
            where = tumour & cavity
            flair = [case.images[name].array[where].mean() for name in ("preoperative_FLAIR", "FLAIR")]
            assert flair[0] > flair[1] + 100, "tumour is bright where fluid is dark"
            oedema = case.images["preoperative_tissues"].array == Tissue.OEDEMA
            far = ndimage.distance_transform_edt(~(tumour | oedema | (case.labels.array > 0))) > 8
            assert np.array_equal(case.images["preoperative_T2w"].array[far], case.images["T2w"].array[far])
    assert found == {"cavity", "cavity with residual"}


def test_medians_of_the_white_matter_are_kept(head):
    case = simulate_case(head, seed=5, size=SIZE, voxel=COARSE, with_agent=True)
    for name, median in case.parameters["white_matter"].items():
        drawn = (case.parameters["agent"]["signal"] if name == "ceT1" else case.parameters["contrast"][name])
        assert median == pytest.approx(1000 * drawn[Tissue.WHITE_MATTER], rel=0.05), name
        found = harmonised(case, name)[case.fan.array > 0]
        near = np.abs(case.images[name].array[case.fan.array > 0] - median) < 2
        assert (found[near] + 1) / 2 == pytest.approx(REFERENCES[name], abs=0.01)
        plain = replace(case, parameters={})
        assert white_matter(plain, name) == pytest.approx(median, rel=0.1), "estimated from the histogram"


def test_a_case_with_ceT1_is_read_back(head, tmp_path):
    case = simulate_case(head, seed=5, size=16, voxel=6.4, with_agent=True)
    write_case(case, tmp_path / "case")
    again = read_case(tmp_path / "case")
    assert np.array_equal(again.images["ceT1"].array, case.images["ceT1"].array)


def test_the_rim_of_a_tumour_takes_up_more_than_its_inside():
    """A ball of 16 mm: as the table has it at its border, a fraction of it in the middle; nothing else changes."""
    points = grid_points(64, VOXEL_MM)
    radius = (points - points[:, 32, 32, 32].reshape(3, 1, 1, 1)).square().sum(0).sqrt()
    tissues = torch.where(radius < 16, int(Tissue.HIGH_GRADE_TUMOUR), int(Tissue.WHITE_MATTER)).to(torch.uint8)
    scene = plain_scene(tissues, points)
    signal = torch.tensor([CE_T1[tissue] for tissue in Tissue])[tissues.long()]
    agent = Agent([], rim=2.0, inside=0.5, vessels=0.3)
    found = take_up(signal, scene, agent, echo=2.0) / signal
    assert float(found[32, 32, 32]) == pytest.approx(0.5, abs=1e-3)
    assert float(found[(radius > 15.5) & (radius < 16)].min()) > 0.75
    assert torch.equal(found[radius > 16.5], torch.ones_like(found[radius > 16.5]))
    vessels = torch.zeros_like(signal)
    vessels[10, 10, 10] = 1.0
    bright = take_up(signal, replace(scene, vessels=vessels), agent, echo=2.0)
    assert float(bright[10, 10, 10] - signal[10, 10, 10]) == pytest.approx(0.15)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_simulates_the_same_case_with_other_speckle(head, case):
    first, second = (simulate_case(head, seed=5, size=SIZE, voxel=COARSE, device="cuda") for _ in range(2))
    for name, volume in first.images.items():
        assert np.array_equal(volume.array, second.images[name].array)
        assert volume.array.mean() == pytest.approx(case.images[name].array.mean(), rel=0.1)
    assert first.parameters == case.parameters


def test_the_face_of_the_probe_lies_where_the_pose_says(head, case):
    pose = draw_pose(head, np.random.default_rng(5))
    turn = np.array(case.parameters["turn"])
    assert not np.allclose(turn, np.eye(3)), "choose a seed whose grid is turned against the probe"
    middle = (SIZE - 1) / 2
    centre = np.array((middle,) * 3)
    face = np.array((middle, (STANDOFF - case.parameters["probe"]["standoff"]) / COARSE, middle))
    index = np.append(centre + turn.T @ (face - centre), 1)
    there = (case.images["ioUS"].ijk_to_lps @ index)[:3]
    assert there == pytest.approx(case.parameters["face"], abs=1e-4)
    assert there == pytest.approx(pose.origin - case.parameters["probe"]["standoff"] * pose.axes[:, 1], abs=1e-4)
    assert np.allclose(pose.axes.T @ pose.axes, np.eye(3))
    assert np.linalg.det(pose.axes) == pytest.approx(1)


def test_a_turned_grid_sees_the_same_head(head, case):
    """T2w at a voxel of the turned grid shows the head's tissue at that voxel's place in the world."""
    image, fan = case.images["T2w"], case.fan.array > 0
    indices = np.argwhere(fan)[::97]
    world = (image.ijk_to_lps @ np.c_[indices[:, ::-1], np.ones(len(indices))].T)[:3]
    voxels = np.round(world[::-1] / head.spacing).astype(int)
    inside = ((voxels >= 0) & (voxels < np.array(head.tissues.shape)[:, None])).all(0)
    tissues = head.tissues[tuple(voxels[:, inside])]
    values = image.array[tuple(indices[inside].T)]
    assert np.median(values[tissues == Tissue.WHITE_MATTER]) == pytest.approx(
        1000 * case.parameters["contrast"]["T2w"][Tissue.WHITE_MATTER], rel=0.05
    )


def test_nothing_is_seen_outside_the_fan(case):
    assert not case.images["ioUS"].array[case.fan.array == 0].any()
    assert 0.02 < case.fan.array.mean() < 0.7


def test_a_smooth_tumour_has_the_volume_of_its_ellipsoid():
    points = grid_points(96, VOXEL_MM)
    white = torch.full((96,) * 3, int(Tissue.WHITE_MATTER), dtype=torch.uint8)
    grown = grow(lesion("low grade", (10.0, 14.0, 12.0)), white, points, generator=torch.Generator().manual_seed(0))
    volume = float((grown == Tissue.LOW_GRADE_TUMOUR).sum()) * VOXEL_MM**3
    assert volume == pytest.approx(4 / 3 * np.pi * 10 * 14 * 12, rel=0.02)


def test_a_cavity_has_a_wall_around_it():
    points = grid_points(96, VOXEL_MM)
    white = torch.full((96,) * 3, int(Tissue.WHITE_MATTER), dtype=torch.uint8)
    grown = grow(lesion("cavity", (14.0,) * 3, blood=-1.0), white, points, generator=torch.Generator().manual_seed(0))
    radius = (points - torch.tensor([0.0, 40.0, 0.0]).reshape(3, 1, 1, 1)).square().sum(0).sqrt()
    assert set(grown[radius < 11.5].tolist()) == {int(Tissue.CAVITY)}
    assert set(grown[(radius > 12.5) & (radius < 13.5)].tolist()) == {int(Tissue.CAVITY_WALL)}
    assert set(grown[radius > 14.5].tolist()) == {int(Tissue.WHITE_MATTER)}


def test_oedema_spreads_in_white_matter_only():
    points = grid_points(96, VOXEL_MM)
    tissues = torch.full((96,) * 3, int(Tissue.WHITE_MATTER), dtype=torch.uint8)
    tissues[points[0] > 0] = int(Tissue.CORTEX)
    grown = grow(lesion("high grade", (10.0,) * 3), tissues, points, generator=torch.Generator().manual_seed(0))
    assert (grown[points[0] > 0] != Tissue.OEDEMA).all()
    assert (grown == Tissue.OEDEMA).any()


def test_mri_of_one_tissue_is_its_signal():
    tissues = torch.full((16,) * 3, int(Tissue.VENTRICLE), dtype=torch.uint8)
    signal = [PROPERTIES[tissue].t2w for tissue in Tissue]
    scene = plain_scene(tissues, grid_points(16))
    image = simulate_mri(scene, signal, torch.zeros(tissues.shape), partial_volume=0.5, texture_contrast=0.1)
    assert image[8, 8, 8] == pytest.approx(PROPERTIES[Tissue.VENTRICLE].t2w, rel=1e-4)


def test_acquisition_adds_rician_noise_on_black():
    image = acquire(torch.zeros((48,) * 3), torch.Generator().manual_seed(1), noise=0.02)
    assert float(image.mean()) == pytest.approx(0.02 * np.sqrt(np.pi / 2), rel=0.02)


def test_cohort_from_the_head_that_everyone_has(tmp_path):
    """A case of the ICBM head of nilearn; the second call finds it and leaves it as it is."""
    pytest.importorskip("nilearn")
    entries = simulate_cohort(1, tmp_path, seed=3)
    assert [entry["head"] for entry in entries] == ["icbm152"]
    folders = read_index(tmp_path, "train")
    before = [(folder / "ioUS.mha").stat().st_mtime_ns for folder in folders]
    simulate_cohort(1, tmp_path, seed=3)
    assert [(folder / "ioUS.mha").stat().st_mtime_ns for folder in folders] == before
    case = read_case(folders[0])
    assert case.images["ioUS"].array.max() > 50
    assert case.images["T2w"].array[case.fan.array > 0].mean() > 200
