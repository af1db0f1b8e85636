"""The extension, installed and packaged by CMake as Slicer's build does it, without a build of Slicer.

Slicer's own CMake files come only with a build of Slicer. In their place stand the few macros below. They do what
Slicer's ``slicerMacroBuildScriptedModule`` does with CTK's ``ctkMacroCompilePythonScript``: refuse a file that is not
there, copy each file at build time below the build tree's folder of scripted modules by its path relative to the
calling directory, and install that folder alone, so that a path that leaves it is built but not installed.

``python -m support.extension FOLDER`` writes an archive of what is installed, with the folders that Slicer has.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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


def install_extension(folder: Path) -> Path:
    """Configure, build and install the extension below a folder, and return its folder of scripted modules."""
    files = {
        "SlicerConfig.cmake": SLICER_CONFIG,
        "UseSlicer.cmake": USE_SLICER,
        "GenerateConfig.cmake": "",
        "CPack.cmake": "",
    }
    (folder / "slicer").mkdir(parents=True)
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


def archive_extension(installed: Path, folder: Path) -> Path:
    """Write an archive of what :func:`install_extension` has returned into a folder, named after its version."""
    from IoUSynthLib import __version__

    folder.mkdir(parents=True, exist_ok=True)
    root = installed.parents[len(MODULES.parts) - 1]
    return Path(shutil.make_archive(str(folder / f"IoUSynth-{__version__}"), "zip", root))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="iousynth-") as temporary:
        print(archive_extension(install_extension(Path(temporary)), Path(sys.argv[1])))
