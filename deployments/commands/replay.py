"""``mlops replay``: what each policy of retraining would have done with a past, and what it would have cost."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.commands.files import encode, open_spec, refuse_unwritable, write

if TYPE_CHECKING:
    from mlops.core.past import Past
    from mlops.core.replay import Progress

# The same as in mlops.adapters.replays, whose import `mlops --help` would pay for.
DEFAULT = "never,always,every:4,evidently,ours"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "replay",
        help="replay policies of retraining over labelled data of the past",
        description="Answer past data window by window, retrain as each policy says, and compare what that gave and"
        " cost. Without a spec, types are inferred and the classifier is histogram gradient boosting.",
    )
    parser.add_argument("data", type=Path, help="CSV or Parquet with labels, oldest row first")
    parser.add_argument("--target", help="column to predict (default: the spec's)")
    parser.add_argument("--time", help="column of times or of numbers that order the rows (default: the file's order)")
    parser.add_argument("--spec", help="a model's name, or the path of its YAML")
    parser.add_argument("--window", help="rows (1000) or time (12h, 1d, 1w) of a window")
    parser.add_argument("--train", help="rows or time that the first model learns from (default: the spec's window)")
    parser.add_argument("--policies", default=DEFAULT, help=f"of never, always, every:N, evidently, ours ({DEFAULT})")
    parser.add_argument("--changes", default="", help="known changes: row numbers, separated by commas")
    parser.add_argument("--sort", action="store_true", help="sort the rows by --time first")
    parser.add_argument("--json", metavar="FILE", help="write all numbers (- is standard output)")
    parser.add_argument("--plot", metavar="FILE", help="draw the windows as PNG")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Replay and print; 0 when it ran.

    Raises:
        FileError, StreamError, PolicyError, SpecError: something that was given cannot be used.
    """
    from mlops.adapters.replays import policies_for, replayed, report
    from mlops.adapters.tables import read_table
    from mlops.core.past import Asked, prepare
    from mlops.core.stream import parse_length

    # A replay may take an hour: what cannot be written is said before it.
    for file in (options.json, options.plot):
        refuse_unwritable(file)
    asked = Asked(
        target=options.target,
        time=options.time,
        window=parse_length(options.window) if options.window else None,
        train=parse_length(options.train) if options.train else None,
        sort=options.sort,
    )
    spec = open_spec(options.spec)
    past = prepare(read_table(options.data), str(options.data), asked, spec)
    policies = policies_for(options.policies, past.stream.judged)
    _tell(past)
    found = replayed(past, policies, changes=_changes(options.changes, past), progress=_progress())
    shown = report(found)
    (sys.stderr if options.json == "-" else sys.stdout).write(shown)
    write(options.json, encode(found))
    if options.plot:
        from mlops.core.replay_plot import replay_png

        write(options.plot, replay_png(found.policies, options.data.name))
    return 0


def _tell(past: "Past") -> None:
    for note in past.notes:
        sys.stderr.write(f"{note}\n")


def _changes(text: str, past: "Past") -> list[int]:
    from mlops.core.stream import StreamError

    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if not part.isdecimal() or not 1 <= int(part) <= len(past.stream.frame):
            raise StreamError(f"--changes: {part!r} is no row from 1 to {len(past.stream.frame)}")
        found.append(int(part) - 1)
    return found


def _progress() -> "Progress":
    """Show progress on a terminal, once a second at most."""
    shown = [0.0]

    def tell(name: str, done: int, of: int) -> None:
        if sys.stderr.isatty() and (time.monotonic() - shown[0] > 1 or done == of):
            shown[0] = time.monotonic()
            sys.stderr.write(f"\r{name}: window {done} of {of}   " + ("\n" if done == of else ""))

    return tell
