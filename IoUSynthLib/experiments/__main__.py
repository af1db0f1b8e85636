"""The command of the experiments: ``python -m IoUSynthLib.experiments NAME ...``, each with ``--help``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from ..commands import complain

#: Each module has ``add_arguments``, ``run``, which returns the exit code, and a docstring for ``--help``.
EXPERIMENTS = {
    "shipped-models": (".shipped_models", "make the models that ship: train, calibrate, export, evaluate, describe"),
    "ablation": (".ablation", "what each part of the simulator brings"),
    "families": (".families", "families of generators side by side on one cohort"),
    "applicability": (".applicability", "what segmenters learn from synthetic MRI, and outline on it"),
    "latent": (".latent", "what the latent variables of a variational autoencoder hold"),
    "unified": (".unified", "MMHVAE and other networks of any subset, as the tables of its paper"),
    "simulated-report": (".simulated_report", "the report of the generator that ships, on simulated cases"),
    "overfit": (".overfit", "whether each family can learn two cases by heart"),
    "agreement": (".agreement", "whether synthetic MRI follows the ultrasound, on real ultrasound, too"),
    "preoperative": (".preoperative", "what the patient's MRI brings beside ultrasound, and what a wrong one costs"),
    "real": (".real.command", "registration, fidelity and outlines on real patients"),
    "realism": (".realism.command", "how close simulated ultrasound is to real ultrasound"),
    "sample-case": (".sample_case", "make the sample case that ships"),
}
_PROGRAM = "python -m IoUSynthLib.experiments"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an experiment and return its exit code: 0, or 2 for bad input, with one line on stderr."""
    lines = [f"  {name:16}{summary}" for name, (_, summary) in EXPERIMENTS.items()]
    parser = argparse.ArgumentParser(
        _PROGRAM, description="\n".join(["Experiments on models:", "", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=EXPERIMENTS, metavar="NAME")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="those of the experiment; see NAME --help")
    chosen = parser.parse_args(arguments)
    experiment = importlib.import_module(EXPERIMENTS[chosen.name][0], __package__)
    parser = argparse.ArgumentParser(
        f"{_PROGRAM} {chosen.name}", description=experiment.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    experiment.add_arguments(parser)
    options = parser.parse_args(chosen.options)
    try:
        return experiment.run(options)
    except (ValueError, OSError) as error:  # of which InputError is one; anatomies that do not suffice are another
        return complain(error)


if __name__ == "__main__":
    sys.exit(main())
