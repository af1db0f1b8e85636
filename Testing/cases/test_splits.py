"""No patient and no head is in two splits."""

import json

import numpy as np
import pytest
from support.tiny_models import SHARED

from IoUSynthLib.cases.splits import SPLITS, published_split, read_split, split_heads, split_patients
from IoUSynthLib.volume import InputError


def test_the_same_seed_splits_alike_and_a_patient_is_never_split():
    names = [f"ReMIND-{number:03d}" for number in range(76)]
    splits = split_patients(names, 42)
    assert splits == split_patients(names[::-1], 42)
    assert splits != split_patients(names, 43)
    assert [list(splits.values()).count(split) for split in SPLITS] == [52, 9, 15]
    assert sorted(split_patients(["a", "b"]).values()) == ["train", "validation"]
    assert split_patients(["a"]) == {"a": "train"}


def test_shares_of_a_split_are_as_wished_and_leave_some_for_training():
    names = [f"P{number}" for number in range(40)]
    found = list(split_patients(names, 0, (0.25, 0.1)).values())
    assert [found.count(split) for split in SPLITS] == [27, 3, 10]
    assert sorted(split_patients("abc", 0, (0.9, 0.9)).values()) == ["test", "train", "validation"]


def test_heads_for_testing_are_never_trained_on():
    names = [f"subject{n}" for n in range(16)] + [f"training_seg_{n:02d}" for n in range(16)] + ["icbm152"]
    splits = split_heads(names)
    assert sorted(splits) == sorted(names)
    assert sum(split == "test" for split in splits.values()) == 6
    assert sum(split == "validation" for split in splits.values()) == 2
    assert splits["icbm152"] == "train"


def test_the_published_rule_gives_the_published_split():
    file = SHARED / "oracles" / "results" / "subject_split.json"
    if not file.exists():
        pytest.skip("the benchmark's split is not here")
    published = json.loads(file.read_text())
    ours = published_split([*published["train_subjects"], *published["test_subjects"]])
    assert sorted(name for name, split in ours.items() if split == "test") == published["test_subjects"]
    assert [list(ours.values()).count(split) for split in SPLITS] == [52, 9, 16]
    assert read_split(file) == (ours, [])


def test_the_published_rule_step_by_step():
    """Five names: the shuffle of RandomState(42) is 1, 4, 2, 0, 3, of which the last is for testing; of the other four,
    default_rng(42) puts the last of 0, 1, 2, 4 first."""
    names = ["a", "b", "c", "d", "e"]
    assert published_split(names[::-1]) == published_split(names)
    assert [name for name, split in published_split(names).items() if split == "test"] == ["d"]
    order = np.array(["a", "b", "c", "e"])
    np.random.default_rng(42).shuffle(order)
    assert [name for name, split in published_split(names).items() if split == "validation"] == [order[0]]
    assert published_split(["a"]) == {"a": "test"}


def test_a_file_says_who_is_in_which_split_and_who_is_in_two(tmp_path):
    (tmp_path / "split.csv").write_text("patient,split\nA,train\nB,test\nC,validation\nB,train\nA,train\n")
    assert read_split(tmp_path / "split.csv") == ({"A": "train", "C": "validation"}, ["B"])
    content = {"train_subjects": ["A", "B", "D"], "test_subjects": ["B", "C"], "seed": 42}
    (tmp_path / "split.json").write_text(json.dumps(content))
    splits, several = read_split(tmp_path / "split.json")
    assert (sorted(splits), splits["C"], several) == (["A", "C", "D"], "test", ["B"])
    assert sorted(splits[name] for name in "AD") == ["train", "validation"]


@pytest.mark.parametrize(("name", "text", "message"), [
    ("split.csv", "patient,split\nA,training\n", r"split\.csv: line 2: training is no split; write train, valid"),
    ("split.csv", "patient\nA\n", r"split\.csv: has no row, or no column split; give a CSV with patient, split"),
    ("split.json", "{", r"split\.json: cannot be read \(.*\); give JSON with train_subjects"),
    ("split.json", '{"train": ["A"]}', r"split\.json: names no patients; give JSON with train_subjects"),
])  # fmt: skip
def test_a_file_that_says_no_split_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_split(tmp_path / name)
