"""What was measured of the models that ship, for their cards: tables, and what their figures mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..evaluation.tables import fidelity_table, overlap_table, trust_table, uncertainty_table
from .agreement import table as agreement_table

#: By the place in the card's template; the first word in braces is the number of cases, the others are tables.
_TEXTS = {
    "generator": {
        "results": """{cases} simulated cases, the whole pipeline; mean and 95 % Student-t interval; intensities in
[0, 1]. The baselines are the ultrasound itself rescaled, the mean intensity of the training cases, and the best
monotone map from ultrasound to MRI. SSIM and LPIPS over whole slices are flattered by the black background that all
methods share; compare methods inside the fan.

{fidelity}

The expected error, the error head's and the slicing directions' disagreement together, against the true one, inside the
fan:

{uncertainty}""",
        "agreement": """There is no ground truth here to score the images with. What can be asked without one is
measured by `python -m IoUSynthLib.experiments agreement`, which says what each column means:

{agreement}""",
    },
    "segmenter": {
        "results": """{cases} simulated cases; mean and 95 % Student-t interval of Dice, with the false volume where
there is no such structure. "overlay" is the segmenter in the whole pipeline; the other rows are segmenters on other
inputs. "phase known": with "Before resection" ticked for the cases of which nothing has been removed.

{overlap}""",
        "trust": """The Dice to be expected of an outline (`expected_dice` in the report) against its true Dice on these
cases, an outline of nothing counting as a Dice of 0; below 0.5 an outline is called doubtful:

{trust}""",
    },
}
#: Tables of the cards, by the kind of model.
_TABLES = {"generator": ("fidelity", "uncertainty", "agreement"), "segmenter": ("overlap", "trust")}


def make_tables(kind: str, evaluation: Mapping[str, Any] | None, agreement: Mapping | None = None) -> dict[str, str]:
    """Tables of a card by their names, without those of which nothing was measured.

    Parameters
    ----------
    kind
        "generator" or "segmenter".
    evaluation
        What :func:`.evaluation.from_pipeline.evaluate_pipeline` returned.
    agreement
        What :func:`.agreement.compare` returned.
    """
    tables = {}
    if evaluation is not None:
        tables |= {
            "fidelity": fidelity_table(evaluation["summary"]),
            "overlap": overlap_table(evaluation["summary"]),
            "trust": trust_table(evaluation["cases"]),
            "uncertainty": uncertainty_table(evaluation["summary"]),
        }
    if agreement is not None:
        tables["agreement"] = agreement_table(agreement)
    return {name: tables[name] for name in _TABLES[kind] if name in tables}


def describe_results(
    kind: str, evaluation: Mapping[str, Any] | None, agreement: Mapping | None = None
) -> dict[str, str]:
    """The tables with what they mean, by the place in the card's template; the parameters are :func:`make_tables`'."""
    values = make_tables(kind, evaluation, agreement)
    values |= {"cases": str(len(evaluation["cases"]))} if evaluation else {}
    wanted = {place: set(re.findall(r"{(\w+)}", text)) for place, text in _TEXTS[kind].items()}
    return {place: text.format(**values) for place, text in _TEXTS[kind].items() if wanted[place] <= set(values)}


def renew_tables(card: str, tables: Mapping[str, str]) -> str:
    """A card with each table in the place of the one with the same headings, and no other word changed.

    Raises
    ------
    ValueError
        A table has no place in the card, or several.
    """
    for name, table in tables.items():
        headings = re.escape(table.partition("\n")[0])
        parts = re.split(rf"^{headings}\n(?:\|.*\n)*", card, flags=re.MULTILINE)
        if len(parts) != 2:
            raise ValueError(f"the card holds {len(parts) - 1} tables with the headings of {name}; leave one there")
        card = f"{parts[0]}{table}\n{parts[1]}"
    return card
