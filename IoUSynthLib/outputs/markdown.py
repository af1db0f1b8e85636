"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table, its lines joined by line feeds, without one at the end.

    >>> print(markdown_table(["family", "PSNR"], [["pix2pix", 21.5]]))
    | family | PSNR |
    |---|---|
    | pix2pix | 21.5 |
    """
    lines = [_line(headings), "|---" * len(headings) + "|", *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
