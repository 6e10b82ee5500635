"""Couplings: long-range contacts found on real alignments, pseudocount by pseudocount; time and memory.

One thread. Precision is averaged within a target first, then over targets; times are processor time.
"""

import numpy as np
import pandas as pd
import pytest
from measure import ROOT, print_table, run_python

from hardfold import couplings
from hardfold.alignment import read_alignment
from hardfold.contacts import evaluate
from hardfold.geometry import contact_map, distance_map, virtual_cb
from hardfold.statistics import bootstrap_interval, wilcoxon
from hardfold.structure.parse import read_model

pytestmark = pytest.mark.benchmark
SHARED = ROOT.parent / "shared/data"
SETS = ("msa_t_uc201710-30_bfd.div_min", "DeepAln_ALN")
METRICS = ["p_at_l_long", "p_at_l5_long"]
PSEUDOCOUNTS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
COLUMNS, ROWS = 700, 2000  # of the alignments outside the table: longer ones are left out, deeper ones cut


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared alignments and natives are not beside the repository")
def test_contacts_of_real_alignments(monkeypatch):
    known = pd.read_csv(SHARED / "msa/couplings_baseline.tsv", sep="\t")
    listed, as_listed = [], []
    for row in known.itertuples():
        rows, chain = read(row.target, row.set)
        listed.append((row.target, rows, contacts(chain)))
        as_listed.append((row.target, rows, virtual_contacts(chain)))
    others = list(unlisted(set(known["target"])))
    tables = {f"pseudocount {value}": (precision(listed, value), precision(others, value)) for value in PSEUDOCOUNTS}
    monkeypatch.setattr(couplings, "weights", weights_with_gaps)
    tables["0.5, gaps alike in the weights"] = precision(listed, 0.5), precision(others, 0.5)
    tables["0.5, gaps alike, every CB virtual"] = precision(as_listed, 0.5), None
    deep = (known["neff"] >= 30).to_numpy()
    lines = [["the table itself", *means(known), *means(known[deep]), "", ""]]
    for name, (found, outside) in tables.items():
        lines.append([name, *means(found), *means(found[deep]), *(["", ""] if outside is None else means(outside))])
    groups = {"all": known, "Neff >= 30": known[deep], "others": tables["pseudocount 0.8"][1]}
    names = [f"{name}, {part['target'].nunique()} targets" for name, part in groups.items()]
    header = ["", *(f"{name}: {metric}" for name in names for metric in ("P@L", "P@L/5"))]
    print_table("long-range precision, %", header, lines)
    rounded = tables["pseudocount 0.8"][0].round(4)  # as the table is
    ours, theirs = (part.groupby("target")[METRICS].mean() for part in (rounded, known))
    for metric in METRICS:
        difference = (100 * (ours[metric] - theirs[metric])).round(4)
        figures = difference.mean(), bootstrap_interval(difference, 0.95, 10_000, 0), wilcoxon(difference.to_numpy())
        print(f"\n{metric} less the table's, percentage points by target: mean, 95 % interval, p", *figures)
        assert difference.mean() > 0


def read(target, folder):
    """(alignment rows, native chain in the alignment's columns)."""
    (path,) = SHARED.glob(f"msa/**/{folder}/{target}.a*")
    native = max(SHARED.glob(f"casp/natives_*casp1[34]/{target}.pdb"))  # full atom before backbone
    alignment = read_alignment(path)
    return alignment.rows, read_model(native, alignment.query)


def contacts(chain):
    return contact_map(distance_map(chain.coordinates, chain.sequence))


def virtual_contacts(chain):
    """Between virtual CB atoms of all residues, glycine too, as the table counts them."""
    coordinates = chain.coordinates.copy()
    coordinates[:, 4] = virtual_cb(coordinates)
    return contact_map(distance_map(coordinates, "A" * len(coordinates)))


def unlisted(known):
    """(target, rows, contact map) of the alignments of targets outside the table that have a native."""
    for folder in SETS:
        for path in sorted(SHARED.glob(f"msa/**/{folder}/*.a*")):
            if path.stem not in known and list(SHARED.glob(f"casp/natives_*casp1[34]/{path.stem}.pdb")):
                rows, chain = read(path.stem, folder)
                if len(rows) > 1 and rows.shape[1] <= COLUMNS:
                    yield path.stem, rows[:ROWS], contacts(chain)


def precision(cases, pseudocount):
    """target and METRICS of each (target, rows, contact map)."""
    scores = [evaluate(couplings.couplings(rows, pseudocount), native) for _, rows, native in cases]
    return pd.DataFrame(scores)[METRICS].assign(target=[name for name, *_ in cases])


def weights_with_gaps(rows):
    """As Morcos et al. count: two gaps are alike, and every column counts."""
    return np.array([1 / ((rows == row).mean(1) >= 0.8).sum() for row in rows])


def means(scores):
    """METRICS in %, averaged within a target first."""
    return [f"{100 * value:.1f}" for value in scores.groupby("target")[METRICS].mean().mean()]


CHILD = """
import sys
import numpy as np
from hardfold.couplings import couplings
count, length = map(int, sys.argv[1:])
rows = np.random.default_rng(1).choice(np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY-", np.uint8), (count, length))
if count:
    couplings(rows)
"""


def test_time_and_memory(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    empty = run_python(CHILD, 0, 1)
    lines = []
    for count, length in [(256, 150), (256, 300), (1024, 300), (6500, 300), (1024, 1000)]:
        child = min((run_python(CHILD, count, length) for _ in range(2)), key=lambda child: child["cpu"])
        seconds, megabytes = child["cpu"] - empty["cpu"], child["peak_mb"] - empty["peak_mb"]
        lines.append([count, length, f"{seconds:.1f}", f"{megabytes:.0f}"])
    print_table("couplings of random rows", ["rows", "columns", "CPU s", "peak MB above imports"], lines)
