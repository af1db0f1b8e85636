"""Module ``qt`` behaves like PythonQt, not like PySide6."""

import pytest


@pytest.fixture
def qt(slicer_host):
    import qt

    return qt


def test_qt_properties_are_attributes(qt):
    button = qt.QPushButton("Go")
    assert (button.text, button.enabled, button.checked) == ("Go", True, False)
    button.text, button.enabled = "Stop", False
    assert (button.text, button.isEnabled()) == ("Stop", False)
    button.name = "applyButton"
    assert button.objectName == "applyButton"


@pytest.mark.parametrize(("name", "value"), [("enabled", None), ("enabled", "yes"), ("text", 3), ("text", None)])
def test_a_property_refuses_values_of_another_type(qt, name, value):
    with pytest.raises(TypeError, match="does not accept"):
        setattr(qt.QPushButton(), name, value)


def test_unknown_attributes_and_methods_cannot_be_set(qt):
    button = qt.QPushButton()
    for name in ("txet", "setText", "onClicked"):
        with pytest.raises(AttributeError):
            setattr(button, name, 1)
    with pytest.raises(AttributeError):
        _ = button.txet
    with pytest.raises(AttributeError, match="read-only"):
        qt.QTimer().active = True


def test_a_property_is_not_a_method(qt):
    with pytest.raises(TypeError):
        qt.QPushButton("Go").text()


def test_a_getter_that_is_virtual_can_be_read(qt):
    bar = qt.QProgressBar()
    bar.setRange(0, 10)
    bar.value = 5
    assert bar.text == "50%"


def test_signals_are_named_by_their_signature(qt):
    button, heard = qt.QPushButton(), []
    button.checkable = True
    button.connect("clicked(bool)", heard.append)
    button.connect("clicked()", lambda: heard.append("clicked"))

    def without_arguments():
        heard.append("short")

    button.connect("clicked(bool)", without_arguments)
    button.click()
    assert heard == [True, "clicked", "short"]
    assert button.disconnect("clicked(bool)", heard.append)
    assert not button.disconnect("clicked(bool)", heard.append)
    with pytest.raises(ValueError, match="no signal"):
        button.connect("clicked(int)", print)


def test_a_widget_is_of_its_very_class_only(qt):
    import ctk
    import slicer

    class Own(qt.QLabel):
        pass

    label, own = qt.QLabel("x"), Own("y")
    assert isinstance(label, qt.QLabel)
    assert isinstance(own, qt.QLabel)
    assert isinstance(own, Own)
    assert not isinstance(label, Own)
    for widget in (label, own, ctk.ctkPathLineEdit(), slicer.qMRMLNodeComboBox(), slicer.qMRMLWidget()):
        assert not isinstance(widget, qt.QWidget)
        assert widget.isWidgetType()
    assert label.className() == "QLabel"


def test_children_are_found_as_pythonqt_finds_them(qt):
    import slicer

    top = qt.QWidget()
    inner = qt.QWidget(top)
    inner.name = "inner"
    label, selector = qt.QLabel("x", inner), slicer.qMRMLNodeComboBox(inner)
    label.name = "label"
    assert top.findChildren(qt.QLabel) == top.findChildren("QLabel") == [label]
    assert top.findChildren(slicer.qMRMLNodeComboBox) == [selector]
    assert top.findChildren(qt.QPushButton) == []
    assert top.findChildren(qt.QLabel, "label") == [], "not below what has another name"
    assert top.findChild(qt.QLabel, "label") is label
    assert top.findChild(qt.QPushButton) is None
    with pytest.raises(TypeError):
        top.findChildren()


def test_only_what_pythonqt_exposes_can_be_called(qt):
    """Slots, invokables, properties, and what the generated wrappers of Qt 5.15 have."""
    import ctk
    import slicer

    for widget, names in (
        (qt.QFormLayout(), ("setRowVisible", "isRowVisible")),  # Qt 6
        (qt.QWidget(), ("setScreen", "topLevelWidget")),
        (ctk.ctkCollapsibleButton(), ("setCollapsed", "setScreen")),
        (ctk.ctkSliderWidget(), ("setRange", "setMinimum", "setSuffix")),
        (ctk.ctkPathLineEdit(), ("setFilters", "setSettingKey")),
        (ctk.ctkComboBox(), ("setDefaultText",)),
        (slicer.qMRMLNodeComboBox(), ("setBaseName", "setNodeTypes", "nodes")),
        (slicer.qMRMLWidget(), ("scene",)),
    ):
        assert [name for name in names if hasattr(widget, name)] == []
    with pytest.raises(TypeError):
        ctk.ctkCollapsibleButton("Section")  # its constructor with a text is not wrapped


def test_a_rebuilt_class_cannot_have_more_than_the_real_one(qt):
    import ctk

    from SlicerHost.mrml_widgets import MRML_WIDGETS

    rebuilt = [cls for name, cls in vars(ctk).items() if name.startswith("ctk")] + list(MRML_WIDGETS)
    assert [cls.__name__ for cls in rebuilt if "EXPOSED" not in vars(cls)] == []
    with pytest.raises(TypeError, match="setOther"):
        type(qt.QWidget)("ctkOther", (qt.QWidget,), {"EXPOSED": ("browse",), "browse": print, "setOther": lambda _: 0})


def test_timers(qt, slicer_host):
    ticks = []
    timer = qt.QTimer()
    timer.setInterval(2)
    timer.connect("timeout()", lambda: ticks.append("timer"))
    timer.start()
    qt.QTimer.singleShot(1, lambda: ticks.append("once"))
    assert slicer_host.process_until(lambda: ticks.count("timer") >= 3 and "once" in ticks, 5)
    timer.stop()
    assert not timer.active


def test_what_a_slot_raises_is_kept(qt, slicer_host):
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert [type(error) for error in slicer_host.take_uncaught_errors()] == [ZeroDivisionError]


def test_settings_are_nobody_elses(qt, slicer_host):
    import slicer

    qt.QSettings().setValue("IoUSynth/Test", "3")
    assert slicer.util.settingsValue("IoUSynth/Test", 0, converter=int) == 3
    assert qt.QSettings().fileName().startswith(slicer.app.temporaryPath)
