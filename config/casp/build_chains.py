"""Choose config/casp/chains.tsv anew: ids of PDB chains, one a sequence cluster, out of registry packages.

    .venv/bin/python config/casp/build_chains.py .cache/packages

Needs apt-get, pip, dpkg-deb and mmseqs; downloads some 650 MB unless the folder has them. A minute on two cores.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "workflow/scripts"))

from hardfold import mmseqs, registry, tables  # noqa: E402
from hardfold.inputs import read_chains  # noqa: E402

LENGTHS = range(40, 401)
RESOLVED = 0.9  # share of the chain that the package holds without a gap
MOST = 3000


def whole_chains(stretches: Mapping[str, str], full_sequences: Mapping[str, str]) -> dict[str, str]:
    """Chain id -> full sequence of those of fit length whose gapless stretch holds most of them."""
    return {
        id: full
        for id, stretch in stretches.items()
        if (full := full_sequences.get(id, "")).count(stretch) == 1
        and len(full) in LENGTHS
        and len(stretch) >= RESOLVED * len(full)
    }


def choose(chains: Mapping[str, str], most: int) -> list[str]:
    """At most `most` ids, one a cluster at 30 % identity over 80 % of both and one a PDB entry, by sha256 of the id."""
    clusters = mmseqs.cluster(chains, "--cluster-reassign", 1, identity=0.3, coverage=0.8, threads=os.cpu_count())
    by_entry = {}
    for id in sorted(set(clusters), key=lambda id: hashlib.sha256(id.encode()).hexdigest()):
        by_entry.setdefault(id[:4], id)
    return sorted(list(by_entry.values())[:most])


def main(folder: Path) -> None:
    packages = registry.download_packages(folder)
    database = registry.StructureDatabase(
        registry.extract_debian(packages["promod3-data"], registry.PROMOD3_DATABASE, folder / "unpacked")
    )
    stretches = {database.identity(index): database[index].sequence for index in range(len(database))}
    chains = whole_chains(stretches, registry.read_full_sequences(packages["sidechainnet"]))
    tables.write(HERE / "chains.tsv", [{"chain": id} for id in choose(chains, MOST)], ["chain"])
    print(f"{len(read_chains(HERE / 'chains.tsv'))} of {len(chains)} whole chains, {len(stretches)} in the package")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
