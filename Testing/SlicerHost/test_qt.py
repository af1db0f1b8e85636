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


def test_every_widget_is_a_widget(qt):
    top = qt.QWidget()
    layout = qt.QVBoxLayout(top)
    label = qt.QLabel("x")
    layout.addWidget(label)
    assert isinstance(label, qt.QWidget)
    assert not isinstance(label, qt.QPushButton)
    assert top.findChildren(qt.QWidget) == [label]
    assert top.findChild(qt.QPushButton) is None
    assert label.className() == "QLabel"


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
