"""The index of a cohort, and the child process without PyTorch that prepares and evaluates."""

import json

import pytest

from IoUSynthLib.cases.index import describe_index, read_index, write_index
from IoUSynthLib.volume import InputError


def test_the_index_knows_the_cases_of_a_split(tmp_path):
    splits = {"a": "train", "b": "test", "c": "train"}
    write_index(tmp_path, [{"name": name, "head": "h", "split": split} for name, split in splits.items()], seed=3)
    assert read_index(tmp_path, "train") == [tmp_path / "a", tmp_path / "c"]
    assert read_index(tmp_path, "validation") == []
    content = json.loads((tmp_path / "dataset.json").read_text())
    assert (content["simulated"], content["seed"]) == (True, 3)


def test_a_folder_that_is_no_cohort_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no dataset\.json; make a cohort with"):
        read_index(tmp_path, "train")


def test_what_is_known_of_a_cohort_names_nobody(tmp_path):
    splits = {"Smith-1": "train", "Smith-2": "train", "Jones-1": "validation"}
    cases = [{"name": name, "head": name[:5], "split": split} for name, split in splits.items()]
    write_index(tmp_path, cases, simulated=False, seed=3, failed={"Brown-1": "has no MRI"})
    about = describe_index(tmp_path)
    assert about == {"simulated": False, "seed": 3, "cases": {"train": 2, "validation": 1}, "heads": 2}
