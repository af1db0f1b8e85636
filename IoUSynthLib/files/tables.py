"""Tables as spreadsheets save and read them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..volume import InputError


def read_csv(path: Path, required: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a CSV with names in its first line, separated by commas, semicolons or tabs.

    Returns
    -------
    list of dict
        The cells of each row by column, without blanks around them.

    Raises
    ------
    InputError
        It cannot be read, has no row, or lacks a column that is required.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"{path}: cannot be read ({reason}); give a table saved as CSV (UTF-8)") from error
    separator = max(",;\t", key=(lines[0] if lines else "").count)
    rows = list(csv.DictReader(lines, delimiter=separator))
    missing = [name for name in required if not rows or name not in rows[0]]
    if missing or not rows:
        columns = f" with {', '.join(required)}" if required else ""
        raise InputError(f"{path}: has no row, or no column {missing[0] if missing else ''}; give a CSV{columns}")
    return [{name: (text or "").strip() for name, text in row.items() if name is not None} for row in rows]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of the same columns, at least one, as CSV, into a folder that is made where it is missing.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error
