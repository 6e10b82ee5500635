"""What is embedded: every model with card and checksums that hold, small enough, and data that keep their promises."""

import hashlib
from pathlib import Path

import pytest
import yaml

from hardfold import backbones, inputs, tables
from hardfold.config import pretrained_models
from hardfold.folding.model import load_model
from hardfold.structure.parse import read_chain

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "resources/models"
DEMO = ROOT / "resources/demo"
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
NAMES = pretrained_models(CONFIG)


def test_every_model_of_the_default_is_embedded_and_no_other():
    assert sorted(path.name for path in MODELS.iterdir() if path.is_dir()) == NAMES
    sizes = [path.stat().st_size for path in MODELS.rglob("*") if path.is_file()]
    assert sum(sizes) < 40e6 and max(sizes) < 16e6


@pytest.mark.parametrize("name", NAMES)
def test_model_has_a_card_and_its_checksums_hold(name):
    assert "Do not use it" in (MODELS / name / "README.md").read_text()
    for line in (MODELS / name / "SHA256SUMS").read_text().splitlines():
        digest, file = line.split()
        assert hashlib.sha256((MODELS / name / file).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", NAMES)
def test_model_was_trained(name):
    rows = (MODELS / name / "history.csv").read_text().splitlines()
    header = rows[0].split(",")
    losses = [value for row in rows[1:] if (value := row.split(",")[header.index("validation_loss")])]
    assert float(losses[-1]) < float(losses[0])


def test_models_load():
    for name in NAMES:
        if name.startswith("esmfold"):
            _, report = load_model(MODELS / name)
            assert report["unexpected"] == []
        else:
            backbones.load(MODELS / name / f"{name}.pt")


def test_chains_and_targets_are_those_of_the_structures():
    chains, targets = inputs.read_chains(DEMO / "chains.tsv"), inputs.read_targets(DEMO / "targets.tsv")
    named = {*chains["chain"], *targets["chain"]}
    assert len(named) == len(chains) + len(targets)
    files = {path.name.removesuffix(".cif.gz") for path in (DEMO / "structures").iterdir()}
    assert files == {name[:4] for name in named}
    assert len(files) == len(named)  # one chain an entry: none can stand on two sides
    assert (targets["class"].value_counts() >= 12).all() and set(targets["class"]) == {"hard", "deep"}
    homologues = targets["homologues"].astype(int)
    assert (homologues[targets["class"] == "hard"] < 8).all() and (homologues[targets["class"] == "deep"] >= 64).all()


@pytest.mark.parametrize("table", ["chains.tsv", "targets.tsv"])
def test_embedded_structures_are_read_and_unknowns_stay_unknown(table):
    for name in tables.read(DEMO / table)["chain"][::8]:
        chain = read_chain(DEMO / f"structures/{name[:4]}.cif.gz", name[5:])
        assert 40 <= len(chain.sequence) <= 128 and chain.mask.mean() >= 0.85
        assert chain.resolution is None and chain.method == "" and chain.release_date == ""
