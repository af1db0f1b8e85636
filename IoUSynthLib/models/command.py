"""``iousynth models``: its actions, and what each does once its options are read."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ..commands import complain
from ..generators import REGIMES
from ..published import FAMILIES
from ..volume import InputError
from .bundle import SEARCH_VARIABLE, bundle_paths, load, origin, search_folders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions, and the options of each."""
    parser.description = f"Models are searched in ${SEARCH_VARIABLE}, the user's model folder, and Resources/Models."
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the models that are found, and where each comes from")
    listing.set_defaults(action=_list)
    info = actions.add_parser("info", help="print a model's metadata")
    info.add_argument("model", metavar="NAME|PATH")
    info.set_defaults(action=_describe)
    verify = actions.add_parser("verify", help="compare checksums, of all models when none is named")
    verify.add_argument("models", nargs="*", metavar="NAME|PATH")
    verify.set_defaults(action=_verify)
    install = actions.add_parser(
        "install",
        help="put a model into the user's model folder",
        description="Checks metadata, checksums and licence first. Needs no network; nothing in the model is executed.",
    )
    install.add_argument("source", type=Path, metavar="FOLDER|ARCHIVE", help="a bundle, or a .zip or .tar.gz of one")
    install.add_argument("--replace", action="store_true", help="replace or hide a different model of the same name")
    install.add_argument("--accept-licence", action="store_true", help="of a model whose licence restricts its use")
    install.set_defaults(action=_install)
    remove = actions.add_parser("remove", help="remove a model that was installed")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(action=_remove)
    importing = actions.add_parser("import", help="make a bundle of published weights (.pth, .weights.h5)")
    importing.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="file; nothing in it is executed")
    importing.add_argument("--family", required=True, choices=FAMILIES)
    importing.add_argument("--regime", required=True, choices=REGIMES)
    importing.add_argument("--targets", required=True, nargs="+", metavar="TARGET", help="T2w, or T2w FLAIR")
    importing.add_argument("--refiner", type=Path, metavar="FILE", help="second stage of 2D+3D-refine, where published")
    importing.add_argument("--accept-licence", action="store_true", help="SynDiff: non-commercial research only")
    importing.add_argument("-o", "--output", required=True, type=Path, metavar="BUNDLE", help="folder to make")
    importing.set_defaults(action=_import)
    exporting = actions.add_parser("export", help="make a bundle (ONNX, TorchScript) of a trained run")
    exporting.add_argument("run_folder", type=Path, metavar="RUN", help="folder that train wrote")
    exporting.add_argument("-o", "--output", required=True, type=Path, metavar="BUNDLE", help="folder to make")
    exporting.add_argument(
        "--cohort", type=Path, metavar="DIR",
        help="what a generator was trained on, where the run's cohort has moved: inputs are compared with it",
    )  # fmt: skip
    exporting.add_argument("--licence", type=Path, metavar="FILE", help="text of the weights' licence, if one is given")
    stated = exporting.add_argument_group("what you state of the weights; metadata and card say nothing else of them")
    stated.add_argument("--weights-version", default="0.1.0", metavar="VERSION", help="default: 0.1.0")
    stated.add_argument("--authors", default="", metavar="TEXT", help="who made them")
    stated.add_argument("--citation", default="", metavar="TEXT", help="what to cite")
    stated.add_argument(
        "--trained-on", default="", metavar="TEXT", help="in place of what the run has kept about its cohort"
    )
    stated.add_argument(
        "--generator", default="", metavar="NAME", help="of a segmenter: the model whose synthetic MRI it learned from"
    )
    exporting.set_defaults(action=_export)


def run(options: argparse.Namespace) -> int:
    """Do the action that was chosen, and return the exit code: 2 when one of several models is not as it must be.

    Raises
    ------
    InputError
        The action cannot be done.
    """
    return options.action(options)


def _list(options: argparse.Namespace) -> int:
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


def _describe(options: argparse.Namespace) -> int:
    bundle = load(options.model)
    metadata = json.loads((bundle.path / "configs" / "metadata.json").read_text(encoding="utf-8"))
    print(json.dumps({"name": bundle.name, "path": str(bundle.path), **metadata}, indent=1))
    return 0


def _verify(options: argparse.Namespace) -> int:
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
            code = complain(error)
    return code


def _install(options: argparse.Namespace) -> int:
    from .install import install

    bundle, outcome = install(options.source, options.replace, lambda _: options.accept_licence)
    print(f"{bundle.name}  {bundle.version or '-'}  {bundle.licence}  {bundle.path}: {outcome}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    from .install import remove

    print(f"{options.name}: removed from {remove(options.name)}")
    return 0


def _import(options: argparse.Namespace) -> int:
    from ..published.command import run

    return run(options)


def _export(options: argparse.Namespace) -> int:
    from ..training.release import run

    return run(options)
