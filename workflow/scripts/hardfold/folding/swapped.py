"""Control control_swapped_alignment: each target is given the alignment of another one that is no relative of it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from hardfold import tables
from hardfold.arms import SWAPPED
from hardfold.folding.folds import find_relatives, group_relatives, read_assigned
from hardfold.folding.shuffled import choose_donors

COLUMNS = ["target", "seed", "donor", "group", "related_to"]


def swap_alignments(
    shards: Iterable[Path],
    chains: str | list[str],
    targets: Path,
    assignment: Path,
    output: Path,
    *,
    limits: Mapping[str, float],
    seeds: Sequence[int],
    threads: int,
) -> None:
    """Write `output` (COLUMNS), a row a target and seed: its `donor` is a target of like length and another `group` of
    relatives, those that leave_one_out keeps in one fold (folds.find_relatives). Raises ShuffleError.
    """
    proteins = read_assigned(shards, chains, targets, assignment)
    chosen = proteins["split"] == "target"
    rows = group_relatives(proteins.index[chosen], find_relatives(proteins, chosen, limits, threads))
    lengths = proteins["sequence"][chosen].str.len().to_dict()
    groups = rows.set_index("target")["group"].to_dict()
    donors = {seed: choose_donors(lengths, groups, seed, SWAPPED) for seed in seeds}
    parts = [rows.assign(seed=seed, donor=rows["target"].map(donors[seed])) for seed in seeds]
    tables.write(output, pd.concat(parts), COLUMNS)
