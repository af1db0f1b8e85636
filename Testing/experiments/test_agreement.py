"""Agreement of synthetic MRI with the ultrasound, by images whose agreement is known."""

import json

import numpy as np
import pytest
from scipy import ndimage

from IoUSynthLib.cases.case import Case, write_case
from IoUSynthLib.experiments.__main__ import main
from IoUSynthLib.experiments.agreement import MEASURES, measure, table
from IoUSynthLib.experiments.realism import data as realism_data
from IoUSynthLib.preprocessing import field_of_view
from IoUSynthLib.volume import Volume

SPACING = 0.8


@pytest.fixture(scope="module")
def speckle() -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((48, 48, 48))
    return ndimage.gaussian_filter(noise, 2).astype(np.float32)


@pytest.fixture(scope="module")
def fan() -> np.ndarray:
    mask = np.zeros((48, 48, 48), bool)
    mask[4:-4, 4:-4, 4:-4] = True
    return mask


def agree(ultrasound, fan, t2w, flair, uncertainty=None):
    return measure(ultrasound, fan, t2w=t2w, flair=flair, spacing=SPACING, uncertainty=uncertainty)


def test_an_image_that_repeats_the_ultrasound(speckle, fan):
    values = agree(speckle, fan, 3 * speckle + 1, -speckle)
    assert values["edges"] == pytest.approx(1, abs=1e-3)
    assert values["T2w against ultrasound"] == pytest.approx(1, abs=1e-3)
    assert values["FLAIR against ultrasound"] == pytest.approx(-1, abs=1e-3)
    assert values["streaks"] == pytest.approx(1, abs=1e-3)


def test_an_image_of_something_else(speckle, fan):
    other = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(fan.shape), 2)
    values = agree(speckle, fan, other, other)
    assert abs(values["edges"]) < 0.15
    assert abs(values["T2w against ultrasound"]) < 0.25


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_steps_between_slices_are_streaks(speckle, fan, axis):
    striped = speckle + steps_along(axis) * speckle.std()
    assert agree(speckle, fan, striped, speckle)["streaks"] > 1.5


def test_a_plaid_along_all_axes_is_no_less_of_a_streak(speckle, fan):
    plaid = speckle + sum(map(steps_along, (0, 1, 2))) * speckle.std()
    assert agree(speckle, fan, plaid, speckle)["streaks"] > 1.5


def test_an_isotropic_image_has_no_streaks_beside_another(speckle, fan):
    other = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(fan.shape), 1.5)
    assert agree(speckle, fan, other, speckle)["streaks"] == pytest.approx(1, abs=0.15)


def steps_along(axis: int) -> np.ndarray:
    """Slices across an axis, each brighter or darker than the next one at random."""
    shape = [1, 1, 1]
    shape[axis] = 48
    return np.random.default_rng(2 + axis).standard_normal(48).reshape(shape)


def test_sheets_that_are_shown_where_the_ultrasound_has_them(speckle, fan):
    ultrasound = 0.2 * speckle + sheet_at(20)
    shown = agree(ultrasound, fan, sheet_at(20), -sheet_at(20))
    assert shown["sheets in T2w"] > 0.95
    assert shown["sheets in FLAIR"] > 0.95
    inverted = agree(ultrasound, fan, -sheet_at(20), sheet_at(20))
    assert inverted["sheets in T2w"] < 0.1
    assert inverted["sheets in FLAIR"] < 0.1


def test_sheets_that_are_shown_elsewhere(speckle, fan):
    elsewhere = agree(0.2 * speckle + sheet_at(20), fan, sheet_at(32), -sheet_at(32))
    assert elsewhere["sheets in T2w"] < 0.6


def sheet_at(place: float) -> np.ndarray:
    """A bright, slightly tilted sheet, 2 mm wide, across the first axis."""
    z, y, _ = np.indices((48, 48, 48), dtype=np.float32)
    return np.exp(-0.5 * ((z + 0.1 * y - place) * SPACING) ** 2)


def test_uncertainty_at_the_rim(speckle, fan):
    depth = ndimage.distance_transform_edt(fan, sampling=SPACING)
    expected = np.where(depth <= 3, 2.0, 1.0)
    values = agree(speckle, fan, speckle, speckle, expected)
    assert values["uncertainty at the rim"] == pytest.approx(2)


def test_uncertainty_in_shadow_but_not_in_fluid(speckle, fan):
    """The lower half is black, a third of it because it is fluid."""
    ultrasound, t2w, expected = 0.1 * speckle, 300 + 10 * speckle, np.full(fan.shape, 1.0)
    ultrasound[24:] = -1
    t2w[40:] = 1000
    expected[28:40] = 3
    values = agree(ultrasound, fan, t2w, speckle, expected)
    assert values["uncertainty without echo"] == pytest.approx(3, abs=0.2)


def test_without_shadow_nothing_is_said_of_it(speckle, fan):
    values = agree(0.1 * speckle, fan, speckle, speckle, np.ones(fan.shape))
    assert "uncertainty without echo" not in values


def test_table_has_a_row_for_each_source(speckle, fan):
    values = agree(speckle, fan, speckle, speckle)
    rows = {"real": {m: [values[m]] if m in values else [] for m in MEASURES}}
    assert table(rows).splitlines()[-1].startswith("| real | 1 | 1.00 | ")


def test_command_measures_simulated_and_real_volumes(tiny_models, ultrasound, tmp_path, monkeypatch, capsys):
    """The tiny generator's FLAIR repeats the ultrasound, its T2w inverts it; a real volume gets a picture."""
    cubic = Volume(ultrasound.array, (0.8,) * 3, ultrasound.origin, ultrasound.direction)
    fan = field_of_view(cubic.array)
    images = {"ioUS": cubic, "T2w": cubic.with_array(1000 - cubic.array), "FLAIR": cubic}
    labels = cubic.with_array(np.zeros(fan.shape, np.uint8))
    case = Case(images, labels, cubic.with_array(fan.astype(np.uint8)), {"simulated": True})
    write_case(case, tmp_path / "cohort" / "case-0000")
    index = {"cases": [{"name": "case-0000", "head": "h", "split": "test"}]}
    (tmp_path / "cohort" / "dataset.json").write_text(json.dumps(index))
    monkeypatch.setattr(realism_data, "read_real", lambda data: {"RESECT case 4": (cubic,)})
    arguments = ["--cohort", str(tmp_path / "cohort"), "--real", str(tmp_path), "-o", str(tmp_path / "out")]
    assert main(["agreement", *arguments]) == 0
    values = json.loads((tmp_path / "out" / "agreement.json").read_text())
    for source in ("simulated, synthetic MRI", "RESECT case 4"):
        assert values[source]["FLAIR against ultrasound"][0] > 0.95
        assert values[source]["T2w against ultrasound"][0] < -0.95
    assert values["simulated, true MRI"]["uncertainty at the rim"] == []
    assert (tmp_path / "out" / "resect_case_4.png").stat().st_size > 1000
    assert "| RESECT case 4 | 1 |" in capsys.readouterr().out


def test_command_names_what_is_missing(tmp_path, capsys):
    assert main(["agreement", "--cohort", str(tmp_path), "--real", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "no dataset.json; make a cohort with" in capsys.readouterr().err
