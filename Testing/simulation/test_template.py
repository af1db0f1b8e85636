"""Tumours of patients as templates: their shape, parts and signals in another place."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from IoUSynthLib.simulation.anatomy import Head
from IoUSynthLib.simulation.case import grid_points, simulate_case
from IoUSynthLib.simulation.lesion import OWN, Lesion, at_home, draw_lesion, grow, places_in_donor
from IoUSynthLib.simulation.template import read_template, template_of, write_template
from IoUSynthLib.simulation.tissues import TUMOUR, Tissue

CENTRE = (40.0, 60.0, 50.0)


@pytest.fixture(scope="module")
def patient():
    """Brain of 50 mm radius with a box of tumour of 12 x 16 x 20 mm (x, y, z), half of it necrosis."""
    shape = (100, 120, 80)
    z, y, x = np.indices(shape) * 1.0
    tissues = np.where((z - 50) ** 2 + (y - 60) ** 2 + (x - 40) ** 2 < 38**2, 1, 0).astype(np.uint8)
    box = (np.abs(x - 40) <= 6) & (np.abs(y - 60) <= 8) & (np.abs(z - 50) <= 10)
    tissues[box] = Tissue.HIGH_GRADE_TUMOUR
    tissues[box & (x > 40)] = Tissue.NECROSIS
    signals = {"T2w": np.where(box, 0.7, 0.3).astype(np.float16), "FLAIR": np.where(box, 0.9, 0.4).astype(np.float16)}
    return Head("patient", tissues, 1.0, signals)


@pytest.fixture(scope="module")
def template(patient):
    return template_of(patient)


def lesion(**changes):
    drawn = draw_lesion(np.random.default_rng(0), (0.0, 40.0, 0.0))
    return replace(drawn, **{"donor": "patient", "roughness": 0.0, "mass_effect": 0.0, **changes})


def test_a_template_is_the_tumour(template, tmp_path):
    assert template.centre == pytest.approx(CENTRE)
    assert 4 / 3 * np.pi * template.radius**3 == pytest.approx(13 * 17 * 21, rel=0.01)
    write_template(template, tmp_path / "one.npz")
    back = read_template(tmp_path / "one.npz")
    assert back.name == "patient"
    assert back.maps == pytest.approx(template.maps, abs=0.02)


def test_heads_without_a_tumour_give_none(patient):
    assert template_of(replace(patient, tissues=np.minimum(patient.tissues, 1))) is None
    assert template_of(replace(patient, signals=None)) is None


def test_a_transplant_has_the_drawn_volume_and_the_donors_parts(template):
    points = grid_points(96, 0.8)
    white = torch.full((96,) * 3, int(Tissue.WHITE_MATTER), dtype=torch.uint8)
    for kind, parts in (("low grade", False), ("high grade", True)):
        grown = grow(
            lesion(kind=kind, parts=parts, radii=(10.0,) * 3), white, points, generator=torch.Generator(),
            template=template,
        )  # fmt: skip
        tumour = torch.isin(grown, torch.tensor([int(tissue) for tissue in TUMOUR]))
        assert float(tumour.sum()) * 0.8**3 == pytest.approx(4 / 3 * np.pi * 1000, rel=0.12)
        assert bool((grown == Tissue.NECROSIS).any()) == parts


def test_at_home_the_cavity_lies_where_the_tumour_was(patient, template):
    """With any axes of the probe, the centre of the cavity is that of the tumour."""
    axes = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    origin = np.array([40.0, 60.0, 90.0])
    home = at_home(lesion(kind="cavity"), template, centre=axes.T @ (template.centre - origin), axes=axes)
    offset = torch.tensor(axes.T @ np.array([0.0, 0.0, 5.0]), dtype=torch.float32)  # 5 mm up in the head
    place = places_in_donor(replace(home, radii=(template.radius,) * 3), template, _at(home, offset))
    assert place.flatten().tolist() == pytest.approx([0, 0, 5], abs=1e-4)
    assert at_home(lesion(kind="low grade"), template, centre=(0, 40, 0), axes=axes).kind == OWN


def _at(home: Lesion, offset: torch.Tensor) -> torch.Tensor:
    return (torch.tensor(home.centre, dtype=torch.float32) + offset).reshape(3, 1, 1, 1)


def test_a_patients_case_shows_the_patients_tumour(patient):
    kinds = set()
    for seed in range(8):
        case = simulate_case(patient, seed, size=40, voxel=2.4)
        kinds.add(case.parameters["lesion"]["kind"])
        if case.parameters["lesion"]["kind"] == OWN:
            volume = (case.labels.array == 1).sum() * 2.4**3
            assert volume == pytest.approx(13 * 17 * 21, rel=0.25)
    assert OWN in kinds
