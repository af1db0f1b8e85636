"""Open a scripted module in a window, with files in the scene or, without any, with the module's sample data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import SlicerHost

from . import version

DEFAULT_MODULE = Path(__file__).resolve().parents[2] / "IoUSynth" / "IoUSynth.py"


def main(arguments: list[str] | None = None) -> int:
    """Run until the window is closed; 2 where there is no display or something is missing."""
    parser = argparse.ArgumentParser(prog="python -m SlicerHost", description=__doc__)
    parser.add_argument("files", type=Path, nargs="*", help="volumes, transforms or a scene to load")
    parser.add_argument("--module", type=Path, default=DEFAULT_MODULE, help="file of the scripted module")
    parser.add_argument("--slicer", choices=version.VERSIONS, help=f"what to stand for; or {version.VARIABLE}")
    options = parser.parse_args(arguments)
    SlicerHost.stand_for(options.slicer)
    for path in (options.module, *options.files):
        if not path.exists():
            print(f"error: {path} does not exist", file=sys.stderr)
            return 2
    try:
        app = SlicerHost.start()
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if app.platformName == "offscreen":
        print("error: there is no display (DISPLAY is not set); use photograph_application instead", file=sys.stderr)
        return 2
    _run(app, options)
    return 0


def _run(app: object, options: argparse.Namespace) -> None:
    import slicer

    app.enable_dialogs()
    SlicerHost.load_module(options.module)
    for path in options.files:
        slicer.util.loadNodeFromFile(path, None, {})
    if not options.files:
        _load_sample_data()
    SlicerHost.open_module(options.module.stem, main_window=True)
    slicer.util.mainWindow().show()
    app.exec_()
    SlicerHost.unload_module(options.module.stem)


def _load_sample_data() -> None:
    """Load what the module registered with Sample Data; the stand-in has no panel to choose it from."""
    import SampleData

    logic = SampleData.SampleDataLogic()
    for sources in logic.sampleDataSourcesByCategory().values():
        for source in sources:
            (source.customDownloader or logic.downloadFromSource)(source)


if __name__ == "__main__":
    sys.exit(main())
