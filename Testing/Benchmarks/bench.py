"""Speed and memory of everything, as one page: `make bench`. Ratios come first, since seconds are those of a machine.

    python Testing/Benchmarks/bench.py [--parts PART...] [--again] [--tiny] [--output FOLDER]

Each part runs in a process of its own and leaves its figures in ``build/bench``; one that is there is not measured
again, so that a bench that was stopped goes on. Then ``benchmarks.md`` and ``benchmarks.json`` are written.
Times are the shortest of several, by the clock on the wall, so that nothing else should run. Beside ratios stands what
is wanted of them, and whether it is met.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing"), str(Path(__file__).parent)]

from inference import fan  # noqa: E402  the paths come first

from IoUSynthLib import read_volume, synthesize, write_volume  # noqa: E402
from IoUSynthLib.inference import Session, open_session, predict  # noqa: E402
from IoUSynthLib.models.bundle import DEFAULT_GENERATOR, load  # noqa: E402
from IoUSynthLib.parallel import usable_cores  # noqa: E402
from IoUSynthLib.volume import Volume  # noqa: E402

KEPT = ROOT / "build" / "bench"
SAMPLE = ROOT / "Resources" / "SampleData" / "IoUSynthSample_ious.nrrd"
REAL = ROOT.parent / "shared" / "data" / "resect" / "Case4-US-before.nii.gz"
Figures = dict[str, Any]


def shortest(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest of several times, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def fan_volume(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of noise in [-1, 1] with -1 outside a fan, and the fan."""
    valid = fan(side)
    image = np.where(valid, np.random.default_rng(0).uniform(-1, 1, valid.shape), -1.0).astype(np.float32)
    return image, valid


def cube(side: int) -> Volume:
    """Return a cube of 0.5 mm with ultrasound in a fan."""
    image, valid = fan_volume(side)
    return Volume(np.where(valid, 128 + 100 * image, 0).astype(np.float32), (0.5,) * 3)


@contextmanager
def case(tiny: bool) -> Iterator[tuple[str, Path]]:
    """Give name and file of a real case where it is at hand, else of the simulated one; of a small cube if ``tiny``."""
    if not tiny:
        yield ("RESECT case 4", REAL) if REAL.is_file() else ("sample case", SAMPLE)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_volume(Path(folder) / "cube.nrrd", cube(48))
        yield "a small cube", Path(folder) / "cube.nrrd"


@contextmanager
def recorded() -> Iterator[list[tuple[Session, np.ndarray]]]:
    """Note which networks are run on which windows."""
    calls: list[tuple[Session, np.ndarray]] = []
    run = Session.run

    def noting(session: Session, batch: np.ndarray) -> np.ndarray:
        calls.append((session, batch.copy()))
        return run(session, batch)

    Session.run = noting
    try:
        yield calls
    finally:
        Session.run = run


# Parts ----------------------------------------------------------------------------------------------------------------


def end_to_end(tiny: bool) -> Figures:
    """The whole pipeline, warm, against its networks alone on the same windows."""
    with case(tiny) as (name, path):
        volumes = {name: read_volume(path)}
    volumes |= {f"a cube of {side}": cube(side) for side in ((32,) if tiny else (160,))}
    figures: Figures = {}
    for name, volume in volumes.items():
        with recorded() as calls:
            synthesize(volume, device="cpu")
        networks = shortest(lambda calls=calls: [session.run(batch) for session, batch in calls], 1 if tiny else 3)
        whole = shortest(lambda volume=volume: synthesize(volume, device="cpu"), 1 if tiny else 3)
        figures[name] = {"ratio": whole / networks, "end to end, s": whole, "networks, s": networks,
                         "windows": sum(len(batch) for _session, batch in calls)}  # fmt: skip
    return figures


def sliding_window(tiny: bool) -> Figures:
    """Our sliding window against MONAI's: the same network, slices, window and overlap."""
    import torch
    from monai.inferers import sliding_window_inference
    from support.torchscript import shipped_network

    side, window = (48, 32) if tiny else (128, 96)
    bundle = replace(load(DEFAULT_GENERATOR), window=(window, window), slice_axes=(0,), overlap=0.25)
    details = dict(bundle.details, blending="gaussian")
    bundle = replace(bundle, details=details)
    session, network = open_session(bundle, "cpu"), shipped_network(bundle)
    image = fan_volume(side)[0]
    image = image[: 16 if tiny else 64]
    padded = np.pad(image, [(1, 1), (0, 0), (0, 0)], mode="edge")
    slices = torch.from_numpy(np.stack([padded[:-2], padded[1:-1], padded[2:]], axis=1))
    everywhere = np.ones(image.shape, bool)
    batch = max(1, 2**17 // window**2)

    def monai(predictor: Callable[[torch.Tensor], torch.Tensor]) -> None:
        with torch.inference_mode():
            sliding_window_inference(slices, (window, window), batch, predictor, overlap=0.25, mode="gaussian")

    class Blending:
        """Costs nothing, so that cutting and blending are left."""

        device = "cpu"

        def run(self, windows: np.ndarray) -> np.ndarray:
            return windows

    ours = shortest(lambda: predict(session, image[None], everywhere, bundle))
    with_torch = shortest(lambda: monai(network))
    with_onnx = shortest(lambda: monai(lambda windows: torch.from_numpy(session.run(windows.numpy()))))
    blending = shortest(lambda: predict(Blending(), image[None], everywhere, bundle))
    its_blending = shortest(lambda: monai(lambda windows: windows))
    return {
        "MONAI with torch eager against ours": {"ratio": with_torch / ours, "ours, s": ours, "MONAI, s": with_torch},
        "MONAI with the same session against ours": {"ratio": with_onnx / ours, "ours, s": ours, "MONAI, s": with_onnx},
        "our blending against MONAI's": {
            "ratio": blending / its_blending, "ours, s": blending, "MONAI, s": its_blending,
        },
    }  # fmt: skip


def starts(tiny: bool) -> Figures:
    """From a shell, and clicks on a worker and on the panel: cold and warm."""
    from support.worker import wait

    from IoUSynthLib.worker.parent import Worker

    figures: Figures = {}
    with case(tiny) as (name, path), tempfile.TemporaryDirectory() as folder:
        volume = read_volume(path)
        command = [sys.executable, "-m", "IoUSynthLib", "synthesize", str(path), "-o", folder, "--device", "cpu"]
        cold = shortest(lambda: subprocess.run(command, check=True, capture_output=True), 1)
        figures[f"shell, cold, {name}"] = {"s": cold}
        figures |= clicks(path)
    worker = Worker()
    for name in ("worker, cold", "worker, warm"):
        started = time.perf_counter()
        worker.submit(volume)
        if wait(worker, seconds=600)[-1].kind != "result":
            raise RuntimeError("the worker has failed")
        figures[name] = {"s": time.perf_counter() - started}
    worker.close()
    return figures


def clicks(path: Path) -> Figures:
    """The first and the second click on the panel in the stand-in for Slicer."""
    import SlicerHost

    SlicerHost.start()
    import slicer

    SlicerHost.load_module(ROOT / "IoUSynth" / "IoUSynth.py")
    panel, figures = SlicerHost.open_module("IoUSynth"), {}
    panel.ui.inputSelector.setCurrentNode(slicer.util.loadVolume(str(path), {"name": "ioUS"}))
    for name in ("panel, first click", "panel, second click"):
        started = time.perf_counter()
        panel.ui.applyButton.click()
        if not SlicerHost.process_until(lambda: panel.state.name == "IDLE", 600):
            raise RuntimeError("the panel has not come to its end")
        figures[name] = {"s": time.perf_counter() - started}
    SlicerHost.unload_module("IoUSynth")
    return figures


def memory(tiny: bool) -> Figures:
    """Largest resident size of a whole run, and of its networks on the same windows."""
    with case(tiny) as (_name, path):
        run = f"from IoUSynthLib import read_volume, synthesize; volume = read_volume({str(path)!r})\n"
        whole = _peak_mib(run + "synthesize(volume, device='cpu')\n")
        with recorded() as calls:
            synthesize(read_volume(path), device="cpu")
    shapes: dict[tuple[str, tuple[int, ...]], None] = {}
    for session, batch in calls:
        shapes[(str(session._path), batch.shape)] = None
    networks = _peak_mib(
        "import numpy as np; from IoUSynthLib.inference import open_session\n"
        "from IoUSynthLib.models.bundle import load\n"
        f"for path, shape in {list(shapes)!r}: open_session(load(path), 'cpu').run(np.zeros(shape, np.float32))\n"
    )
    return {"a run": {"MiB above the networks'": whole - networks, "MiB": whole, "networks, MiB": networks}}


def _peak_mib(code: str) -> float:
    told = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code + told], cwd=ROOT, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) / (2**20 if sys.platform == "darwin" else 2**10)


def scaling(tiny: bool) -> Figures:
    """The generator over fans of several edges and overlaps; cost against the windows that hold ultrasound."""
    shipped = load(DEFAULT_GENERATOR)
    figures: Figures = {}
    counts, seconds = [], []
    for side in (24, 32) if tiny else (64, 96, 128, 192, 256):
        bundle = replace(shipped, window=(64, 64), slice_axes=(0,))
        image, valid = fan_volume(side)
        kept = slice(None) if side < 128 else slice(side // 2 - 32, side // 2 + 32)
        figures[f"edge {side}"], counted = _timed(bundle, image[kept], valid[kept])
        counts.append(counted)
        seconds.append(figures[f"edge {side}"]["s"])
    exponent = float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])
    figures["cost grows with the windows to the power of"] = {"ratio": exponent}
    side = 32 if tiny else 128
    image, valid = (part[:16] for part in fan_volume(side))
    for overlap in (0.0, 0.25, 0.5, 0.75):
        bundle = replace(shipped, window=(64, 64), slice_axes=(0,), overlap=overlap)
        figures[f"overlap {overlap:g}"], _count = _timed(bundle, image, valid)
    return figures


def _timed(bundle: Any, image: np.ndarray, valid: np.ndarray) -> tuple[Figures, int]:
    session = open_session(bundle, "cpu")
    with recorded() as calls:
        predict(session, image[None], valid, bundle)
    count = sum(len(batch) for _session, batch in calls)
    taken = shortest(lambda: predict(session, image[None], valid, bundle), 2)
    return {"s": taken, "windows": count, "ms per window": 1000 * taken / count}, count


def threads(tiny: bool) -> Figures:
    """The same volume on 1, 2, 4 and 8 cores, where there are so many."""
    if not hasattr(os, "sched_setaffinity"):
        return {"threads": {"not measured": "this system cannot confine a process to cores"}}
    cores, figures = sorted(os.sched_getaffinity(0)), {}
    for count in [count for count in (1, 2, 4, 8) if count <= len(cores)]:
        code = (
            f"import os; os.sched_setaffinity(0, {cores[:count]!r})\n"
            "import bench; from dataclasses import replace; from bench import *\n"
            f"image, valid = (part[:{8 if tiny else 48}] for part in fan_volume({32 if tiny else 128}))\n"
            "print(bench._timed(replace(load(DEFAULT_GENERATOR), slice_axes=(0,)), image, valid)[0]['s'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
        )
        figures[f"{count} threads" if count > 1 else "1 thread"] = {"s": float(done.stdout.split()[-1])}
    return figures


def other_work(tiny: bool) -> Figures:
    """Registration, segmentation, reconstruction and simulation."""
    from simulation import seconds as simulated
    from support import phantom, sequences

    from IoUSynthLib.reconstruction import reconstruct
    from IoUSynthLib.registration.workflow import register
    from IoUSynthLib.simulation.cohort import load_head

    images = phantom.head()
    ultrasound, synthetic, mask = phantom.field_of_view(images)
    moving = {name: phantom.displaced(images, phantom.displacement(4, 4))[name] for name in ("T2w", "FLAIR")}
    sweep = sequences.known_sweep()
    segmenting = synthesize(cube(48 if tiny else 160), device="cpu").report["seconds"]["segmenting"]
    figures = {
        "registration, a phantom": {"s": shortest(lambda: register(moving, ultrasound, synthetic, fan=mask), 1)},
        "segmentation, a cube": {"s": segmenting},
        "reconstruction, a small sweep": {"s": shortest(lambda: reconstruct(sweep), 3)},
    }
    return figures | {"simulation, a pair": {"s": simulated(load_head(None), 32 if tiny else 96, "cpu", 1)}}


def imports(tiny: bool) -> Figures:
    """Importing the library, the pipeline and the module, each in a fresh Python; NumPy is there already."""
    host = "import sys; sys.path[:0] = ['Testing', 'IoUSynth']; import SlicerHost; SlicerHost.start()"

    def importing(module: str, before: str) -> float:
        code = f"{before}; import os, time, numpy; began = time.perf_counter()\nimport {module}\n"
        code += "print(time.perf_counter() - began, flush=True); os._exit(0)"
        done = [
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
            for _ in range(1 if tiny else 3)
        ]
        return min(float(one.stdout.split()[-1]) for one in done)

    wanted = {"the library": "IoUSynthLib", "the pipeline": "IoUSynthLib.pipeline", "the shell": "IoUSynthLib.cli"}
    figures = {name: {"s": importing(module, "pass")} for name, module in wanted.items()}
    return figures | {"the module, in the stand-in": {"s": importing("IoUSynth", host)}}


def cuda(tiny: bool) -> Figures:
    """ONNX Runtime on a graphics card: single and half precision, and with its inputs bound to the card."""
    from IoUSynthLib.inference.session import available_providers, load_runtime

    if "CUDAExecutionProvider" not in available_providers():
        return {"CUDA": {"not measured": "this ONNX Runtime has no CUDA"}}
    bundle = load(DEFAULT_GENERATOR)
    session, runtime = open_session(bundle, "auto"), load_runtime()
    if session.device != "cuda":
        return {"CUDA": {"not measured": "no graphics card answers"}}
    batch = np.random.default_rng(0).uniform(-1, 1, (2 if tiny else 28, 3, 192, 192)).astype(np.float32)
    session.run(batch)
    figures = {"fp32": {"s": shortest(lambda: session.run(batch), 10)}}
    inner = session._session
    binding = inner.io_binding()
    binding.bind_ortvalue_input("image", runtime.OrtValue.ortvalue_from_numpy(batch, "cuda", 0))
    binding.bind_output("prediction", "cuda")
    inner.run_with_iobinding(binding)
    figures["fp32, bound to the card"] = {"s": shortest(lambda: inner.run_with_iobinding(binding), 10)}
    import torch
    from support.torchscript import shipped_network

    if torch.cuda.is_available():
        half, image = shipped_network(bundle).cuda().half(), torch.from_numpy(batch).cuda().half()

        def run() -> None:
            with torch.inference_mode():
                half(image)
            torch.cuda.synchronize()

        run()
        figures["fp16, torch"] = {"s": shortest(run, 10)}
    return figures


PARTS: dict[str, Callable[[bool], Figures]] = {
    part.__name__: part
    for part in (end_to_end, sliding_window, starts, memory, scaling, threads, other_work, imports, cuda)
}

# The page -------------------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Return type of processor and number of cores, and what computes; nothing that names a machine."""
    kind = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kind = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), kind)
    from IoUSynthLib.synthesis.report import versions

    return {"processor": kind, "cores": usable_cores(), "system": platform.system(), **versions()}


def page(parts: dict[str, Figures], about: dict[str, Any]) -> str:
    """Return the figures as Markdown, ratios first."""
    told = "; ".join(f"{key} {value}" for key, value in about.items())
    lines = [
        "# Speed and memory", "",
        "Written by `make bench`: the shortest of several times by the clock on the wall, with nothing else running.",
        "Ratios compare what was measured in one run.", "", f"{told}.",
    ]  # fmt: skip
    lines += ["", "| ratio | | wanted | |", "|---|---|---|---|", *(_row(*row) for row in wanted(parts))]
    for part, figures in parts.items():
        lines += ["", f"## {part.replace('_', ' ').capitalize()}", "", f"{PARTS[part].__doc__}", ""]
        columns = list(dict.fromkeys(column for values in figures.values() for column in values))
        lines += [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
        for name, values in figures.items():
            lines.append(f"| {name} | {' | '.join(_told(values.get(column)) for column in columns)} |")
    return "\n".join(lines) + "\n"


#: What is wanted of ratios and differences: at most, or at least, so much.
LIMITS = {
    "end to end against its networks, RESECT case 4": ("at most", 1.25),
    "end to end against its networks, a cube of 160": ("at most", 1.15),
    "MONAI with torch eager against ours": ("at least", 1.5),
    "our blending against MONAI's": ("at most", 0.7),
    "cost grows with the windows to the power of": ("at most", 1.05),  # 1, but for the fit
    "cold from the shell above the networks, s": ("at most", 2.5),
    "memory of a run above the networks', GiB": ("at most", 1.5),
}


def wanted(parts: dict[str, Figures]) -> Iterator[tuple[str, float]]:
    """Give names and values of all ratios, and of the two differences of which something is wanted."""
    for figures in parts.values():
        for name, values in figures.items():
            if "ratio" in values:
                yield f"end to end against its networks, {name}" if "networks, s" in values else name, values["ratio"]
    for name, values in parts.get("end_to_end", {}).items():
        cold = parts.get("starts", {}).get(f"shell, cold, {name}")
        if cold:
            yield "cold from the shell above the networks, s", cold["s"] - values["networks, s"]
    if "memory" in parts:
        yield "memory of a run above the networks', GiB", parts["memory"]["a run"]["MiB above the networks'"] / 2**10


def _row(name: str, value: float) -> str:
    if name not in LIMITS:
        return f"| {name} | {value:.2f} | | |"
    bound, limit = LIMITS[name]
    met = value <= limit if bound == "at most" else value >= limit
    return f"| {name} | {value:.2f} | {bound} {limit:g} | {'met' if met else 'not met'} |"


def _told(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--again", action="store_true", help="measure what was measured already")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the bench itself")
    parser.add_argument("--output", type=Path, default=ROOT / "Resources" / "Documentation")
    parser.add_argument("--kept", type=Path, default=KEPT, help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        figures = PARTS[options.measure](options.tiny)
        part = options.kept / f"{options.measure}.json"
        part.with_suffix(".part").write_text(json.dumps(figures, indent=1) + "\n")
        os.replace(part.with_suffix(".part"), part)  # there as a whole or not at all
        return
    options.kept.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(options.parts, 1):
        file = options.kept / f"{name}.json"
        if file.is_file() and not options.again:
            print(f"{number}/{len(options.parts)} {name}: kept", flush=True)
            continue
        print(f"{number}/{len(options.parts)} {name} ...", end=" ", flush=True)
        started = time.perf_counter()
        command = [sys.executable, __file__, "--measure", name, "--kept", str(options.kept)]
        subprocess.run([*command, *(["--tiny"] if options.tiny else [])], check=True, stdout=subprocess.DEVNULL)
        print(f"{time.perf_counter() - started:.0f} s", flush=True)
    found = [name for name in PARTS if (options.kept / f"{name}.json").is_file()]
    parts = {name: json.loads((options.kept / f"{name}.json").read_text()) for name in found}
    about = machine()
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "benchmarks.json").write_text(json.dumps({"machine": about, "parts": parts}, indent=1) + "\n")
    (options.output / "benchmarks.md").write_text(page(parts, about))
    print(f"wrote {options.output / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
