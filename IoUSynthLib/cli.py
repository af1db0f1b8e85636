"""The command line: ``python -m IoUSynthLib``, installed as ``iousynth``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import NOTICE, __version__
from .files.paths import case_name, check_path
from .files.volumes import read_volume
from .generators import FAMILIES, REGIMES
from .input_checks import check_input
from .models.bundle import DEFAULT_GENERATOR, SEARCH_VARIABLE, bundle_paths, load, origin, search_folders
from .outputs.batch import SUMMARY, Outcome, count_states, find_inputs, output_folders, synthesize_file, write_summary
from .outputs.case_files import check_acquired, remove_stale, staging_folder
from .progress import StagePrinter
from .volume import InputError, Volume

#: Exit code for bad input.
BAD_INPUT = 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or 2 for bad input, with one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console or file that cannot hold every letter of a name
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        for path in (value for name, value in vars(options).items() if name != "inputs"):
            if isinstance(path, Path):
                check_path(path)
        return options.run(options)
    except InputError as error:
        return _complain(error)
    except KeyboardInterrupt:
        print("interrupted; nothing of the unfinished case was written; the same command goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has had enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _complain(error: InputError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="iousynth", description="Synthetic MRI from intraoperative brain ultrasound.", epilog=NOTICE)
    parser.add_argument("--version", action="version", version=f"iousynth {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_synthesize(commands)
    _add_reconstruct(commands)
    _add_register(commands)
    _add_curious(commands)
    _add_export_dicom(commands)
    _add_models(commands)
    _add_doctor(commands)
    _add_evaluate(commands)
    _add_train(commands)
    _add_simulate(commands)
    _add_prepare(commands)
    return parser


# synthesize -----------------------------------------------------------------------------------------------------------


def _add_synthesize(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "synthesize",
        help="predict T2w and FLAIR, uncertainty, tumour and cavity",
        description="Writes CASE_T2w.nii.gz, CASE_FLAIR.nii.gz, CASE_uncertainty.nii.gz, CASE_segmentation.nii.gz, "
        "CASE_report.json and CASE.png for every input, all on the input's own grid; no FLAIR or uncertainty where the "
        "model does not predict it. Of several inputs, summary.csv says what became of each; one that is bad does not "
        "stop the rest, and those of the same name get a folder each, as they lie in one. The same command goes on "
        "after an interruption: what was made of the same input with the same model is not made again.",
        epilog=NOTICE,
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="ultrasound volume: NRRD, NIfTI, MetaImage or DICOM folder; or a folder of these, of which those named as "
        "ultrasound are taken where there are such",
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--again", action="store_true", help="make what is complete anew, too (default: skip it)")
    parser.add_argument("--model", metavar="NAME|PATH", help=f"generator (default: {DEFAULT_GENERATOR})")
    parser.add_argument("--preoperative", type=Path, metavar="MRI", help="preoperative MRI to show in the picture")
    parser.add_argument(
        "--mri",
        type=Path,
        metavar="FILE",
        help="MRI whose axes and voxel size a model in the patient's frame takes, such as the published ones, in the "
        "coordinates of the inputs (default: that of --preoperative, else LPS and the model's own voxel size)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument(
        "--before-resection",
        action="store_true",
        help="nothing has been removed yet: what looks like a cavity is outlined as tumour, and where no tumour stands "
        "out, its most probable place is, with a warning",
    )
    parser.add_argument("--json", action="store_true", help="print the reports as JSON instead of a line for each case")
    parser.set_defaults(run=_run_synthesize)


def _run_synthesize(options: argparse.Namespace) -> int:
    from .pipeline import load_models
    from .preprocessing import axial

    inputs = find_inputs(options.inputs)
    folders = output_folders(inputs, options.output)
    load_models(options.model)  # a wrong name fails here once, not for each input
    preoperative = _read_checked(options.preoperative) if options.preoperative else None
    mri = _read_checked(options.mri) if options.mri else preoperative
    mr_grid = axial(mri) if mri is not None else None
    reports, outcomes = [], [Outcome(str(path)) for path in inputs]
    for number, (path, folder, outcome) in enumerate(zip(inputs, folders, outcomes, strict=True), 1):
        count = f"{number}/{len(inputs)} " if len(inputs) > 1 else ""
        try:
            reports.append(_synthesize_one(path, folder, options, preoperative, mr_grid, outcome, count))
        except Exception as error:  # whatever is wrong with one input, the others go on
            if len(inputs) == 1 and not isinstance(error, InputError):
                raise
            known = isinstance(error, InputError)
            outcome.fail(error if known else f"{path}: failed ({type(error).__name__}: {error}); report this")
            print(f"error: {outcome.error}", file=sys.stderr)
        if len(inputs) > 1:
            write_summary(options.output / SUMMARY, outcomes)
    if len(inputs) > 1:
        print(f"{count_states(outcomes)}; summary: {options.output / SUMMARY}", file=sys.stderr)
    if options.json:
        print(json.dumps(reports[0] if len(inputs) == 1 and reports else reports, indent=1))
    return BAD_INPUT if any(outcome.state == "failed" for outcome in outcomes) else 0


def _read_checked(path: Path) -> Volume:
    check_acquired(path)
    return check_input(read_volume(path), str(path))


def _synthesize_one(
    path: Path,
    folder: Path,
    options: argparse.Namespace,
    preoperative: Volume | None,
    mr_grid: Volume | None,
    outcome: Outcome,
    count: str,
) -> dict[str, Any]:
    """Make the images of a file, say so, and return its report."""
    case, progress = case_name(path), StagePrinter(count + case_name(path))
    choices = (options.model, options.device, options.again, preoperative, mr_grid)
    with staging_folder(folder) as staging:
        written = synthesize_file(path, folder, staging, *choices, progress, options.before_resection)
    if not written.earlier:
        remove_stale(folder, case, written.files)
        for warning in written.report["warnings"]:
            print(f"{case}: warning: {warning}", file=sys.stderr, flush=True)
    outcome.succeed(written.report, "skipped" if written.earlier else "done")
    if not options.json:
        done = "is complete, --again makes it anew:" if written.earlier else "wrote"
        print(f"{case}: {done} {', '.join(written.files)} in {folder}. {written.report['summary']}", flush=True)
    return written.report


# reconstruct ----------------------------------------------------------------------------------------------------------


def _add_reconstruct(commands: argparse._SubParsersAction) -> None:
    from .reconstruction import command

    parser = commands.add_parser(
        "reconstruct",
        help="make a volume of a tracked 2D sweep",
        description="Writes the volume, and beside it NAME_mask, which is 1 where there is data.",
    )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


# register -------------------------------------------------------------------------------------------------------------


def _add_register(commands: argparse._SubParsersAction) -> None:
    from .registration import command

    parser = commands.add_parser(
        "register",
        help="register a preoperative MRI to the ultrasound",
        description="Writes the transform (ITK convention: from the ultrasound's LPS points to the MRI's; loaded into "
        "3D Slicer as the MRI's parent it moves the MRI onto the ultrasound), and beside it NAME_CONTRAST.nii.gz, "
        "NAME_report.json and NAME.png.",
        epilog=NOTICE,
    )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _add_curious(commands: argparse._SubParsersAction) -> None:
    from .registration import curious

    parser = commands.add_parser(
        "curious",
        help="register a cohort with landmarks, as the challenge CuRIOUS scores it",
        description="Registers the MRI of every case to its ultrasound, and writes the mean distance of the landmarks "
        f"before and after (TRE) to {curious.FILE}.",
        epilog=NOTICE,
    )
    curious.add_arguments(parser)
    parser.set_defaults(run=curious.run)


# export-dicom ---------------------------------------------------------------------------------------------------------


def _add_export_dicom(commands: argparse._SubParsersAction) -> None:
    from .outputs import dicom

    parser = commands.add_parser(
        "export-dicom",
        help="write synthetic images as DICOM series",
        description="Writes DIR/CASE_T2w/0001.dcm and so on: Secondary Capture, marked as derived, synthetic and not "
        "for diagnosis, in the image's own coordinates.",
        epilog=NOTICE,
    )
    dicom.add_arguments(parser)
    parser.set_defaults(run=dicom.run)


# models ---------------------------------------------------------------------------------------------------------------


def _add_models(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "models",
        help="list, describe, verify, install, remove, import or export models",
        description=f"Models are searched in ${SEARCH_VARIABLE}, the user's model folder, and Resources/Models.",
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the models that are found, and where each comes from")
    listing.set_defaults(run=_list_models)
    info = actions.add_parser("info", help="print a model's metadata")
    info.add_argument("model", metavar="NAME|PATH")
    info.set_defaults(run=_describe_model)
    verify = actions.add_parser("verify", help="compare checksums, of all models when none is named")
    verify.add_argument("models", nargs="*", metavar="NAME|PATH")
    verify.set_defaults(run=_verify_models)
    install = actions.add_parser(
        "install",
        help="put a model into the user's model folder",
        description="Checks metadata, checksums and licence first. Needs no network; nothing in the model is executed.",
    )
    install.add_argument("source", type=Path, metavar="FOLDER|ARCHIVE", help="a bundle, or a .zip or .tar.gz of one")
    install.add_argument("--replace", action="store_true", help="replace or hide a different model of the same name")
    install.add_argument("--accept-licence", action="store_true", help="of a model whose licence restricts its use")
    install.set_defaults(run=_install_model)
    remove = actions.add_parser("remove", help="remove a model that was installed")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=_remove_model)
    importing = actions.add_parser("import", help="make a bundle of published weights (.pth, .weights.h5)")
    importing.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="file; nothing in it is executed")
    importing.add_argument("--family", required=True, choices=[name for name in FAMILIES if name != "unet"])
    importing.add_argument("--regime", required=True, choices=REGIMES)
    importing.add_argument("--targets", required=True, nargs="+", metavar="TARGET", help="T2w, or T2w FLAIR")
    importing.add_argument("--refiner", type=Path, metavar="FILE", help="second stage of 2D+3D-refine, where published")
    importing.add_argument("--accept-licence", action="store_true", help="SynDiff: non-commercial research only")
    importing.add_argument("-o", "--output", required=True, type=Path, metavar="BUNDLE", help="folder to make")
    importing.set_defaults(run=_import_model)
    exporting = actions.add_parser("export", help="make a bundle (ONNX, TorchScript) of a trained run")
    exporting.add_argument("run_folder", type=Path, metavar="RUN", help="folder that train wrote for a family's preset")
    exporting.add_argument("-o", "--output", required=True, type=Path, metavar="BUNDLE", help="folder to make")
    exporting.add_argument("--licence", type=Path, metavar="FILE", help="text of the weights' licence, if one is given")
    exporting.set_defaults(run=_export_model)


def _import_model(options: argparse.Namespace) -> int:
    return _with_torch("models import", ".published.command", options)


def _export_model(options: argparse.Namespace) -> int:
    return _with_torch("models export", ".training.family_bundle", options)


def _with_torch(command: str, module: str, options: argparse.Namespace) -> int:
    try:
        return importlib.import_module(module, __package__).run(options)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{command}: the package {error.name} is not installed; install PyTorch (pytorch.org says how), and the "
            'rest with pip install "iousynth[train]"'
        ) from error


def _list_models(options: argparse.Namespace) -> int:
    paths = bundle_paths()
    if not paths:
        folders = ", ".join(str(folder) for folder in search_folders())
        raise InputError(f"models: none found in {folders}; install one with 'models install'")
    return _for_each(paths, _line_about)


def _line_about(path: Path) -> str:
    bundle = load(path)
    images = f"{', '.join(bundle.inputs)} -> {', '.join(bundle.outputs)}"
    source = f"{bundle.licence}  {origin(path)}  {bundle.path}"
    return f"{bundle.name}  {bundle.version or '-'}  {bundle.kind} {bundle.regime}  {images}  {source}"


def _install_model(options: argparse.Namespace) -> int:
    from .models.install import install

    bundle, outcome = install(options.source, options.replace, lambda _: options.accept_licence)
    print(f"{bundle.name}  {bundle.version or '-'}  {bundle.licence}  {bundle.path}: {outcome}")
    return 0


def _remove_model(options: argparse.Namespace) -> int:
    from .models.install import remove

    print(f"{options.name}: removed from {remove(options.name)}")
    return 0


def _describe_model(options: argparse.Namespace) -> int:
    bundle = load(options.model)
    metadata = json.loads((bundle.path / "configs" / "metadata.json").read_text(encoding="utf-8"))
    print(json.dumps({"name": bundle.name, "path": str(bundle.path), **metadata}, indent=1))
    return 0


def _verify_models(options: argparse.Namespace) -> int:
    models = options.models or bundle_paths()
    if not models:
        raise InputError("models: none found; see 'models list'")

    def verify(model: str | Path) -> str:
        bundle = load(model)
        bundle.verify()
        return f"{bundle.name}  {bundle.version or '-'}  checksums match  {bundle.path}"

    return _for_each(models, verify)


def _for_each(models: Sequence[str | Path], describe: Callable[[str | Path], str]) -> int:
    code = 0
    for model in models:
        try:
            print(describe(model))
        except InputError as error:
            code = _complain(error)
    return code


# doctor ---------------------------------------------------------------------------------------------------------------


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "doctor",
        help="say what is installed, which device runs, and whether all is ready",
        description="Looks at packages, models, device and disk, and synthesizes the sample case for time. Exit code 0 "
        "when ready, 2 when not.",
    )
    parser.add_argument("--model", metavar="NAME|PATH", help=f"generator (default: {DEFAULT_GENERATOR})")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.set_defaults(run=_run_doctor)


def _run_doctor(options: argparse.Namespace) -> int:
    from .doctor import examine

    problems = []
    for finding in examine(options.device, options.model):
        print(f"{'ok   ' if finding.fine else 'FAIL '} {finding.subject}: {finding.text}", flush=True)
        problems += [] if finding.fine else [finding]
    if problems:
        print(f"not ready: {'; '.join(f'{problem.subject}: {problem.text}' for problem in problems)}")
        return BAD_INPUT
    print("Ready. No network needed.")
    return 0


# evaluate -------------------------------------------------------------------------------------------------------------


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="score predictions against a cohort that knows the truth",
        description="Writes scores.csv (a row a case), summary.json and table.md with means and 95 % intervals, and "
        "prints the table.",
        epilog="To predict a cohort: iousynth synthesize COHORT -o PREDICTIONS",
    )
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS", help="folder with what synthesize wrote, named by case"
    )
    parser.add_argument("--reference", required=True, type=Path, metavar="DIR", help="folder of a simulated cohort")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.set_defaults(run=_run_evaluate)


def _run_evaluate(options: argparse.Namespace) -> int:
    try:
        from .evaluation.predictions import evaluate, write
    except ImportError as error:
        raise InputError(
            f"evaluate: needs the package {error.name}; install PyTorch and `pip install 'iousynth[train,evaluate]'`"
        ) from error

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with staging_folder(options.output) as staging:
        table = write(evaluate(options.predictions, options.reference, report), staging)
    print(table, end="")
    return 0


# train ----------------------------------------------------------------------------------------------------------------


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train",
        help="train a generator or a segmenter",
        description="Writes checkpoint.pt, curve.csv, samples/ and tensorboard/. The same command goes on from the "
        "last checkpoint after an interruption.",
        epilog="On several GPUs: torchrun --nproc-per-node 4 -m IoUSynthLib train PRESET --data DIR -o DIR; on several "
        "nodes, torchrun's --nnodes and --rdzv-endpoint on each, and a folder that all of them see.",
    )
    parser.add_argument("preset", nargs="?", metavar="PRESET", help="what to train; --list shows the choice")
    parser.add_argument("--list", action="store_true", help="list the presets")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of a simulated or prepared cohort")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--predictions", type=Path, metavar="DIR", help="synthetic MRI that a segmenter learns from (default: true MRI)"
    )
    parser.add_argument(
        "--initial", metavar="NAME|PATH", help="model to start from, to adapt it to these data (default: from nothing)"
    )
    parser.add_argument("--steps", type=_positive, metavar="N", help="other length than the preset's, for a trial")
    parser.add_argument("--seed", type=_seed, default=0, metavar="S", help="default: 0")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument(
        "--workers", type=_count, default=0, metavar="N",
        help="processes that draw batches ahead of time, for a GPU (default: 0, the batch is drawn when it is needed)",
    )
    parser.set_defaults(run=_run_train)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 on")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 4294967295")
    return int(text)


def _run_train(options: argparse.Namespace) -> int:
    try:
        from .training import command

        return command.run(options)
    except ModuleNotFoundError as error:
        raise InputError(
            f"train: the package {error.name} is not installed; install PyTorch (pytorch.org says how) and then "
            'the rest with pip install "iousynth[train]"'
        ) from error


# simulate -------------------------------------------------------------------------------------------------------------


def _add_simulate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "simulate",
        help="make a cohort of simulated ultrasound, MRI and labels to train and test on",
        description="Writes a folder a case, dataset.json with heads and splits, and contact_sheet.png. Complete cases "
        "are kept, so that the same command goes on after an interruption.",
    )
    parser.add_argument("-n", "--number", required=True, type=_positive, metavar="N", help="number of cases")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the cohort")
    parser.add_argument(
        "--anatomy",
        type=Path,
        metavar="DIR",
        help="BrainWeb or SynthSeg label maps, or folders with real T1, T2 and FLAIR; to train, five or more of one "
        "source (default: the ICBM 152 head, for training only)",
    )
    parser.add_argument("--seed", type=_seed, default=0, metavar="S", help="default: 0")
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.set_defaults(run=_run_simulate)


def _run_simulate(options: argparse.Namespace) -> int:
    try:
        from .simulation.command import write_cohort
    except ModuleNotFoundError as error:
        raise InputError(
            f"simulate: the package {error.name} is not installed; install PyTorch (pytorch.org says how) and then "
            'the rest with pip install "iousynth[train]"'
        ) from error
    print(write_cohort(options.number, options.output, options.anatomy, options.seed, options.workers, options.device))
    return 0


# prepare --------------------------------------------------------------------------------------------------------------


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "prepare",
        help="make a cohort to train on of patients' ultrasound and MRI",
        description="Registers each MRI to its ultrasound and writes what simulate does, of patients. An image with "
        "label or seg in its name is an outline in the frame of the MRI: 0 background, 1 tumour, 2 cavity. Finished "
        "cases are kept, so that the same command goes on after an interruption.",
    )
    parser.add_argument(
        "cohort", type=Path, metavar="COHORT", help="RESECT, or a folder a patient with ioUS, T2w, FLAIR in file names"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the prepared cohort")
    parser.add_argument("--seed", type=_seed, default=0, metavar="S", help="of the split; default: 0")
    parser.add_argument("--no-registration", dest="register", action="store_false", help="the images fit already")
    parser.set_defaults(run=lambda options: _with_torch("prepare", ".cohort.command", options))
