"""Provenance as tables: host, tools, packages, inputs, weights; and the limits of the evidence."""

import re

import pandas as pd
import yaml

from hardfold.leakage import SCORED
from hardfold.report import verdict
from hardfold.report.format import count, markdown_table, percent, words
from hardfold.report.results import EMBEDDED_FOLDER, Experiment, Results
from hardfold.report.tables.training import converged

RELEASED = re.compile(r"esm2_t\d+_\d+[MB]_UR50D|esm_msa1b?_t12_100M_UR50S|esmfold_v\d")
SHOWN_DIGITS = 12  # of a sha256


def host(results: Results) -> str:
    record = results.provenance
    commit = record["commit"]
    if record["modified"]:
        commit += ", with uncommitted changes"
    rows = [["results written", record["written"]], ["commit then", commit]]
    rows += [[f"host {key}", value] for key, value in record["host"].items()]
    rows += [[tool, version] for tool, version in record["tools"].items()]
    return markdown_table(["", "value"], rows, numeric_from=2)


def packages(results: Results) -> str:
    return markdown_table(["package", "version"], sorted(results.provenance["packages"].items()), numeric_from=2)


def inputs(results: Results) -> str:
    rows = [
        [f"`{path}`", f"`{digest[:SHOWN_DIGITS]}`"] for path, digest in sorted(results.provenance["inputs"].items())
    ]
    return markdown_table(["input", f"sha256 (first {SHOWN_DIGITS} digits)"], rows, numeric_from=2)


def weights(results: Results) -> str:
    rows = [
        [f"`{model['name']}`", f"`{model['source']}`", f"`{name}`", f"`{digest[:SHOWN_DIGITS]}`"]
        for model in results.weights
        for name, digest in sorted(model["files"].items())
    ]
    header = ["model", "source", "file", f"sha256 (first {SHOWN_DIGITS} digits)"]
    return markdown_table(header, rows, numeric_from=len(header))


def configuration(results: Results) -> str:
    return yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True).strip()


def limits(results: Results) -> list[str]:
    """What the figures cannot carry, each statement chosen by the results."""
    items = []
    if results.stand_ins:
        items.append(verdict.stand_in_statement(results))
    if results.config["inputs"]["targets"].startswith("resources/demo/"):
        items.append("The targets are embedded demonstration chains. They are no CASP targets.")
    items += [verdict.power_statement(results), *results.comparison["notes"]]
    met, runs = converged(results)
    if met < runs:
        items.append(
            f"{runs - met} of {runs} fine-tuning runs stopped at their last step without meeting the convergence "
            "criterion: more steps may change their scores."
        )
    test, targets = (words(sorted({count(n) for n in table["proteins"]})) for table in results.metrics.values())
    items.append(
        f"The contact experiments are scored on {test} test proteins and {targets} targets, one training run each: "
        "their intervals are over sequence clusters and hold no spread over seeds."
    )
    if unfinished := [one.name for one in results.experiments if one.training["best_epoch"] == one.training["epochs"]]:
        items.append(
            f"{words(unfinished)} {'was' if len(unfinished) == 1 else 'were'} best in the last epoch of training: more "
            "epochs may change their scores, and what is told apart may be how fast they learn."
        )
    items += [_start(one) for one in results.experiments if one.options["checkpoint_path_to_load"]]
    items += _unseen(results)
    unknown = results.audit["date_barrier"] == "unknown"
    if unknown.any():
        items.append(
            f"The date barrier could not be checked for {count(unknown.sum())} of {count(len(unknown))} held-out "
            "chains: a release date or the cut-off is not known."
        )
    items.append(
        f"The sequence barrier rests on {percent(results.config['splits']['leakage']['identity'])} identity "
        "and on profile searches: it does not exclude remote homologues of the same fold."
    )
    items += _language_models(results)
    if pd.isna(results.scores["nearest_training_identity"]).any():
        items.append("No hit to a training chain means that the search found none, not that the identity is 0 %.")
    return items


def _start(one: Experiment) -> str:
    """What the checkpoint that an experiment starts from has seen, as far as it is known."""
    path, chains = one.options["checkpoint_path_to_load"], one.training["checkpoint_chains"]
    if chains is None:
        return (
            f"{one.name} starts from `{path}`, which does not record its training chains: whether it saw held-out ones "
            "is unknown."
        )
    return (
        f"{one.name} starts from `{path}`: none of the {count(chains)} chains that it was trained on is held out here "
        "or was dropped for what is, by name, nor has one a held-out chain's sequence. Other relatives were not "
        "searched for."
    )


def _unseen(results: Results) -> list[str]:
    """The share of pairs that the windows of the experiments leave out, where there are any."""
    names: dict[str, list[str]] = {}
    for one in results.experiments:
        rows = [row for split in SCORED for row in one.metrics[split]["by_protein"]]
        unseen = sum(row["pairs_unseen"] for row in rows)
        if unseen:
            share = percent(unseen / (unseen + sum(row["pairs"] for row in rows)))
            names.setdefault(share, []).append(one.name)
    if not names:
        return []
    said = words([f"{share} ({words(own)})" for share, own in names.items()])
    return [
        f"Windows of `max_length` residues leave out pairs of longer chains, far ones: of all held-out pairs {said}. "
        "They are scored neither as contacts nor as none, so metrics in one table may be over different pairs; paired "
        "comparisons are over chains of which both see the same."
    ]


def _language_models(results: Results) -> list[str]:
    """What the pretrained models saw, as far as it is known; the splits cover the adaptation data alone."""
    foreign = [model["name"] for model in results.weights if EMBEDDED_FOLDER not in str(model["source"])]
    released = [name for name in foreign if RELEASED.fullmatch(name)]
    other = [name for name in foreign if name not in released]
    items = []
    if released:
        items.append(
            f"`disjoint` speaks of the adaptation data alone: {words([f'`{name}`' for name in released])} were trained "
            "on public sequences (ESM-2 on UniRef50 of April 2021) that may hold the targets' families."
        )
    if other:
        items.append(
            f"`disjoint` speaks of the adaptation data alone: what {words([f'`{name}`' for name in other])} saw in "
            "pretraining is not known."
        )
    return items
