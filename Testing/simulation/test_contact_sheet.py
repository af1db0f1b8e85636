"""The contact sheet shows each case in the plane of its sweep, with the outlines where the labels are."""

import numpy as np
import pytest
from PIL import Image

from IoUSynthLib.cases.case import Case, write_case
from IoUSynthLib.cases.contact_sheet import CONTACT_SHEET
from IoUSynthLib.constants import COLOURS, LABELS
from IoUSynthLib.simulation.contact_sheet import panels, sheet
from IoUSynthLib.simulation.planes import cut, frame_plane, frame_positions
from IoUSynthLib.volume import InputError, Volume

FACE = np.array([4.0, -7.0, 11.0])


@pytest.fixture(params=[False, True], ids=["grid along the probe", "grid turned"])
def case(request):
    """Balls of tumour and cavity 30 mm deep, 15 mm to the left and right of the middle beam, in any grid."""
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    axes[:, 2] *= np.linalg.det(axes)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0] if request.param else np.eye(3)
    direction = axes @ turn
    centre = FACE + axes @ [0, 30.0, 0]
    grid = Volume(np.zeros((60,) * 3, np.uint8), (1.6,) * 3, tuple(centre - direction @ np.full(3, 47.2)), direction)
    index = np.indices(grid.array.shape).reshape(3, -1)[::-1]
    world = grid.ijk_to_lps[:3, :3] @ index + np.array(grid.origin)[:, None]
    probe = (axes.T @ (world - FACE[:, None])).reshape(3, *grid.array.shape)

    def ball(lateral):
        return np.linalg.norm(probe - np.array([lateral, 30.0, 0]).reshape(3, 1, 1, 1), axis=0) < 8

    labels = LABELS["tumour"] * ball(-15) + LABELS["cavity"] * ball(15)
    image = (40 + 100 * (labels > 0)).astype(np.uint8)
    parameters = {
        "head": "made", "lesion": {"kind": "low grade"}, "face": FACE.tolist(), "axes": axes.tolist(),
        "probe": {"face_radius": 20.0, "tilt_pivot": None, "sweep_half_length": 20.0, "depth": 60.0},
    }  # fmt: skip
    images = {name: grid.with_array(image) for name in ("ioUS", "T2w", "FLAIR")}
    return Case(images, grid.with_array(labels.astype(np.uint8)), grid.with_array(np.ones_like(image)), parameters)


def test_panels_show_lateral_to_the_right_and_depth_downwards(case):
    for panel in panels(case):
        pixels = 96.0 / panel.shape[0]
        for structure, lateral in (("tumour", -15), ("cavity", 15)):
            outline = np.argwhere((panel == COLOURS[structure]).all(axis=2))
            row, column = (outline.min(0) + outline.max(0)) / 2 * pixels
            assert row - 6 == pytest.approx(30, abs=1)  # the slice begins 6 mm above the face
            assert column - 48 == pytest.approx(lateral, abs=1)
            assert np.ptp(outline, axis=0) * pixels == pytest.approx([16, 16], abs=2.5)


def test_plane_follows_the_sweep_and_the_tilt(case):
    plane = frame_plane(case.labels, case.parameters, 10.0)
    middle = np.array([0, 20 + 30.0, 0, 1])  # 30 mm below the face
    axes = np.array(case.parameters["axes"])
    world = case.labels.ijk_to_lps @ plane @ middle
    assert world[:3] == pytest.approx(FACE + axes @ [0, 30, 10])
    case.parameters["probe"]["tilt_pivot"] = 25.0
    world = case.labels.ijk_to_lps @ frame_plane(case.labels, case.parameters, 0.3) @ middle
    assert world[:3] == pytest.approx(FACE + axes @ [0, 55 * np.cos(0.3) - 25, 55 * np.sin(0.3)])


def test_positions_span_the_middle_of_the_sweep():
    probe = {"sweep_half_length": 20.0, "tilt_pivot": None, "depth": 60.0}
    assert frame_positions(probe, 3) == pytest.approx([-10, 0, 10])
    assert frame_positions(probe | {"tilt_pivot": 14.0}, 3) == pytest.approx([-np.arctan(0.2), 0, np.arctan(0.2)])


def test_cut_is_black_outside_the_volume(case):
    plane = frame_plane(case.labels, case.parameters, 500.0)
    assert not cut(case.images["ioUS"].array, plane, top=0.0, extent=50.0, pixels=8).any()


def test_sheet_has_a_row_for_each_of_at_most_eight_cases(case, tmp_path):
    folder = tmp_path / "case-0000"
    write_case(case, folder)
    heights = []
    for count in (1, 2, sheet().most, sheet().most + 5):
        sheet().write([folder] * count, tmp_path / CONTACT_SHEET)
        heights.append(Image.open(tmp_path / CONTACT_SHEET).size[1])
    assert heights[1] - heights[0] > 200
    assert heights[2] - heights[1] == (sheet().most - 2) * (heights[1] - heights[0])
    assert heights[3] == heights[2]


def test_sheet_says_what_is_wrong(case, tmp_path):
    with pytest.raises(InputError, match="no case to draw"):
        sheet().write([], tmp_path / CONTACT_SHEET)
    write_case(case, tmp_path / "case-0000")
    with pytest.raises(InputError, match=r"absent.*cannot be written"):
        sheet().write([tmp_path / "case-0000"], tmp_path / "absent" / CONTACT_SHEET)
