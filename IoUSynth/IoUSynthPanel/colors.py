"""Colours of what the panel says, readable on light and on dark panels; the words beside them say the same."""

GREEN = "#2e9e5b"
AMBER = "#d9822b"
RED = "#d64545"


def coloured(text: str, color: str) -> str:
    """Return rich text, bold and in a colour."""
    return f'<b style="color:{color}">{text}</b>'
