"""Charts as SVG: marks with intervals, bars, heat maps and scatter; text of its own, no script, no network."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

#: Okabe and Ito's colours, which the colour-blind tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_LABELS, _PLOT, _LINE, _MARGIN = 250, 290, 15, 22
#: Pixels that a letter of a label and of a heading take at most, on average.
_LETTER, _BOLD = 6.3, 7.8
#: Pixels of a name in a legend.
_NAME = 190
_FONT = 'font-family="sans-serif" font-size="11"'


@dataclass(frozen=True)
class Mark:
    """A mean with its interval, if it has one, in the colour of its series."""

    series: str
    mean: float
    low: float | None = None
    high: float | None = None


def marks(
    title: str, rows: Mapping[str, Sequence[Mark]], *, bars: bool = False, reference: float | None = None,
    order: Sequence[str] = (),
) -> str:
    """A chart of means: a label on the left, and beside it a mark for each series.

    Parameters
    ----------
    title
        What is drawn, with its unit.
    rows
        Marks by label, from top to bottom.
    bars
        Draw bars from 0, not points.
    reference
        Where a dashed line is drawn.
    order
        Series that have the same colours in all charts, whether they are in this one or not.
    """
    every = [mark for row in rows.values() for mark in row]
    drawn = list(dict.fromkeys(mark.series for mark in every))
    colours = _colours([*order, *(name for name in drawn if name not in order)])
    values = [v for m in every for v in (m.mean, m.low, m.high) if v is not None and np.isfinite(v)]
    ticks = _ticks([*values, *([0.0] if bars else []), *([] if reference is None else [reference])])
    left = max(_LABELS, math.ceil(_LETTER * max(map(len, rows), default=0)) + 12)
    plot = max(_PLOT // 2, _LABELS + _PLOT - left)
    width = left + plot + 30
    scale = _scale(ticks, start=left, length=plot)
    named = {name: colours[name] for name in colours if name in drawn}
    legend, tall = _legend(named, _MARGIN + 14, width=width) if len(colours) > 1 else ("", 0)
    top = down = 2 * _MARGIN + tall
    body = [legend]
    for label, row in rows.items():
        body.append(_text(left - 8, down + _LINE * len(row) / 2 + 4, label, anchor="end"))
        for mark in row:
            body.append(_mark(mark, scale, middle=down + _LINE / 2, colour=colours[mark.series], bars=bars))
            down += _LINE
        down += 5
    axis = [_line(scale(tick), top - 4, scale(tick), down, colour="#ddd") for tick in ticks]
    axis += [_text(scale(tick), down + 13, f"{tick:g}", anchor="middle") for tick in ticks]
    if reference is not None:
        body.append(_line(scale(reference), top - 4, scale(reference), down, colour="#444", dashed=True))
    return _svg(title, [*axis, *body], width=width, height=down + _MARGIN)


def _mark(mark: Mark, scale: Callable[[float], float], *, middle: float, colour: str, bars: bool) -> str:
    x, parts = scale(mark.mean), []
    if bars:
        left, right = sorted((scale(0.0), x))
        parts.append(
            f'<rect x="{left:.1f}" y="{middle - 5:.1f}" width="{right - left:.1f}" height="10" fill="{colour}" '
            'fill-opacity="0.75"/>'
        )
    else:
        parts.append(f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="4" fill="{colour}"/>')
    if mark.low is not None and mark.high is not None:
        parts.append(_line(scale(mark.low), middle, scale(mark.high), middle, colour="#222" if bars else colour))
    return "".join(parts)


def heat_map(title: str, cells: Mapping[tuple[str, str], float], *, digits: int, lower_is_better: bool = False) -> str:
    """A table of rows by columns, the better the darker.

    Parameters
    ----------
    title
        What is drawn, and which way is better.
    cells
        Values by row and column.
    digits
        Decimals.
    lower_is_better
        Which values are dark.
    """
    rows, columns = (list(dict.fromkeys(pair[at] for pair in cells)) for at in (0, 1))
    low, high = min(cells.values()), max(cells.values())
    left, wide, tall, top = 120, 105, 28, 2 * _MARGIN + 6
    body = [_text(left + (n + 0.5) * wide, top - 6, name, anchor="middle") for n, name in enumerate(columns)]
    body += [_text(left - 8, top + (n + 0.6) * tall, name, anchor="end") for n, name in enumerate(rows)]
    for (row, column), value in cells.items():
        x, y = left + columns.index(column) * wide, top + rows.index(row) * tall
        share = (value - low) / (high - low) if high > low else 0.0
        share = 1 - share if lower_is_better else share
        fill = ",".join(str(round(255 + (dark - 255) * share)) for dark in (8, 81, 156))
        body.append(
            f'<rect x="{x}" y="{y}" width="{wide - 2}" height="{tall - 2}" fill="rgb({fill})" stroke="#bbb"/>'
        )
        colour = "#fff" if share > 0.55 else "#111"
        body.append(_text(x + wide / 2, y + 0.6 * tall, f"{value:.{digits}f}", anchor="middle", colour=colour))
    return _svg(title, body, width=left + wide * len(columns) + 10, height=top + tall * len(rows) + 10)


def scatter(
    title: str, points: Mapping[str, tuple[str, float, float]], *, axes: tuple[str, str], diagonal: bool = False
) -> str:
    """Points in a plane, coloured by their series.

    Parameters
    ----------
    title
        What is drawn.
    points
        Series, x and y of each, by name, which is shown where the pointer rests.
    axes
        Names of x and y.
    diagonal
        Whether both axes have the same scale, and a dashed line shows where x and y are equal.
    """
    colours = _colours(list(dict.fromkeys(name for name, *_ in points.values())))
    values = [[point[at] for point in points.values()] for at in (1, 2)]
    across, up = (_ticks([*values[0], *values[1]] if diagonal else own) for own in values)
    width = 70 + _PLOT + 30
    legend, tall = _legend(colours, _MARGIN + 14, width=width)
    top = 2 * _MARGIN + tall
    bottom = top + 230
    x, y = _scale(across, start=70, length=_PLOT), _scale(up, start=bottom, length=-230)
    body = [legend, *(_line(x(tick), top, x(tick), bottom, colour="#ddd") for tick in across)]
    body += [_text(x(tick), bottom + 14, f"{tick:g}", anchor="middle") for tick in across]
    body += [_line(70, y(tick), 70 + _PLOT, y(tick), colour="#ddd") for tick in up]
    body += [_text(64, y(tick) + 4, f"{tick:g}", anchor="end") for tick in up]
    if diagonal:
        body.append(_line(x(across[0]), y(up[0]), x(across[-1]), y(up[-1]), colour="#444", dashed=True))
    for label, (name, first, second) in points.items():
        body.append(
            f'<circle cx="{x(first):.1f}" cy="{y(second):.1f}" r="4.5" fill="{colours[name]}" fill-opacity="0.8">'
            f"<title>{escape(label)}</title></circle>"
        )
    body.append(_text(70 + _PLOT / 2, bottom + 32, axes[0], anchor="middle"))
    upright = _text(0, 0, axes[1], anchor="middle")
    body.append(f'<g transform="translate(14 {(top + bottom) / 2}) rotate(-90)">{upright}</g>')
    return _svg(title, body, width=width, height=bottom + 44)


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers around values, about five."""
    low, high = min(values), max(values)
    rough = (high - low or abs(high) or 1.0) / 4
    power = 10 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [round(float(n * step), 10) for n in np.arange(first, max(last, first + 1) + 1)]


def _scale(ticks: Sequence[float], *, start: float, length: float) -> Callable[[float], float]:
    """From a value to its place in pixels, the first tick at the start."""
    return lambda value: start + (value - ticks[0]) / (ticks[-1] - ticks[0]) * length


def _colours(series: Sequence[str]) -> dict[str, str]:
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(series)}


def _legend(series: Mapping[str, str], top: float, *, width: float) -> tuple[str, float]:
    """A square and a name for each series, as many in a line as there is room for, and the height of all lines.

    ``series`` are colours by name.
    """
    parts, count = [], max(1, int(width / _NAME))
    for number, (name, colour) in enumerate(series.items()):
        x, y = 12 + _NAME * (number % count), top + _LINE * (number // count)
        parts.append(f'<rect x="{x}" y="{y}" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 15, y + 9, name))
    return "".join(parts), _LINE * math.ceil(len(series) / count)


def _text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, *, colour: str, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dash}/>'


def _svg(title: str, body: Sequence[str], *, width: float, height: float) -> str:
    """All of a chart, its title in as many lines as it takes."""
    first, *others = textwrap.wrap(title, int((width - 20) / _BOLD))
    further = _LINE * len(others)
    spans = "".join(f'<tspan x="12" dy="{_LINE}">{escape(line)}</tspan>' for line in others)
    heading = f'<text x="12" y="16" font-weight="bold" font-size="13">{escape(first)}{spans}</text>'
    drawn = "".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" {_FONT} '
        f'viewBox="0 0 {width:.0f} {height + further:.0f}" width="{width:.0f}">{heading}'
        + (f'<g transform="translate(0 {further})">{drawn}</g>' if further else drawn) + "</svg>"
    )
