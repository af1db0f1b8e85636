"""Heads of the published label maps, where they are at hand."""

from pathlib import Path

import numpy as np
import pytest

from IoUSynthLib.simulation.anatomy import read_head
from IoUSynthLib.simulation.cohort import head_paths
from IoUSynthLib.simulation.tissues import Tissue

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.long
@pytest.mark.parametrize("source", ["brainweb", "synthseg_labels"])
def test_head_has_all_its_parts(source):
    if not (DATA / source).is_dir():
        pytest.skip("the label maps are not here")
    head = read_head(next(iter(head_paths(DATA / source).values())))
    litres = {tissue: float((head.tissues == tissue).sum()) * head.spacing**3 / 1e6 for tissue in Tissue}
    assert 0.35 < litres[Tissue.WHITE_MATTER] < 0.8
    assert 0.4 < litres[Tissue.CORTEX] < 1.2
    assert 0.02 < litres[Tissue.SULCUS] < 0.4
    assert 0.0005 < litres[Tissue.FALX] < 0.03
    assert not head.tissues[[0, -1]].any()
    top = np.flatnonzero((head.tissues == Tissue.CORTEX).any((1, 2)))[-1]
    stem = np.flatnonzero(np.isin(head.tissues, (Tissue.WHITE_MATTER, Tissue.SULCUS)).any((1, 2)))[0]
    assert stem < top  # the array's first axis points up: the stem is below the vertex


def test_unknown_label_map_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither a BrainWeb"):
        read_head(tmp_path / "other.nii.gz")
    with pytest.raises(ValueError, match="no anatomies; put BrainWeb"):
        head_paths(tmp_path)
