"""Photographs of the panel in each state, light and dark, and of the layout, with the real models.

    python Testing/screenshots.py --output Resources/Screenshots

Runs the real panel in the stand-in for 3D Slicer, as the demo does. To photograph another state, write a function that
brings the panel there and add it to :data:`STATES`; the functions run one after the other, in one scene.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import demo  # puts the paths of the module and its library in place
import SlicerHost
from PIL import Image
from support.tiny_models import SHARED

WIDTH = 1020
RESECT = SHARED / "data" / "resect" / "Case4-US-before.nii.gz"
EMPTY = "ioUS without contact"

# --- The states -------------------------------------------------------------------------------------------------------


def idle(panel: Any) -> None:
    """The sample case is loaded; nothing has been clicked."""
    demo.load_case(panel)


def not_ready(panel: Any) -> None:
    """The check before surgery, with a device that this machine does not have."""
    panel.parameters.device = "cuda"
    check(panel)


def ready(panel: Any) -> None:
    """The check before surgery, all green."""
    panel.parameters.device = "auto"
    check(panel)
    panel.preflightSection.widget.collapsed = False


def check(panel: Any) -> None:
    """Unfold the section Before surgery, and let it come to the end of its check."""
    panel.preflightSection.widget.collapsed = False
    panel.preflightSection.ui.checkButton.click()
    wait_until_idle(panel)


def running(panel: Any) -> None:
    """In the middle of a run."""
    panel.preflightSection.widget.collapsed = True
    panel.ui.applyButton.click()
    wait_for(lambda: panel.ui.progressBar.value >= 35, "the run did not start")


def cancelled(panel: Any) -> None:
    """The run has been cancelled."""
    panel.ui.applyButton.click()
    wait_until_idle(panel)


def failed(panel: Any) -> None:
    """A volume without any image, and the log unfolded."""
    import numpy as np
    import slicer

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", EMPTY)
    slicer.util.updateVolumeFromArray(empty, np.zeros((40, 60, 60), np.uint8))
    panel.parameters.inputVolume = empty
    panel.ui.applyButton.click()
    wait_until_idle(panel)
    panel.ui.logCollapsibleButton.collapsed = False


def done(panel: Any) -> None:
    """The result of the sample case."""
    import slicer

    panel.ui.logCollapsibleButton.collapsed = True
    slicer.mrmlScene.RemoveNode(slicer.util.getNode(EMPTY))
    panel.parameters.inputVolume = slicer.util.getNode("IoUSynth sample ioUS")
    demo.synthesize(panel)


def uncertain(panel: Any) -> None:
    """Where the model expects to be wrong, laid over the images of the sample case."""
    panel.ui.uncertaintyCheckBox.click()


def registered(panel: Any) -> None:
    """The preoperative MRI registered and faded in."""
    panel.ui.uncertaintyCheckBox.click()
    panel.ui.registerButton.click()
    wait_until_idle(panel)
    panel.ui.fadeSlider.value = 40


def resect(panel: Any) -> None:
    """Real ultrasound where it is at hand: RESECT case 4 (Xiao et al., Medical Physics 2017, CC BY 4.0)."""
    import slicer

    slicer.mrmlScene.Clear(False)
    panel.parameters.inputVolume = slicer.util.loadVolume(str(RESECT))
    demo.synthesize(panel)


#: Name of the picture and what brings the panel there. Those in ``WITH_VIEWS`` are photographed with the views, too.
STATES: dict[str, Callable[[Any], None]] = {
    "idle": idle,
    "not-ready": not_ready,
    "ready": ready,
    "running": running,
    "cancelled": cancelled,
    "failed": failed,
    "done": done,
    "uncertain": uncertain,
    "registered": registered,
    "resect": resect,
}
WITH_VIEWS = {"done": "application", "uncertain": "uncertainty", "registered": "registration", "resect": "resect"}


def wait_for(condition: Callable[[], bool], problem: str) -> None:
    """Let the panel work until a condition holds."""
    if not SlicerHost.process_until(condition, demo.TIMEOUT_SECONDS):
        raise demo.DemoError(problem)


def wait_until_idle(panel: Any) -> None:
    """Let the panel come to the end of its run."""
    wait_for(lambda: panel.state.name == "IDLE", "the run did not end")


# --- The pictures -----------------------------------------------------------------------------------------------------


def photograph(name: str, folder: Path) -> None:
    """Write the panel in the light and in the dark theme, and where it belongs the whole window."""
    for theme, suffix in (("dark", "-dark"), ("light", "")):
        SlicerHost.set_theme(theme)
        shrink_panel(SlicerHost.photograph_panel(folder / f"panel-{name}{suffix}.png", "IoUSynth"))
    if name in WITH_VIEWS:
        shrink_window(SlicerHost.photograph_application(folder / f"{WITH_VIEWS[name]}.png", size=demo.WINDOW))


def shrink_panel(path: Path) -> None:
    """Make a picture of the panel small enough for the repository: 256 colours."""
    with Image.open(path) as photograph:
        picture = photograph.convert("RGB").quantize(256, kmeans=5)
    picture.save(path, optimize=True)


def shrink_window(path: Path) -> None:
    """Make a picture of the window small enough for the repository: no wider than ``WIDTH``, and JPEG for its views."""
    with Image.open(path) as photograph:
        picture = photograph.convert("RGB")
    picture.thumbnail((WIDTH, picture.height), Image.Resampling.LANCZOS)
    picture.save(path.with_suffix(".jpg"), quality=85, subsampling=0, optimize=True)
    path.unlink()


def run(folder: Path) -> None:
    """Bring the panel through all states and photograph each."""
    folder.mkdir(parents=True, exist_ok=True)
    SlicerHost.start([demo.ROOT / "IoUSynth" / "IoUSynth.py"])
    panel = SlicerHost.open_module("IoUSynth", main_window=True)
    SlicerHost.show_application(demo.WINDOW)  # as large as it will be when the views are laid out
    try:
        for name, arrange in STATES.items():
            if name == "resect" and not RESECT.is_file():
                continue
            with demo.stage(name):
                arrange(panel)
                photograph(name, folder)
        errors = SlicerHost.take_uncaught_errors()
        if errors:
            raise demo.DemoError(f"the panel raised {errors}")
    finally:
        SlicerHost.unload_module("IoUSynth")


def main() -> int:
    """Return 0, or 1 when a picture could not be taken, with one line that says why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=demo.ROOT / "Resources" / "Screenshots", help="folder for them")
    try:
        run(parser.parse_args().output.resolve())
    except (RuntimeError, OSError) as error:
        print(f"The pictures could not be taken: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
