import shutil
from pathlib import Path

import pytest
from made_up_searches import SEQUENCE

from hardfold import mmseqs
from hardfold.search.mmseqs2 import MMseqs2
from hardfold.tools import ToolError

needs_mmseqs = pytest.mark.skipif(not shutil.which("mmseqs"), reason="needs MMseqs2")
OPTIONS = {"iterations": 2, "evalue": 1e-3, "min_coverage": 0.5}
SEQUENCES = [SEQUENCE[:length] for length in range(12, 20)]


@pytest.fixture
def provider(tmp_path, program):
    """MMseqs2 that says its version, and a database that passes."""
    program("mmseqs", "print('14')")
    for ending in ("", ".index", "_h", "_h.dbtype", "_h.index"):
        (tmp_path / f"db{ending}").write_text("content")
    (tmp_path / "db.dbtype").write_bytes(bytes(4))
    return MMseqs2(str(tmp_path / "db"), **OPTIONS)


def stand_in(monkeypatch, is_bad):
    """A search that fails for a batch with a bad sequence; returns the batches it was asked for."""
    batches = []

    def align(queries, pool, work, *options, threads):
        batches.append(list(queries.values()))
        if any(map(is_bad, queries.values())):
            raise ToolError("mmseqs failed")
        for name in queries:
            yield name, Path(work, f"{name}.a3m")

    monkeypatch.setattr(mmseqs, "align", align)
    return batches


def test_a_shard_is_one_run(provider, monkeypatch, tmp_path):
    batches = stand_in(monkeypatch, lambda sequence: False)
    found = list(provider.search(SEQUENCES, tmp_path, 1))
    assert [outcome.sequence for outcome in found] == SEQUENCES
    assert batches == [SEQUENCES]


@pytest.mark.parametrize("bad", [SEQUENCES[:1], SEQUENCES[5:6], [SEQUENCES[2], SEQUENCES[7]]])
def test_a_run_that_fails_is_halved_down_to_the_sequences_at_fault(provider, monkeypatch, tmp_path, bad):
    batches = stand_in(monkeypatch, bad.__contains__)
    found = {outcome.sequence: outcome for outcome in provider.search(SEQUENCES, tmp_path, 1)}
    assert sorted(found) == sorted(SEQUENCES)
    assert [sequence for sequence in SEQUENCES if found[sequence].fault] == bad
    assert len(batches) <= 1 + 6 * len(bad)


def test_a_search_that_fails_for_every_sequence_stops_the_job_soon(provider, monkeypatch, tmp_path):
    batches = stand_in(monkeypatch, lambda sequence: True)
    with pytest.raises(ToolError, match="mmseqs failed"):
        list(provider.search(SEQUENCES, tmp_path, 1))
    assert len(batches) == 5


def test_a_gpu_is_used_for_a_padded_database_where_a_trial_succeeds(provider, program, tmp_path):
    assert "--gpu" not in provider.options
    (tmp_path / "db.dbtype").write_bytes((8 << 16).to_bytes(4, "little"))
    assert MMseqs2(str(tmp_path / "db"), **OPTIONS).options[-2:] == ("--gpu", 1)
    program("mmseqs", "if '--gpu' in argv: sys.exit('MMseqs2 was compiled without CUDA support')\nprint('18')")
    assert "--gpu" not in MMseqs2(str(tmp_path / "db"), **OPTIONS).options


@needs_mmseqs
def test_real_searches_without_a_gpu_do_not_ask_for_one():
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is a GPU")
    assert not mmseqs.gpu_works()
