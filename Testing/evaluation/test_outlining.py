"""Outlines on baselines, by the tiny segmenter: a cavity where what it takes for T2w is above 0.45."""

import numpy as np

from IoUSynthLib.cases.case import Case
from IoUSynthLib.evaluation.baselines import AS_IT_IS, MATCHED, MEAN, fit
from IoUSynthLib.evaluation.outlining import NOTHING, outline_baselines
from IoUSynthLib.models.bundle import load
from IoUSynthLib.preprocessing import field_of_view, normalize_ultrasound
from IoUSynthLib.volume import Volume


def case_of(ultrasound):
    volume = Volume(ultrasound.array, (0.8,) * 3, ultrasound.origin, ultrasound.direction)
    fan = field_of_view(volume.array)
    return Case({"ioUS": volume}, volume.with_array(np.zeros(fan.shape, np.uint8)), volume.with_array(fan), {}), fan


def test_the_segmenter_takes_the_baseline_for_mri(tiny_models, ultrasound):
    case, fan = case_of(ultrasound)
    echo = normalize_ultrasound(case.images["ioUS"].array)
    bright, dark = (fit([(echo[fan], np.full(fan.sum(), value))]) for value in (0.9, -0.9))
    flair = {"FLAIR": bright}
    labels = {name: outline_baselines(load("lesion-3d"), case, {"T2w": b, **flair})
              for name, b in (("bright", bright), ("dark", dark))}  # fmt: skip
    assert list(labels["dark"]) == [AS_IT_IS, MATCHED, MEAN, NOTHING]
    assert (labels["bright"][MEAN][fan] == 2).mean() > 0.9
    assert not (labels["dark"][MEAN] == 2).any()
    assert (labels["bright"][MATCHED] == 2).sum() > (labels["dark"][MATCHED] == 2).sum() == 0
    called = labels["dark"][AS_IT_IS] > 0  # as tumour or cavity, where the ultrasound itself is bright
    assert echo[called].mean() > 0.4 > echo[fan & ~called].mean()
    assert all((found[~fan] == 0).all() for found in labels["bright"].values())
    assert not labels["bright"][NOTHING].any()


def test_without_baselines_of_all_contrasts_the_ultrasound_is_left(tiny_models, ultrasound):
    case, _fan = case_of(ultrasound)
    flair = fit([(np.zeros(10), np.zeros(10))])
    assert list(outline_baselines(load("lesion-3d"), case, {"FLAIR": flair})) == [AS_IT_IS, NOTHING]
