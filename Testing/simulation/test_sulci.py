"""Sheets of sulci: where two banks meet, with and without fluid between them, and how they close."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from IoUSynthLib.simulation.scene import sheet_share
from IoUSynthLib.simulation.sulci import FAR, fluid_sheet, fold
from IoUSynthLib.simulation.tissues import Tissue

SPACING = 0.5
MIDDLE = 30


def banks(half_width_of_fluid):
    """White matter on both sides of a fold along x: 4 mm of cortex on either bank, and fluid in the middle."""
    x = (np.arange(61) - MIDDLE) * SPACING
    profile = np.full(61, Tissue.WHITE_MATTER, np.uint8)
    profile[np.abs(x) < 4 + half_width_of_fluid] = Tissue.CORTEX
    profile[np.abs(x) < half_width_of_fluid] = Tissue.SULCUS
    return np.broadcast_to(profile, (40, 40, 61)).copy()


@pytest.mark.parametrize("fluid", [0.0, 1.5])
def test_a_sheet_lies_in_the_middle_also_without_fluid(fluid):
    sheet, _ = fold(banks(fluid), SPACING)
    profile = sheet[20, 20].astype(float)
    assert profile[MIDDLE] == pytest.approx(0, abs=0.1)
    assert profile[[MIDDLE - 2, MIDDLE + 2]] == pytest.approx(1.0, abs=0.25)
    assert profile[[MIDDLE - 6, MIDDLE + 6]] == pytest.approx(3, abs=0.3)
    assert profile[[0, 60]] == pytest.approx(FAR)


def test_banks_close_over_the_fluid():
    """Half a millimetre beside the middle the cortex is seen that lay 1.5 mm of fluid away; nothing moves far off."""
    tissues = banks(1.5)
    _, closing = fold(tissues, SPACING)
    along_x = closing[0, 20, 20].astype(float)
    assert along_x[MIDDLE] == pytest.approx(0, abs=0.1)
    for side in (-1, 1):
        place = MIDDLE + 2 * side
        found = round(place + along_x[place] / SPACING)
        assert tissues[20, 20, found] == Tissue.CORTEX
        assert side * along_x[place] > 0
    assert np.abs(along_x[[2, -3]]).max() < 0.2
    assert np.abs(closing[1:, 20, 20]).max() < 0.1


def test_without_fluid_nothing_closes():
    assert np.abs(fold(banks(0.0), SPACING)[1]).max() == 0


def test_a_sulcus_runs_through_a_low_grade_tumour_and_ends_at_a_cavity():
    distance = torch.zeros((16, 16, 16))
    shares = {}
    for tissue in (Tissue.CORTEX, Tissue.LOW_GRADE_TUMOUR, Tissue.HIGH_GRADE_TUMOUR, Tissue.CAVITY):
        tissues = torch.full(distance.shape, int(tissue), dtype=torch.uint8)
        shares[tissue] = float(sheet_share(distance, tissues, 0.5, generator=torch.Generator().manual_seed(0)).mean())
    assert shares[Tissue.LOW_GRADE_TUMOUR] == pytest.approx(0.8 * shares[Tissue.CORTEX])
    assert shares[Tissue.HIGH_GRADE_TUMOUR] < 0.2 * shares[Tissue.CORTEX]
    assert shares[Tissue.CAVITY] == 0


def tilted_sheet(offset, normal=(0.0, 0.6, 0.8)):
    """T2w less FLAIR of a sheet of 0.5 mm of fluid as MRI of 1 mm shows it, and distances to it in mm."""
    places = np.moveaxis(np.indices((40, 40, 40)), 0, -1) - 19.5
    distance = places @ np.array(normal) * SPACING - offset
    sharp = np.where(np.abs(distance) < 0.25, 0.9, 0.0)
    return ndimage.gaussian_filter(sharp, 0.5 / SPACING).astype(np.float32), np.abs(distance)


def test_fluid_that_mri_shows_is_found_between_voxels():
    contrast, distance = tilted_sheet(0.2)
    found = fluid_sheet(contrast, np.full(contrast.shape, Tissue.WHITE_MATTER, np.uint8), SPACING).astype(float)
    inner = (slice(8, -8),) * 3
    near = distance[inner] < 0.8
    assert found[inner][near] == pytest.approx(distance[inner][near], abs=0.15)
    assert found[inner][distance[inner] > 2].min() > 1.5


def test_ventricles_and_rims_of_tumours_are_no_sheets():
    contrast, distance = tilted_sheet(0.0)
    tissues = np.where(distance < 3, Tissue.VENTRICLE, Tissue.WHITE_MATTER).astype(np.uint8)
    assert (fluid_sheet(contrast, tissues, SPACING) == FAR).all()
    tissues = np.full(contrast.shape, Tissue.WHITE_MATTER, np.uint8)
    tissues[12:28, 12:28, 12:28] = Tissue.OEDEMA
    tumour = ndimage.gaussian_filter(np.where(tissues == Tissue.OEDEMA, -0.3, 0.0), 1)
    assert (fluid_sheet(tumour, tissues, SPACING) == FAR).all()
