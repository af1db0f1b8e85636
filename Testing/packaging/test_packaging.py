"""The extension is configured, built and installed by CMake as Slicer would, and works from where it was installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.extension import MODULES, ROOT, archive_extension, install_extension


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripted modules of an installation."""
    if shutil.which("cmake") is None or shutil.which("make") is None:
        pytest.skip("cmake or make is not installed")
    return install_extension(tmp_path_factory.mktemp("packaging"))


def files_below(folder: Path, *parts: str) -> set[str]:
    paths = [path for part in parts for path in (folder / part).rglob("*")]
    return {path.relative_to(folder).as_posix() for path in paths if path.is_file() and "__pycache__" not in path.parts}


def test_everything_arrives_side_by_side(installed: Path) -> None:
    parts = ("IoUSynthLib", *(f"Resources/{name}" for name in ("Icons", "Models", "SampleData", "Terminology", "UI")))
    expected = files_below(ROOT, *parts) | files_below(ROOT / "IoUSynth", "IoUSynthPanel") | {"IoUSynth.py"}
    assert files_below(installed, ".") == expected
    kinds = {Path(name).suffix for name in expected}
    assert {".py", ".ui", ".json", ".md", ".txt", ".onnx", ".nrrd", ".tfm", ".png"} <= kinds
    for name in expected:
        source = ROOT / name if (ROOT / name).exists() else ROOT / "IoUSynth" / name
        assert (installed / name).read_bytes() == source.read_bytes(), name


def test_an_archive_holds_all_of_it(installed: Path, tmp_path: Path) -> None:
    archive = archive_extension(installed, tmp_path)
    names = {name for name in zipfile.ZipFile(archive).namelist() if not name.endswith("/")}
    assert {(MODULES / name).as_posix() for name in files_below(installed, ".")} == names
    assert re.fullmatch(r"IoUSynth-\d+\.\d+\.\d+\.zip", archive.name)


def run(code: str, installed: Path) -> list[str]:
    """Run Python code that has the folder in its path before any other; return the words that it printed last."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(installed)!r})\n{code}"],
        cwd=installed.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1].split()


LIBRARY = """
import IoUSynthLib.pipeline, IoUSynthLib.worker.parent, IoUSynthLib.cli
from IoUSynthLib.models.bundle import list_bundles
bundles = list_bundles()
for bundle in bundles:
    bundle.verify()
print(IoUSynthLib.__path__[0], *(bundle.name for bundle in bundles))
"""


def test_the_library_imports_and_finds_its_models(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IOUSYNTH_MODELS", raising=False)
    folder, *models = run(LIBRARY, installed)
    assert Path(folder) == installed / "IoUSynthLib"
    assert {"ious2mr-2.5d", "ious-mri2mr-2.5d", "lesion-3d"} <= set(models)


MODULE = """
sys.path.append(TESTING)
import SlicerHost
SlicerHost.start([INSTALLED + "/IoUSynth.py"])
panel = SlicerHost.open_module("IoUSynth")
import slicer
from IoUSynthPanel.library import resourcesFolder
import IoUSynthLib
source = slicer.modules.sampleDataSources["IoUSynth"][0]
source.customDownloader(source)
texts = [panel.ui.modelSelector.itemText(index) for index in range(panel.ui.modelSelector.count)]
icon = slicer.util.getModule("IoUSynth").icon
assert icon is not None and not icon.isNull()
assert panel.ui.inputSelector.currentNode().GetName() == "IoUSynth sample ioUS"
errors = SlicerHost.take_uncaught_errors()
assert not errors, errors
SlicerHost.unload_module("IoUSynth")
print(resourcesFolder(), IoUSynthLib.__path__[0], *texts)
"""


def test_the_module_opens_with_its_panel_models_and_sample_case(installed: Path) -> None:
    pytest.importorskip("trame_slicer")
    code = MODULE.replace("INSTALLED", repr(str(installed))).replace("TESTING", repr(str(ROOT / "Testing")))
    resources, library, *models = run(code, installed)
    assert Path(resources) == installed / "Resources"
    assert Path(library) == installed / "IoUSynthLib"
    assert models[0] == "Default"
    assert "ious2mr-2.5d" in models


def test_the_repository_is_as_small_as_the_extensions_index_asks() -> None:
    """At most 100 MB when checked out, and 3 MB of pictures."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    sizes = {name: (ROOT / name).stat().st_size for name in listed.stdout.split("\0") if (ROOT / name).is_file()}
    assert sum(sizes.values()) < 100e6
    assert sum(size for name, size in sizes.items() if name.startswith("Resources/Screenshots/")) < 3e6
