"""python -m hardfold COMMAND: parts of the workflow on single files."""

import argparse
import json
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code, 1 with one line on stderr for a file that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m hardfold", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    inspect = commands.add_parser("inspect", help="say what an HDF5 file of the workflow holds")
    inspect.add_argument("file", type=Path)
    inspect.set_defaults(run=_inspect)

    contacts = commands.add_parser("contacts", help="score predicted contacts against a native structure")
    contacts.add_argument("prediction", type=Path, help="predictions.h5 of the workflow, an npz or a CASP RR file")
    contacts.add_argument("native", type=Path, help="mmCIF or PDB; its residue numbers are the prediction's positions")
    contacts.add_argument("--id", help="the chain in predictions.h5")
    contacts.add_argument("--model", help="the MODEL of a CASP RR file that has several")
    contacts.add_argument("--json", action="store_true", help="print JSON")
    contacts.set_defaults(run=_contacts)

    score = commands.add_parser("score", help="compare a predicted structure with the native (mmCIF or PDB)")
    score.add_argument("model", type=Path)
    score.add_argument("native", type=Path)
    score.add_argument(
        "--units", type=Path, help="table of unit, start, end; a column target is matched to NATIVE's name"
    )
    score.add_argument("--json", action="store_true", help="one JSON object, not lines of text")
    score.set_defaults(run=_score)

    options = parser.parse_args(arguments)
    try:
        print(options.run(options))
    except (ValueError, OSError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    return 0


def _inspect(options):
    from hardfold.inspection import inspect

    return inspect(options.file)


def _contacts(options):
    from hardfold.contacts import score_file

    metrics = score_file(options.prediction, options.native, options.id, options.model)
    if options.json:
        return json.dumps(metrics)
    return "\n".join(f"{name:16} {'' if value is None else f'{value:.4g}'}" for name, value in metrics.items())


def _score(options):
    from hardfold.scoring import read_units, score_files

    units = None
    if options.units:
        by_target = read_units(options.units)
        target = "" if "" in by_target else options.native.stem
        if target not in by_target:
            raise ValueError(f"{options.units}: no units of {target}")
        units = by_target[target]
    scores = score_files(options.model, options.native, units)
    if options.json:
        return json.dumps(scores)
    named = {"chain": scores, **scores.pop("units", {})}
    return "\n".join(
        f"{unit}: " + ", ".join(f"{key} {value}" for key, value in row.items()) for unit, row in named.items()
    )


if __name__ == "__main__":
    sys.exit(main())
