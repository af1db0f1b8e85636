"""No patient and no head is in two splits."""

from IoUSynthLib.cases.splits import SPLITS, split_heads, split_patients


def test_the_same_seed_splits_alike_and_a_patient_is_never_split():
    names = [f"ReMIND-{number:03d}" for number in range(76)]
    splits = split_patients(names, 42)
    assert splits == split_patients(names[::-1], 42)
    assert splits != split_patients(names, 43)
    assert [list(splits.values()).count(split) for split in SPLITS] == [52, 9, 15]
    assert sorted(split_patients(["a", "b"]).values()) == ["train", "validation"]
    assert split_patients(["a"]) == {"a": "train"}


def test_heads_for_testing_are_never_trained_on():
    names = [f"subject{n}" for n in range(16)] + [f"training_seg_{n:02d}" for n in range(16)] + ["icbm152"]
    splits = split_heads(names)
    assert sorted(splits) == sorted(names)
    assert sum(split == "test" for split in splits.values()) == 6
    assert sum(split == "validation" for split in splits.values()) == 2
    assert splits["icbm152"] == "train"
