"""The comparison of two runs sees every difference but the declared ones."""

import json
import shutil

import pytest
from same_results import differences, differing

FILES = {
    "table.tsv": "chain\trows\tseconds\n1abc_A\t3\t0.25\n",
    "model/weights.bin": "weights",
    "model/training.json": json.dumps({"steps": 3, "seconds": 1.5, "runs": [{"loss": 0.1, "peak_memory_mb": 90}]}),
    "report/report.md": "Training took 59 s and 400 MB; TM-score 0.5",
    "logs/job.log": "12:00 begun",
}


@pytest.fixture
def runs(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "one" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "one", shutil.copytree(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("table.tsv", "0.25", "0.5"),
        ("model/training.json", "1.5", "2"),
        ("model/training.json", "90", "91"),
        ("report/report.md", "59 s", "1 min 3 s"),
        ("logs/job.log", "begun", "ended"),
    ],
)
def test_what_is_declared_may_differ(runs, name, before, after):
    path = runs[0] / name
    path.write_text(path.read_text().replace(before, after))
    assert path.read_text() != FILES[name] and differences(*runs) == []


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("table.tsv", "\t3\t", "\t4\t"),
        ("table.tsv", "1abc_A", "1abc_B"),
        ("table.tsv", "seconds", "minutes"),
        ("table.tsv", "0.25\n", "0.25\n2abc_A\t3\t0.25\n"),
        ("model/training.json", "0.1", "0.10001"),
        ("model/training.json", "steps", "epochs"),
        ("model/weights.bin", "weights", "weight"),
        ("report/report.md", "TM-score", "GDT"),
    ],
)
def test_all_else_is_seen(runs, name, before, after):
    path = runs[0] / name
    path.write_text(path.read_text().replace(before, after))
    assert differences(*runs) == differing(*runs) == [name]
    assert differing(*runs, unfinished={name}) == []
    assert differing(*runs, unfinished={"model", "table.tsv", "report"}) == []


def test_a_lost_file_is_seen_and_a_hidden_one_is_none(runs):
    (runs[1] / ".table.tsv.1.part").touch()
    assert differences(*runs) == []
    (runs[1] / "table.tsv").unlink()
    assert differences(*runs) == [f"table.tsv is in {runs[0]} only"]
    assert differing(*runs) == []
