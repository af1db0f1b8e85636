"""Checksums, and files that are whole or not there."""

from __future__ import annotations

import hashlib

import pytest

from IoUSynthLib.files.integrity import file_sha256, replace_file


def test_checksum_of_a_file_and_of_several(tmp_path):
    first, second = b"a" * (3 << 20), b"b"
    (tmp_path / "1").write_bytes(first)
    (tmp_path / "2").write_bytes(second)
    assert file_sha256(tmp_path / "1") == hashlib.sha256(first).hexdigest()
    assert file_sha256(tmp_path / "1", tmp_path / "2") == hashlib.sha256(first + second).hexdigest()
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "absent")


def test_a_file_is_replaced_when_the_new_one_is_complete(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with replace_file(path) as partial:
        assert partial.suffix == ".csv"
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_on_failure_the_old_file_stays_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def stopped() -> None:
        with replace_file(path) as partial:
            partial.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_way_there_is_named_when_it_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"), replace_file(tmp_path / "absent" / "a.csv") as partial:
        partial.write_text("x")
