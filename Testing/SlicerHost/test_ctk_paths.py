"""The line for a path accepts, tells and remembers what CTK's does."""

import pytest


@pytest.fixture
def line(slicer_host):
    import ctk

    line = ctk.ctkPathLineEdit()
    line._told = []
    line.connect("currentPathChanged(QString)", lambda path: line._told.append(path))
    line.connect("validInputChanged(bool)", lambda valid: line._told.append(valid))
    return line


def test_an_emptied_line_is_told_by_its_validity_alone(line):
    line.currentPath = "/somewhere"
    line.currentPath = "/somewhere/else"
    line.currentPath = ""
    assert line._told == ["/somewhere", True, "/somewhere/else", False]
    assert line.currentPath == ""


def test_other_extensions_are_not_acceptable(line):
    line.nameFilters = ["Images (*.nrrd *.mha)"]
    line.currentPath = "/volume.txt"
    assert line._told == []
    line.currentPath = "/volume.mha"
    assert line._told == ["/volume.mha", True]


def test_only_what_is_added_is_remembered(line):
    import ctk

    line.settingKey = "Test/Folder"
    for path in ("/first", "/second", "/first"):
        line.currentPath = path
        line.addCurrentPathToHistory()
    line.currentPath = "/third"
    again = ctk.ctkPathLineEdit()
    again.settingKey = "Test/Folder"
    assert again.currentPath == "/first"
    assert [again.comboBox().itemText(index) for index in range(again.comboBox().count)] == ["/first", "/second"]


def test_a_button_for_folders_begins_with_the_working_directory(slicer_host, tmp_path):
    import ctk

    button, told = ctk.ctkDirectoryButton(), []
    button.connect("directoryChanged(QString)", told.append)
    assert button.directory == "."
    button.directory = str(tmp_path)
    button.directory = str(tmp_path)
    assert told == [str(tmp_path)] == [button.directory]
