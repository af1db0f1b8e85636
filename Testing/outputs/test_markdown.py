"""Tables in Markdown."""

from IoUSynthLib.outputs.markdown import markdown_table


def test_a_line_for_headings_rule_and_every_row():
    table = markdown_table(["family", "n"], (["a", 1], ["b", "-"]))
    assert table.splitlines() == ["| family | n |", "|---|---|", "| a | 1 |", "| b | - |"]
