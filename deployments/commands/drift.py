"""``mlops drift``: one verdict for two files, useful without any of the rest."""

import argparse
import sys
from pathlib import Path

from deployments.commands.files import encode, open_spec, refuse_unwritable, write

FINE = ("ok", "wait")
DRIFTED = 3


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "drift",
        help="compare two files: one verdict with reasons",
        description="Judge CURRENT against REFERENCE (CSV or Parquet). Ends with 0 for ok and wait, 3 for investigate,"
        " retrain and data_incident, 2 for input that cannot be used.",
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("current", type=Path)
    parser.add_argument("--spec", help="a model's name, or the path of its YAML; without it, types are inferred")
    parser.add_argument("--target", help="column of true labels; empty where none has come")
    parser.add_argument("--prediction", help="column of predicted labels, or of the second class's probability")
    parser.add_argument("--json", metavar="FILE", help="write verdict, reasons and numbers (- is standard output)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Judge and print; 0 for ok and wait, else 3.

    Raises:
        FileError, SpecError, TrainingError: something that was given cannot be used.
    """
    from mlops.adapters.tables import read_table
    from mlops.core.adhoc import Roles, Table, verdict_of
    from mlops.core.adhoc_text import told

    refuse_unwritable(options.json)
    spec = open_spec(options.spec)
    before, now = (Table(read_table(file), str(file)) for file in (options.reference, options.current))
    verdict, notes = verdict_of(before, now, Roles(options.target, options.prediction), spec)
    sys.stderr.writelines(f"{note}\n" for note in notes)
    shown = told(verdict, options.reference.name, options.current.name)
    (sys.stderr if options.json == "-" else sys.stdout).write(shown)
    write(options.json, encode(verdict))
    return 0 if verdict.verdict in FINE else DRIFTED
