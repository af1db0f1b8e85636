"""The extension is configured, built and installed by CMake as Slicer would, and works from where it was installed.

Slicer's own CMake files come only with a build of Slicer. In their place stand the few macros below. They do what
Slicer's ``slicerMacroBuildScriptedModule`` does with CTK's ``ctkMacroCompilePythonScript``: refuse a file that is not
there, copy each file at build time below the build tree's folder of scripted modules by its path relative to the
calling directory, and install that folder alone, so that a path that leaves it is built but not installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = Path("lib", "Slicer-5.10", "qt-scripted-modules")

SLICER_CONFIG = """
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/CPack.cmake)
"""

USE_SLICER = """
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(module "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(module_UNPARSED_ARGUMENTS OR module_WITH_SUBDIR OR NOT module_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: arguments that this stand-in does not know: ${ARGN}")
  endif()
  set(modules ${CMAKE_BINARY_DIR}/MODULES)
  set(copies)
  foreach(path IN LISTS module_SCRIPTS module_RESOURCES)
    if(IS_ABSOLUTE ${path} OR NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${path})
      message(FATAL_ERROR "slicerMacroBuildScriptedModule: no file ${path} in ${CMAKE_CURRENT_SOURCE_DIR}")
    endif()
    add_custom_command(
      OUTPUT ${modules}/${path}
      COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_CURRENT_SOURCE_DIR}/${path} ${modules}/${path}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${path})
    list(APPEND copies ${modules}/${path})
  endforeach()
  add_custom_target(Copy${module_NAME} ALL DEPENDS ${copies})
  install(DIRECTORY ${modules}/ DESTINATION MODULES)
endfunction()

function(slicer_add_python_unittest)
endfunction()
""".replace("MODULES", MODULES.as_posix())


def cmake(*arguments: str | Path) -> None:
    """Run CMake; fail with what it said."""
    done = subprocess.run(["cmake", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripted modules of an installation."""
    if shutil.which("cmake") is None or shutil.which("make") is None:
        pytest.skip("cmake or make is not installed")
    folder = tmp_path_factory.mktemp("packaging")
    files = {
        "SlicerConfig.cmake": SLICER_CONFIG,
        "UseSlicer.cmake": USE_SLICER,
        "GenerateConfig.cmake": "",
        "CPack.cmake": "",
    }
    (folder / "slicer").mkdir()
    for name, text in files.items():
        (folder / "slicer" / name).write_text(text)
    # Nothing is compiled, so that any program may stand for the compilers that CMake looks for by itself.
    compilers = [f"-DCMAKE_{language}_COMPILER{option}" for language in ("C", "CXX")
                 for option in (f"={shutil.which('true')}", "_FORCED=ON")]  # fmt: skip
    configure = ["-G", "Unix Makefiles", f"-DSlicer_DIR={folder / 'slicer'}", "-DBUILD_TESTING=ON", *compilers]
    cmake("-S", ROOT, "-B", folder / "build", *configure)
    cmake("--build", folder / "build")
    cmake("--install", folder / "build", "--prefix", folder / "installed")
    return folder / "installed" / MODULES


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
    assert {"ious2mr-2.5d", "lesion-3d"} <= set(models)


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
