"""Module ``slicer.i18n``: the stand-in speaks English only, and refuses what could not be translated."""

from __future__ import annotations

import types


def translate(context: str, text: str) -> str:
    """The text in the application's language."""
    if not isinstance(context, str) or not isinstance(text, str):
        raise TypeError(f"translate takes two texts, not {context!r} and {text!r}")
    return text


def tr(text: str) -> str:
    """The text in the application's language, in the context of the calling file."""
    if not isinstance(text, str):
        raise TypeError(f"Only text can be translated, not {text!r}")
    return text


def make_module() -> types.ModuleType:
    """The module object for ``slicer.i18n``."""
    module = types.ModuleType("slicer.i18n", __doc__)
    module.tr, module.translate = tr, translate
    return module
