"""The demo: a surgeon's click on the simulated case, in the stand-in for 3D Slicer, with pictures and files of it.

    python Testing/demo.py --output demo

Opens the module's panel, loads the case that the module registers with Sample Data, clicks "Synthesize MRI", waits for
the nodes, and writes ``application.png`` (panel and views), ``views.png``, the nodes as files and ``report.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing")]

import SlicerHost  # noqa: E402  the paths come first

TIMEOUT_SECONDS = 480.0
WINDOW = (1800, 1000)


class DemoError(RuntimeError):
    """The demo did not come to its end; says why."""


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Print one line with the seconds that a stage took."""
    started = time.perf_counter()
    yield
    print(f"{time.perf_counter() - started:7.1f} s  {name}", flush=True)


def run(output: Path) -> str:
    """Run the demo and return the panel's summary of the result.

    :raises DemoError: the module did not produce its result.
    """
    output.mkdir(parents=True, exist_ok=True)
    with stage("start the stand-in for 3D Slicer and open the module"):
        SlicerHost.start([ROOT / "IoUSynth" / "IoUSynth.py"])
        panel = SlicerHost.open_module("IoUSynth", main_window=True)
        SlicerHost.show_application(WINDOW)  # as large as it will be when the views are laid out
    try:
        with stage("load the simulated case from Sample Data"):
            load_case(panel)
        with stage("click Synthesize MRI and wait for the nodes"):
            synthesize(panel)
        with stage("write pictures"):
            SlicerHost.photograph_application(output / "application.png", size=WINDOW)
            SlicerHost.photograph_views(output / "views.png", size=(1600, 1000))
        with stage("write nodes and report"):
            save(panel, output)
        return panel.ui.qualityLabel.text
    finally:
        SlicerHost.unload_module("IoUSynth")


def load_case(panel: Any) -> None:
    """Load the case as the button of Sample Data does, and see that the panel selects it."""
    import slicer

    sources = getattr(slicer.modules, "sampleDataSources", {}).get("IoUSynth", [])
    if not sources:
        raise DemoError("the module registered no sample data; are the files of Resources/SampleData there?")
    nodes = sources[0].customDownloader(sources[0])
    panel.initializeParameterNode()
    if panel.ui.inputSelector.currentNode() not in nodes.values():
        raise DemoError("the panel did not select the ultrasound of the case")


def synthesize(panel: Any) -> None:
    """Click the button and wait."""
    panel.ui.applyButton.click()
    if not SlicerHost.process_until(lambda: panel.state.name == "IDLE", TIMEOUT_SECONDS):
        raise DemoError(f"no result within {TIMEOUT_SECONDS:.0f} s")
    if panel.logic.getParameterNode().t2wVolume is None:
        raise DemoError(panel.ui.messageLabel.text)
    errors = SlicerHost.take_uncaught_errors()
    if errors:
        raise DemoError(f"the panel raised {errors}")


def save(panel: Any, output: Path) -> None:
    """Write the output nodes and the report of the run."""
    import slicer

    parameters = panel.logic.getParameterNode()
    files = {
        "T2w.nrrd": parameters.t2wVolume,
        "FLAIR.nrrd": parameters.flairVolume,
        "uncertainty.nrrd": parameters.uncertaintyVolume,
        "segmentation.seg.nrrd": parameters.segmentation,
    }
    for name, node in files.items():
        if not slicer.util.saveNode(node, str(output / f"IoUSynthSample_{name}")):
            raise DemoError(f"{output / name} could not be written")
    report = json.loads(parameters.t2wVolume.GetAttribute("IoUSynth.Report"))
    (output / "IoUSynthSample_report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Return 0, or 1 when the demo failed, with one line that says why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for pictures and files")
    output = parser.parse_args().output.resolve()
    started = time.perf_counter()
    try:
        summary = run(output)
    except RuntimeError as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    print(f"{time.perf_counter() - started:7.1f} s  in all: {summary}")
    print(f"Look at {output / 'application.png'}; everything else lies beside it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
