import shutil

import numpy as np
import pytest

from hardfold import mmseqs
from hardfold.tools import ToolError

pytestmark = pytest.mark.skipif(not shutil.which("mmseqs"), reason="needs MMseqs2")

random = np.random.default_rng(2)
LETTERS = list("ACDEFGHIKLMNPQRSTVWY")
FIRST, SECOND, OTHER = ("".join(random.choice(LETTERS, 60)) for _ in range(3))


def test_identity_and_coverage_are_of_the_aligned_part_and_the_shorter_sequence():
    # A serine at each fourth place, a cysteine where one stood.
    changed = "".join(letter if i % 4 else "SC"[letter == "S"] for i, letter in enumerate(FIRST))
    (hit,) = mmseqs.search({"NA": FIRST + OTHER}, {"1abc_A": changed}, threads=1).to_dict("records")
    # Where the aligned part ends depends on the residues there.
    part = slice(hit["subject_start"] - 1, hit["subject_end"])
    same = sum(a == b for a, b in zip(FIRST[part], changed[part], strict=True))
    aligned = part.stop - part.start
    assert (hit["query"], hit["subject"]) == ("NA", "1abc_A")
    assert hit["identity"] == pytest.approx(same / aligned, abs=1e-3)
    assert hit["coverage"] == pytest.approx(aligned / 60, abs=1e-3)
    assert hit["query_coverage"] == pytest.approx(aligned / 120, abs=1e-3)
    assert hit["evalue"] < 1e-3


def test_the_other_local_alignments_of_a_pair_are_there_when_asked_for():
    queries, subjects = {"q": FIRST + SECOND}, {"s": SECOND[:50] + OTHER + FIRST[:30], "t": OTHER}
    assert len(mmseqs.search(queries, subjects, threads=1)) == 1
    both = mmseqs.search(queries, subjects, "--alt-ali", 3, threads=1)
    assert both["evalue"].is_monotonic_increasing
    assert [(hit.subject_start, hit.subject_end) for hit in both.itertuples()] == [(1, 50), (111, 140)]


def test_no_hit_is_an_empty_table():
    hits = mmseqs.search({"q": FIRST}, {"s": OTHER}, threads=1)
    assert hits.empty and {"query", "subject", "identity", "coverage", "evalue"} <= set(hits)


def test_clusters_are_named_by_a_member_and_follow_identity_and_coverage():
    sequences = {"b": FIRST, "a": FIRST[1:], "c": FIRST + OTHER, "d": SECOND}
    clusters = mmseqs.cluster(sequences, identity=0.3, coverage=0.8, threads=1)
    assert clusters.index.tolist() == ["b", "a", "c", "d"]
    assert clusters["a"] == clusters["b"] and clusters["a"] in ("a", "b")
    assert clusters[["c", "d"]].tolist() == ["c", "d"]


def test_a_fault_carries_the_program_s_words():
    with pytest.raises(ToolError, match="mmseqs failed"):
        mmseqs.search({"q": FIRST}, {"s": OTHER}, "--no-such-option", threads=1)
