"""A scripted module is loaded, opened, clicked, and closed as in Slicer."""

import shutil
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "Example" / "HostExample.py"


@pytest.fixture
def module(slicer_host):
    module = slicer_host.load_module(EXAMPLE)
    yield module
    slicer_host.unload_module("HostExample")


@pytest.fixture
def widget(module, slicer_host):
    return slicer_host.open_module("HostExample")


def add_volume(name="volume"):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


def test_the_module_is_found_where_slicer_has_it(module, widget):
    import slicer

    assert slicer.modules.hostexample is slicer.util.getModule("HostExample") is module
    assert slicer.modules.HostExampleWidget is slicer.util.getModuleWidget("HostExample") is widget
    assert slicer.util.getModuleLogic("HostExample") is widget.logic
    assert slicer.modules.HostExampleInstance.startups == 0, "it was loaded after start-up"
    assert slicer.util.modulePath("HostExample") == str(EXAMPLE)
    assert module.title == "Host example"
    with pytest.raises(AttributeError):
        module.tittle = "x"


def test_the_gui_follows_the_parameter_node(widget):
    node, ui = widget.parameterNode, widget.ui
    assert (ui.thresholdSlider.value, ui.thresholdSlider.maximum) == (100, 200)
    assert (ui.countSpinBox.value, ui.invertCheckBox.checked, ui.labelEdit.text) == (3, True, "none")
    assert (ui.modeSelector.currentText, ui.folderEdit.currentPath) == ("Exact", "somewhere")
    node.threshold, node.count, node.invert, node.label = 12.5, 7, False, "new"
    assert (ui.thresholdSlider.value, ui.countSpinBox.value) == (12.5, 7)
    assert (ui.invertCheckBox.checked, ui.labelEdit.text) == (False, "new")


def test_the_parameter_node_follows_the_gui(widget):
    node, ui = widget.parameterNode, widget.ui
    volume = add_volume()
    ui.inputSelector.setCurrentNode(volume)
    ui.modeSelector.currentIndex = 0
    ui.folderEdit.currentPath = "elsewhere"
    ui.invertCheckBox.click()
    assert node.inputVolume is volume
    assert (node.mode.name, node.folder, node.invert) == ("FAST", Path("elsewhere"), False)
    assert ui.applyButton.enabled
    assert ui.applyButton.toolTip == "Compute"


def test_click_and_timer(widget, slicer_host):
    widget.ui.applyButton.click()
    assert widget.clicks == []
    widget.parameterNode.inputVolume = add_volume()
    widget.ui.applyButton.click()
    assert widget.clicks == [False]
    assert slicer_host.process_until(lambda: widget.ticks == 3, 5)
    assert widget.ui.progressBar.value == 3


def test_closing_the_scene(widget, slicer_host):
    widget.parameterNode.inputVolume = add_volume()
    widget.parameterNode.count = 8
    slicer_host.reset_scene()
    assert widget.parameterNode.inputVolume is None
    assert widget.parameterNode.count == 3
    assert not widget.ui.applyButton.enabled


def test_unloading_cleans_up(slicer_host):
    import slicer

    slicer_host.load_module(EXAMPLE)
    widget = slicer_host.open_module("HostExample")
    slicer_host.unload_module("HostExample")
    assert widget.cleaned
    assert not hasattr(slicer.modules, "hostexample")
    slicer_host.reset_scene()


def test_main_window(module, slicer_host, tmp_path):
    import qt
    import slicer

    widget = slicer_host.open_module("HostExample", main_window=True)
    assert widget.entered == 1
    assert slicer.util.selectedModule() == "HostExample"
    panel = qt.QImage(str(slicer_host.photograph_panel(tmp_path / "panel.png", "HostExample")))
    lowest = widget.ui.applyButton.mapTo(widget.parent, qt.QPoint(0, 0)).y()
    assert lowest < panel.height() < 600  # all of it, without the empty space below
    assert slicer_host.photograph_application(tmp_path / "application.png").stat().st_size > 10_000
    slicer.util.mainWindow().close()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name="collapsed"', 'name="colapsed"', "no property colapsed"),
        ("mrmlSceneChanged(", "mrmlSceneModified(", "no signal"),
        ("<slot>setMRMLScene(", "<slot>setScene(", "no slot"),
        ("ctkPathLineEdit", "ctkPathEdit", "ctkPathEdit"),
    ],
)
def test_mistakes_in_a_ui_file_raise(slicer_host, tmp_path, old, new, message):
    import slicer

    text = (EXAMPLE.parent / "Resources/UI/HostExample.ui").read_text()
    (tmp_path / "wrong.ui").write_text(text.replace(old, new))
    with pytest.raises(RuntimeError, match=message):
        slicer.util.loadUI(str(tmp_path / "wrong.ui"))


def test_a_parameter_name_that_does_not_exist_raises(widget):
    widget.ui.countSpinBox.setProperty("SlicerParameterName", "cuont")
    with pytest.raises(ValueError, match="cuont"):
        widget.parameterNode.connectGui(widget.ui)


def test_a_module_without_panel_has_a_logic(slicer_host):
    import slicer

    assert slicer.modules.segmentations.logic().IsA("vtkSlicerSegmentationsModuleLogic")
    assert slicer.util.getModuleLogic("Volumes").IsA("vtkSlicerVolumesLogic")


def test_a_module_that_fails_to_import_raises(slicer_host, tmp_path):
    shutil.copy(EXAMPLE, tmp_path / "Broken.py")
    with pytest.raises(AttributeError):
        slicer_host.load_module(tmp_path / "Broken.py")
