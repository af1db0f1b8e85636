"""Colours of marks in the panel, seen on light and on dark backgrounds; the words beside them say the same."""

GREEN = "#2b9656"
AMBER = "#c2701c"
RED = "#da5353"


def marked(text: str, color: str) -> str:
    """Return bold rich text behind a coloured mark; the text keeps the panel's own colour, which can be read."""
    return f'<span style="color:{color}">&#9632;</span> <b>{text}</b>'
