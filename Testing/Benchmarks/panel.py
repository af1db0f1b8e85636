"""How long the panel leaves a click unanswered while it runs: the gaps between the turns of a timer of 10 ms.

    python Testing/Benchmarks/panel.py [VOLUME]

Clicks "Synthesize MRI" on the volume, by default the sample case, in the stand-in for Slicer, and prints for each stage
the longest gap and how many gaps were longer than 100 ms. What the stand-in draws is not among them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing")]

import SlicerHost  # noqa: E402  the paths come first

LIMIT_SECONDS = 0.1


class Pulse:
    """Notes the gaps between the turns of a timer, by the stage that the panel shows."""

    def __init__(self, panel: object) -> None:
        import qt

        self.panel, self.gaps = panel, defaultdict(list)
        self.stage, self.last = "choosing the input", time.perf_counter()
        self.timer = qt.QTimer()
        self.timer.setInterval(10)
        self.timer.connect("timeout()", self.beat)
        self.timer.start()

    def beat(self) -> None:
        now = time.perf_counter()
        self.gaps[self.stage].append(now - self.last)
        self.last = now
        if self.panel.state.name != "IDLE":
            self.stage = self.panel.ui.statusLabel.text.split(",")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volume", type=Path, nargs="?", default=ROOT / "Resources/SampleData/IoUSynthSample_ious.nrrd")
    path = parser.parse_args().volume
    SlicerHost.start()
    import slicer

    SlicerHost.load_module(ROOT / "IoUSynth" / "IoUSynth.py")
    panel = SlicerHost.open_module("IoUSynth")
    node = slicer.util.loadVolume(str(path), {"name": "ioUS"})
    panel.ui.inputSelector.setCurrentNode(None)
    SlicerHost.process_until(lambda: False, 1.0)
    pulse = Pulse(panel)
    panel.ui.inputSelector.setCurrentNode(node)
    SlicerHost.process_until(lambda: False, 1.0)
    print(panel.ui.inputVerdictLabel.text)
    pulse.stage = "the click"
    panel.ui.applyButton.click()
    SlicerHost.process_until(lambda: panel.state.name == "IDLE", 900)
    pulse.stage = "after the result"
    SlicerHost.process_until(lambda: False, 1.0)
    print(panel.ui.qualityLabel.text)
    for stage, gaps in pulse.gaps.items():
        late = [gap for gap in gaps if gap > LIMIT_SECONDS]
        print(f"{stage:40} {len(gaps):5} turns, longest gap {1000 * max(gaps):5.0f} ms, {len(late)} over 100 ms")
    SlicerHost.unload_module("IoUSynth")


if __name__ == "__main__":
    main()
