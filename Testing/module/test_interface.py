"""What every part of the panel owes its users: it can be translated, worked from the keyboard, read aloud, and seen."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "IoUSynth").rglob("*.py"))
UI_FILES = sorted((ROOT / "Resources" / "UI").glob("*.ui"))

# --- Translation ------------------------------------------------------------------------------------------------------

TRANSLATORS = {"_", "translate"}
#: What is assigned to these is shown to the user, and so is what is passed to a function of one of these names.
SHOWN_PROPERTIES = {"accessibleName", "acknowledgementText", "format", "helpText", "noneDisplay", "placeholderText",
                    "plainText", "suffix", "text", "title", "toolTip", "windowTitle"}  # fmt: skip
SHOWN_ARGUMENTS = {"addButton", "addItem", "addItems", "addRow", "addTab", "appendPlainText", "appendToLog",
                   "confirmOkCancelDisplay", "confirmYesNoDisplay", "errorDisplay", "infoDisplay", "messageTextBox",
                   "setAvailable", "setHorizontalHeaderLabels", "setText", "setToolTip", "setWindowTitle",
                   "showStatusMessage", "tryWithErrorDisplay", "warningDisplay", "fail", "log", "showMessage",
                   "showQuality", "_showChange", "_showMessage", "_showReadiness", "_showTable"}  # fmt: skip
#: Names, which are the same in every language.
NAMES = {"IoUSynth contributors"}


def called_name(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def literals(node: ast.AST) -> list[ast.Constant]:
    """Texts with letters in them, but those that go through a translator."""
    if isinstance(node, ast.Call) and called_name(node) in TRANSLATORS:
        return []
    if isinstance(node, ast.Call) and called_name(node) in ("get", "getattr", "join"):
        return []
    if isinstance(node, ast.Compare | ast.Subscript):
        return []
    if isinstance(node, ast.Constant):
        return [node] if isinstance(node.value, str) and any(map(str.isalpha, node.value)) else []
    return [found for child in ast.iter_child_nodes(node) for found in literals(child)]


def is_markup(text: str) -> bool:
    return text.lstrip().startswith(("<", "&", ">", '"')) or text.strip() in ("br", "b")


def shown_texts(tree: ast.Module) -> list[ast.Constant]:
    """Texts that reach a widget as they stand in the source."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets = {target.attr for target in node.targets if isinstance(target, ast.Attribute)}
            if targets & SHOWN_PROPERTIES:
                found += literals(node.value)
        elif isinstance(node, ast.Call) and called_name(node) in SHOWN_ARGUMENTS:
            found += [text for argument in node.args for text in literals(argument)]
    return found


def sentences(tree: ast.Module) -> list[ast.Constant]:
    """Texts that read like sentences, wherever they are, but for docstrings, the log file and the self-test."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if (isinstance(node, ast.Call) and called_name(node) in {"error", "exception", "info", "warning", "debug"}) or (
            isinstance(node, ast.ClassDef) and node.name.endswith("Test")
        ):
            skipped |= {id(child) for child in ast.walk(node)}
    texts = [node for node in literals(tree) if id(node) not in skipped]
    return [node for node in texts if node.value[:1].isupper() and " " in node.value.strip()]


def choices(tree: ast.Module) -> set[int]:
    """Values of the parameter node, which a saved scene must find again in any language."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and called_name(node) == "Choice"]
    annotated = [node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and node.value is not None]
    return {id(child) for node in (*calls, *(n.value for n in annotated)) for child in ast.walk(node)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_text_of_the_module_can_be_translated(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kept = choices(tree)
    bare = [node for node in (*shown_texts(tree), *sentences(tree)) if id(node) not in kept]
    bare = [f"{path.name}:{node.lineno}: {node.value!r}" for node in bare
            if node.value not in NAMES and not is_markup(node.value)]  # fmt: skip
    assert bare == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_translators_get_whole_literal_texts(path):
    """The tool that collects the texts reads the source; it cannot see into variables and f-strings."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    for call in calls:
        if called_name(call) in TRANSLATORS:
            constant = all(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in call.args)
            assert constant, f"{path.name}:{call.lineno}"


def test_the_check_finds_what_it_looks_for():
    for source in ('b.text = "Start"', 'b.toolTip = f"{n} left"', 'p.log("Done")', 'x = {"a": "Two words."}'):
        tree = ast.parse(source)
        assert shown_texts(tree) or sentences(tree), source
    for source in ('b.text = _("Start")', 'p.log(_("{n} left").format(n=3))', 'logging.error("Two words.")'):
        tree = ast.parse(source)
        assert not shown_texts(tree), source
        assert not sentences(tree), source


# --- The files of the panel -------------------------------------------------------------------------------------------

#: Widgets that are not worked with: they hold others, or only show something.
PASSIVE = {"QFrame", "QGroupBox", "QLabel", "QProgressBar", "QScrollArea", "QStackedWidget", "QTabWidget", "QWidget",
           "ctkCollapsibleButton", "ctkCollapsibleGroupBox", "qMRMLWidget"}  # fmt: skip
TEXTS = {"accessibleName", "defaultText", "noneDisplay", "placeholderText", "text", "title", "toolTip"}
SAYS_ITS_TEXT = {"QCheckBox", "QPushButton", "QRadioButton", "QToolButton", "ctkCheckBox"}


def widgets(path: Path) -> list[ElementTree.Element]:
    return list(ElementTree.parse(path).getroot().iter("widget"))


def text_of(widget: ElementTree.Element, name: str) -> str:
    for entry in widget.findall("property"):
        if entry.get("name") == name:
            return "".join(entry.itertext()).strip()
    return ""


@pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.name)
def test_every_widget_has_a_name_for_screen_readers_and_a_tooltip(path):
    buddies = {text_of(label, "buddy") for label in widgets(path) if label.get("class") == "QLabel"}
    for widget in widgets(path):
        kind, name = widget.get("class"), widget.get("name")
        if kind in PASSIVE:
            continue
        spoken = text_of(widget, "accessibleName") or (kind in SAYS_ITS_TEXT and text_of(widget, "text"))
        assert spoken or name in buddies, f"{path.name}: {name} has no accessibleName and no label for a buddy"
        assert text_of(widget, "toolTip"), f"{path.name}: {name} has no tooltip"


@pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.name)
def test_every_text_of_a_ui_file_can_be_translated_and_no_colour_is_fixed(path):
    for widget in widgets(path):
        for entry in widget.findall("property"):
            name = entry.get("name")
            assert name not in ("styleSheet", "palette"), f"{path.name}: {widget.get('name')} sets its own {name}"
            string = entry.find("string")
            if name in TEXTS and string is not None and string.text:
                assert string.get("notr") != "true", f"{path.name}: {widget.get('name')}.{name}"
            assert "color" not in "".join(entry.itertext()), f"{path.name}: {widget.get('name')}.{name}"


# --- The panel itself -------------------------------------------------------------------------------------------------


def test_the_tab_key_goes_down_the_panel(panel):
    """The order of the keyboard is that of the eye; nothing that can be clicked is left out."""
    import ctk
    import slicer
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtWidgets import QWidget

    for section in panel.parent.findChildren(ctk.ctkCollapsibleButton):
        section.collapsed = False
    panel.parent.show()
    panel.parent.resize(420, 1400)
    slicer.app.processEvents()
    order, widget = [], panel.parent.nextInFocusChain()
    while widget is not panel.parent and len(order) < 2000:
        order.append(widget)
        widget = widget.nextInFocusChain()
    tab = Qt.FocusPolicy.TabFocus
    reached = [w for w in order if QWidget.focusPolicy(w) & tab == tab and QWidget.isVisibleTo(w, panel.parent)]
    assert len(reached) > 20
    first = reached.index(min(reached, key=lambda w: w.mapTo(panel.parent, QPoint(0, 0)).y()))
    reached = reached[first:] + reached[:first]  # the chain is a ring
    tops = [w.mapTo(panel.parent, QPoint(0, 0)).y() for w in reached]
    names = [f"{QWidget.parentWidget(w).property('objectName')} {w.property('objectName')}" for w in reached]
    for above, below, *pair in zip(tops, tops[1:], names, names[1:], strict=False):
        assert below > above - 12, f"the tab key goes up from {pair[0]} to {pair[1]}"
    panel.parent.hide()


def test_the_tab_key_follows_the_layouts_where_a_section_was_put_in_later(panel):
    import qt
    from IoUSynthPanel.widgets import orderFocus

    top = qt.QWidget()
    column = qt.QVBoxLayout(top)
    buttons = [qt.QPushButton(str(number), top) for number in range(4)]
    row = qt.QHBoxLayout()
    for button in (buttons[2], buttons[0]):
        row.addWidget(button)
    column.addWidget(buttons[1])
    column.addWidget(qt.QLabel("between"))
    column.addLayout(row)
    column.insertWidget(0, buttons[3])
    orderFocus(top)
    order, widget = [], buttons[3]
    while len(order) < 4:
        order += [widget] if widget in buttons else []
        widget = widget.nextInFocusChain()
    assert [button.text for button in order] == ["3", "1", "2", "0"]


def luminance(color: str) -> float:
    """Relative luminance of #rrggbb, as the Web Content Accessibility Guidelines define it."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("background", ["#ffffff", "#efefef", "#353535", "#2d2d2d", "#000000"])
def test_marks_stand_out_on_light_and_dark_panels(panel, background):
    """3 to 1, what the guidelines ask of what is not text; the words take the panel's own colour."""
    from IoUSynthPanel.registration import VERDICT_COLORS

    for color in VERDICT_COLORS.values():
        lighter, darker = sorted((luminance(color), luminance(background)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 3.0, color


# --- The library ------------------------------------------------------------------------------------------------------


def test_every_module_that_is_imported_by_name_exists():
    """The panel imports the library when it needs it, by names that no checker reads."""
    calls = [node for source in SOURCES for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
             if isinstance(node, ast.Call) and called_name(node) == "importLibrary"]  # fmt: skip
    names = {node.args[0].value for node in calls if isinstance(node.args[0], ast.Constant)}
    assert names
    for name in names:
        assert (ROOT / "IoUSynthLib" / f"{name.replace('.', '/')}.py").is_file(), name


# --- The sections -----------------------------------------------------------------------------------------------------


def promised():
    """What sections may ask of the panel."""
    from IoUSynthPanel.section import Panel

    return {*Panel.__annotations__, *(name for name in vars(Panel) if not name.startswith("_"))}


def test_sections_ask_of_the_panel_what_it_promises(panel):
    """Neither its private names, nor one section another."""
    used = {}
    for source in (ROOT / "IoUSynth" / "IoUSynthPanel").glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            asked = getattr(node, "value", None)
            name = getattr(asked, "attr", getattr(asked, "id", ""))
            if isinstance(node, ast.Attribute) and name == "panel":
                used.setdefault(node.attr, source.name)
    assert set(used) - promised() == set(), used
    assert promised() - set(used) == set(), "what nobody asks"


def test_the_panel_keeps_what_it_promises(panel):
    assert [name for name in promised() if not hasattr(panel, name)] == []
