"""A report on several experiments: tables as CSV, LaTeX and Markdown, figures as SVG, and all of it on one page."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ..constants import MARK
from ..outputs.drawing import save
from ..outputs.markdown import markdown_table
from .findings import findings, measured, missing
from .from_scores import Results
from .protocol import ORIGINS
from .report_figures import all_figures
from .report_pictures import all_pictures
from .report_tables import LEFT_OUT, Table, all_tables, phases_of

_LATEX = {"\\": r"\textbackslash{}", "<": r"$<$", ">": r"$>$", **{letter: f"\\{letter}" for letter in "&%$#_{}"}}
_COLUMNS = ("experiment", "family", "regime", "contrasts", "phase", "score", "n", "mean", "sd", "low", "high", "median")
#: Sections of figures: heading, and how the names of their figures begin.
_SECTIONS = (
    ("Outlines", ("Dice", "utility")), ("Image quality before and after the resection", ("phases",)),
    ("Image quality by family and regime", ("heat",)), ("Image quality of each experiment", ("forest",)),
    ("Image quality against outlines", ("scatter",)),
    ("Expected and true error", ("calibration",)), ("Groups of patients", ("strata",)),
)  # fmt: skip
#: Headings of pictures, and whether they are seen at once.
_PICTURES = {
    "examples": ("A study of each phase, with the median PSNR of the best experiment", True),
    "contact_sheet": ("Studies one by one, by the best experiment", False),
}
#: What a reader who is no engineer needs to know of the scores.
_GLOSSARY = {
    "Dice": "how far two outlines overlap: 0 not at all, 1 the same; of every structure and phase apart",
    "NSD": "share of the outlines' surfaces that lie within 2 mm of each other, 0 to 1",
    "HD95": "distance in mm that 95 % of the outlines' surfaces stay below",
    "PSNR": "how small the differences in grey value are, in dB: higher is better, 3 dB is half the squared error",
    "SSIM": "likeness in local structure, at most 1; over whole slices the black background flatters it",
    "LPIPS": "difference as a network that was trained on photographs sees it: 0 is the same",
    "MAE": "mean difference in grey value, as a part of the range from black to white",
    "Baselines": "what no network has made: the ultrasound itself, or one grey value for each of its grey values",
    "95 % interval": "of 100 such studies, 95 give one that holds the true mean",
}
_STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:#1b1f24;background:#fff}
body{margin:0 auto;max-width:76rem;padding:1rem 1.5rem 4rem}
h1{font-size:1.7rem;line-height:1.2}h2{margin-top:2.5rem;border-bottom:2px solid #d0d7de}h3{margin:1.6rem 0 .4rem}
.whom{border-left:.4rem solid #0072b2;background:#eef5fb;padding:.6rem 1rem}
.simulated{border-color:#d55e00;background:#fdf1e7}
.whom p{margin:.3rem 0}.whom p:first-child{font-weight:700;font-size:1.1rem}
nav a{margin-right:1rem}.table{overflow:auto;max-height:34rem;border:1px solid #d0d7de}
table{border-collapse:collapse;font-size:.82rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.25rem .6rem;text-align:left;border-bottom:1px solid #e4e8ec;white-space:nowrap}
.words{max-height:none}
.words td{white-space:normal;overflow-wrap:anywhere;vertical-align:top}.words td:first-child{width:35%}
th{position:sticky;top:0;background:#f3f5f7;white-space:normal;vertical-align:bottom}
.note{color:#57606a;font-size:.85rem;margin:.3rem 0}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,34rem),1fr));gap:1rem;align-items:start}
.figures svg{width:100%;height:auto;border:1px solid #e4e8ec}
dt{font-weight:600}dd{margin:0 0 .3rem 1rem}
.picture{overflow:auto;max-height:60rem;width:fit-content;max-width:100%;background:#000}
.picture img{display:block;max-width:100%;height:auto}
summary{cursor:pointer;margin:.8rem 0;font-weight:600}
code{font-size:.9em}@media(max-width:60rem){td{white-space:normal}}
@media print{.table{max-height:none;overflow:visible}table{font-size:.6rem}svg,tr{break-inside:avoid}}
"""


def write_report(results: Results, folder: Path) -> str:
    """Write the report into a folder that is there, and return its sentences.

    ``report.html`` has everything; ``report.md`` the sentences and tables; ``NAME.csv``, ``NAME.tex`` and ``NAME.svg``
    are the tables and figures one by one, ``NAME.png`` the pictures, and ``means.csv`` all means in full precision.
    """
    tables, figures, pictures = all_tables(results), all_figures(results), all_pictures(results)
    for table in tables:
        _write_csv(folder / f"{table.name}.csv", [table.headings, *table.rows])
        (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
    for name, figure in figures.items():
        (folder / f"{name}.svg").write_text(figure, encoding="utf-8")
    for name, picture in pictures.items():
        save(picture, folder / f"{name}.png")
    _write_csv(folder / "means.csv", [_COLUMNS, *_all_means(results)])
    words = "\n".join([*_bullets("Measured", measured(results)), *_bullets("Findings", findings(results, tables)),
                       *_bullets("Missing", missing(results))])  # fmt: skip
    (folder / "report.md").write_text(_markdown(_title(results), words, tables), encoding="utf-8")
    (folder / "report.html").write_text(page(results, tables, figures, pictures=pictures), encoding="utf-8")
    return words


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def _all_means(results: Results) -> list[list[object]]:
    """Rows of ``means.csv``."""
    real = [results.real] if results.real else []
    return [
        [e.name, e.family, e.regime, e.targets, phase, score, *(entry.get(key, "") for key in _COLUMNS[6:])]
        for e in (*real, *results.experiments, *results.baselines)
        for phase in phases_of(e.rows)
        for score, entry in e.summaries[phase].items()
    ]


def _bullets(heading: str, sentences: Sequence[str]) -> list[str]:
    return [f"## {heading}", "", *(f"- {sentence}" for sentence in sentences), ""]


def _title(results: Results) -> str:
    return f"Synthetic MRI from {'ultrasound' if results.source == 'ioUS' else results.source}"


def _markdown(title: str, words: str, tables: Sequence[Table]) -> str:
    parts = [f"# {title}: report", "", words]
    for table in tables:
        parts += [f"## {table.title}", "", markdown_table(table.headings, table.rows), ""]
        parts += [table.note, ""] if table.note else []
    return "\n".join(parts)


def latex(table: Table) -> str:
    """A table for LaTeX, without packages.

    Examples
    --------
    >>> print(latex(Table("a", "Share in %", ["model"], [["x_1"]])))
    % Share in \\%
    \\begin{tabular}{l}
    \\hline
    model \\\\
    \\hline
    x\\_1 \\\\
    \\hline
    \\end{tabular}
    <BLANKLINE>
    """
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in (table.headings, *table.rows)]
    columns = "l" * len(table.headings)
    return "\n".join([
        f"% {_escaped(table.title)}", rf"\begin{{tabular}}{{{columns}}}", r"\hline", lines[0], r"\hline", *lines[1:],
        r"\hline", r"\end{tabular}", "",
    ])  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


# The page -------------------------------------------------------------------------------------------------------------


def page(
    results: Results, tables: Sequence[Table], figures: Mapping[str, str], *, pictures: Mapping[str, np.ndarray]
) -> str:
    """All of the report as HTML that needs no other file."""
    title = f"{_title(results)}: report on {ORIGINS[results.simulated]}"
    body = [
        f"<h1>{title}</h1>",
        f'<section class="whom{" simulated" * bool(results.simulated)}">{_paragraphs(measured(results))}</section>',
        f'<p class="note">{MARK}. Research use only, never for clinical decisions.</p>',
        '<nav><a href="#findings">Findings</a><a href="#figures">Figures</a><a href="#tables">Tables</a>'
        '<a href="#missing">What is missing</a></nav>',
        *(_table(table) for table in tables if table.name == LEFT_OUT),
        '<h2 id="findings">What the figures allow to say</h2>', _list(findings(results, tables)), _glossary(),
        '<h2 id="figures">Figures</h2>', *_shown(pictures), *_figures(figures),
        '<h2 id="tables">Tables</h2>', *(_table(table) for table in tables if table.name != LEFT_OUT),
        '<h2 id="missing">What is missing</h2>', _list(missing(results)),
        '<p class="note">Protocol: Esteban-Sinovas et al., A Systematic Benchmark of Intraoperative Ultrasound-to-MR '
        "Synthesis, arXiv 2606.00630. Intervals of means: Student's t, of three studies or more.</p>",
    ]  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{title}</title><style>{_STYLE}</style></head>\n<body>'
        + "\n".join(body) + "</body></html>\n"
    )  # fmt: skip


def _paragraphs(sentences: Sequence[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{_with_code(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else "<p>Nothing.</p>"


def _with_code(sentence: str) -> str:
    """Text in which what stands between back-quotes is to be typed."""
    parts = escape(sentence).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _glossary() -> str:
    items = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in _GLOSSARY.items())
    return f"<details><summary>How to read the scores</summary><dl>{items}</dl></details>"


def _shown(pictures: Mapping[str, np.ndarray]) -> list[str]:
    """Pictures in the page itself."""
    parts = []
    for name, picture in pictures.items():
        heading, opened = _PICTURES[name]
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG", optimize=True)
        data = base64.b64encode(file.getvalue()).decode("ascii")
        image = f'<div class="picture"><img alt="{heading}" src="data:image/png;base64,{data}"></div>'
        parts.append(f"<details{' open' * opened}><summary>{heading}</summary>{image}</details>")
    return parts


def _figures(figures: Mapping[str, str]) -> list[str]:
    parts, several = [], any(name.startswith("heat") for name in figures)
    for heading, kinds in _SECTIONS:
        own = [figure for name, figure in figures.items() if name.startswith(kinds)]
        if own:
            closed = kinds[0] in ("scatter", "strata", "calibration") or (kinds[0] == "forest" and several)
            opened = "" if closed else " open"
            drawn = f'<div class="figures">{"".join(own)}</div>'
            parts.append(f"<details{opened}><summary>{heading}</summary>{drawn}</details>")
    return parts


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.headings)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    words = " words" * (table.name == LEFT_OUT)
    return (
        f'<h3 id="{table.name}">{escape(table.title)}</h3>{note}<div class="table{words}" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
