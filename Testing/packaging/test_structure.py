"""What holds for all code of the library and the panel: no import cycles, and no long rows of unnamed arguments."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*(ROOT / "IoUSynthLib").rglob("*.py"), *(ROOT / "IoUSynth").rglob("*.py")])
#: Most arguments that a caller may give by their places.
MOST_PLACES = 4


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported(name: str) -> set[str]:
    """The library's modules that a module imports, inside functions too; what only type checkers import is left out."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in executed(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & set(MODULES) - {name}


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below one, but for the branches of ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from executed(child)


def test_no_import_leads_back() -> None:
    graph = graphlib.TopologicalSorter({name: imported(name) for name in MODULES})
    try:
        graph.prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


def test_the_graph_of_imports_sees_relative_and_lazy_ones() -> None:
    assert "IoUSynthLib.synthesis.grid" in imported("IoUSynthLib.pipeline")
    assert "IoUSynthLib.outputs.picture" in imported("IoUSynthLib.outputs.case_files")
    assert "IoUSynthLib.pipeline" not in imported("IoUSynthLib.outputs.picture")  # for its types only


def by_place(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def test_more_than_four_arguments_are_named() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}({', '.join(by_place(node))})"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and len(by_place(node)) > MOST_PLACES
    ]
    assert not long, "\n".join(long)
