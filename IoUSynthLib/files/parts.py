"""What has been measured of a patient, part by part, so that a repeated command goes on where the last one stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..volume import InputError
from .integrity import replace_file


class Parts:
    """Finished parts of one patient, in a JSON file.

    Parameters
    ----------
    path
        The file; it need not be there.
    of
        Tells what the parts were measured of: a part of something else is measured anew.

    Raises
    ------
    InputError
        The file is damaged.
    """

    def __init__(self, path: Path, of: str) -> None:
        self.path, self.of = path, of
        try:
            self._parts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            self._kept = {name: part["found"] for name, part in self._parts.items() if part["of"] == of}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: is damaged ({error!r}); remove it and repeat the command") from error

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """What was found of a part, measured now where it has not been.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        if name not in self._kept:
            found = make()
            self._parts[name] = {"of": self.of, "found": found}
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with replace_file(self.path) as partial:
                    partial.write_text(json.dumps(self._parts, indent=1) + "\n", encoding="utf-8")
            except OSError as error:
                raise InputError(f"{self.path}: cannot be written ({error.strerror}); choose another folder") from error
            self._kept[name] = found
        return self._kept[name]
