"""Splits and their leakage audit: time and memory by the number of sequences, and what the audit drops.

Sequences of the embedded search pool (Swiss-Prot, up to 300 residues, in families, so that much must go) and, where
they are there, the shared crystal chains; 40 of them are targets, 15 % go to validation and 25 % to test. One run each,
two threads: most of it is MMseqs2's clusters and two searches.
"""

import gzip
import json
import shutil
import tarfile
from itertools import islice, product
from string import ascii_lowercase, digits

import gemmi
import numpy as np
import pytest
from measure import ROOT, print_table, run_python

from hardfold import mmseqs, tables
from hardfold.structure.chain import Chain, load_chains, read_sequences, save_chains

SHARED = ROOT.parent / "shared/data/train/pdownb.tar.xz"
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(not shutil.which("mmseqs"), reason="needs MMseqs2"),
]
TARGETS, SHARD = 40, 250

RUN = """
import json, resource, sys
from pathlib import Path
from hardfold.splits import build_splits
folder = Path(sys.argv[1])
build_splits(
    sorted(folder.glob("*.h5")),
    *(folder / f"{name}.tsv" for name in ("chains", "targets", "assignment", "audit", "dropped")),
    seed=1, identity=0.3, coverage=0.8, fractions={"validation": 0.15, "test": 0.25}, cutoff_date="", threads=2,
    limits={"identity": 0.3, "coverage": 0.5, "evalue": 1e-3, "sensitivity": 7.5, "profile_iterations": 3},
)
peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
(folder / "peaks.json").write_text(json.dumps(peaks))
"""
READ = """
import sys
from hardfold.structure import chain
for path in sys.argv[2:]:
    getattr(chain, sys.argv[1])(path)
"""


@pytest.fixture(scope="module")
def pool():
    with gzip.open(ROOT / "resources/demo/pool.fasta.gz", "rt") as handle:
        return ["".join(record.split("\n")[1:]) for record in handle.read().split(">")[1:]]


@pytest.fixture(scope="module")
def crystals():
    if not SHARED.is_file():
        return []
    with tarfile.open(SHARED) as archive:
        texts = [archive.extractfile(member).read().decode() for member in archive if member.name.endswith(".pdb")]
    chains = [gemmi.read_pdb_string(text)[0][0] for text in texts]
    return [gemmi.one_letter_code([residue.name for residue in chain]).upper() for chain in chains]


def lay_out(folder, sequences):
    """Shards of chains, each residue with five atoms, and the lists of chains and targets."""
    names = map("".join, product("1", *[digits + ascii_lowercase] * 3))
    ids = [f"{entry}_A" for entry in islice(names, len(sequences) - TARGETS)] + [f"T{i}" for i in range(TARGETS)]
    chains = [
        Chain.from_atoms(id, letters, np.ones((len(letters), 5, 3))) for id, letters in zip(ids, sequences, strict=True)
    ]
    for start in range(0, len(chains), SHARD):
        save_chains(folder / f"{start:06d}.h5", chains[start : start + SHARD])
    tables.write(folder / "chains.tsv", [{"chain": id} for id in ids[:-TARGETS]], ["chain"])
    targets = [{"target": id, "chain": "", "class": "hard"} for id in ids[-TARGETS:]]
    tables.write(folder / "targets.tsv", targets, ["target", "chain", "class"])


def test_time_and_memory_by_the_number_of_sequences(pool, crystals, tmp_path):
    sets = [("pool", 500, pool), ("pool", 2000, pool), ("pool and crystals", None, pool + crystals)]
    rows = []
    for name, most, sequences in sets + [("crystals", None, crystals)] * bool(crystals):
        chosen = np.random.default_rng(1).permutation(len(sequences))[:most]
        count = len(chosen)
        folder = tmp_path / f"{name}{count}"
        folder.mkdir()
        lay_out(folder, [sequences[index] for index in chosen])
        used = run_python(RUN, folder)
        peaks = json.loads((folder / "peaks.json").read_text())
        split = tables.read(folder / "assignment.tsv")["split"].value_counts()
        bands = tables.read(folder / "audit.tsv")["band"].value_counts()
        figures = [used["seconds"], used["cpu"], *peaks, split["train"], split.get("dropped", 0)]
        rows.append([name, count, *map(round, figures), sum(bands.get(band, 0) for band in ("30-50", ">50"))])
    header = ["of", "sequences", "s", "processor s", "MB, Python", "MB, MMseqs2"]
    header += ["train", "dropped", "held out, > 30 % to train"]
    print_table("build_splits", header, rows)


def test_hits_to_shuffled_sequences(pool):
    """How often the audit takes a stranger for a relative (e <= 1e-3): 400 sequences against 2,000 and against
    the same 2,000 with their residues in another order."""
    random = np.random.default_rng(1)
    chosen = [pool[index] for index in random.permutation(len(pool))[:2000]]
    real = {f"real{i}": letters for i, letters in enumerate(chosen)}
    shuffled = {f"shuffled{i}": "".join(random.permutation(list(letters))) for i, letters in enumerate(chosen)}
    queries, rows = dict(islice(real.items(), 400)), []
    searches = {"sequence": ["--mask", 0], "profile": ["--num-iterations", 3]}
    for name, options in searches.items():
        hits = mmseqs.search(queries, real | shuffled, "-e", 1e-3, "--max-seqs", 100000, *options, threads=2)
        strangers = hits["subject"].str.startswith("shuffled").sum()
        rows.append([name, len(hits) - strangers - len(queries), strangers])
        assert strangers <= 0.01 * len(queries)
    print_table("hits of 400 sequences", ["search", "to other sequences", "to shuffled ones"], rows)


def test_reading_sequences_against_whole_chains(tmp_path):
    """Peak memory and time for a shard of 250 chains of 300 residues, and for eight of them."""
    lay_out(tmp_path, ["A" * 300] * 2000 + ["A" * 300] * TARGETS)
    shards = sorted(tmp_path.glob("*.h5"))
    assert list(read_sequences(shards[0])) == list(load_chains(shards[0]))
    rows = []
    for reader in ("read_sequences", "load_chains"):
        for some in (shards[:1], shards):
            used = run_python(READ, reader, *some)
            rows.append([reader, len(some), f"{used['cpu']:.2f}", f"{used['peak_mb']:.0f}"])
    print_table("reading shards of 250 chains", ["reader", "shards", "processor s", "MB"], rows)
