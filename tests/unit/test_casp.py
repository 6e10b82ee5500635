"""config/casp: its lists against the natives and sequences of CASP where they are at hand, and its script."""

import importlib.util
import shutil
from pathlib import Path

import gemmi
import numpy as np
import pytest
import yaml

from hardfold import fields, inputs
from hardfold.config import check, check_targets, resolve_experiments
from hardfold.difficulty import is_hard
from hardfold.weights import in_archive

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared/data/casp"
TARGETS = inputs.read_targets(ROOT / "config/casp/targets.tsv").set_index("target")
# Length, resolved residues of each unit that is published with its size.
PUBLISHED = {
    "T1024": (408, {}),
    "T1030": (273, {"D1": 154, "D2": 119}),
    "T1033": (100, {"D1": 100}),
    "T0950": (353, {"D1": 342}),
    "T0953s2": (249, {"D1": 44, "D2": 127, "D3": 77}),
}


def positions(units):
    """Unit -> its positions, from 1."""
    return {name: {i for start, end in ranges for i in range(start, end + 1)} for name, ranges in units.items()}


def test_the_case_studies_and_enough_hard_targets_are_listed():
    assert set(PUBLISHED) <= set(TARGETS.index)
    easy = [
        name
        for name, row in TARGETS.iterrows()
        if not is_hard({row["class"], *fields.parse_unit_classes(row["unit_classes"]).values()})
    ]
    assert easy == ["T1024"] and len(TARGETS) == 68
    assert set(TARGETS["class"]) == {"FM", "FM/TBM", "FM|FM/TBM", "MultiDom"}
    period = TARGETS["in_baseline_training_period"]
    assert period[period != ""].to_dict() == {"T0950": "yes", "T0953s2": "yes"}
    assert (TARGETS["release_date"] == "").all()


def test_targets_of_one_chain_share_its_entry():
    assert set(TARGETS.index[TARGETS["entry"] == "6vr4"]) == {
        *("T1031", "T1033", "T1037", "T1039", "T1040", "T1041", "T1042", "T1043")
    }


@pytest.mark.parametrize("name", TARGETS.index)
def test_units_of_a_target_do_not_overlap(name):
    units = positions(fields.parse_units(TARGETS.loc[name, "units"]))
    assert sum(map(len, units.values())) == len(set().union(*units.values()))


def native(name):
    """Resolved positions and their letters of the native at hand, and the full sequence or None."""
    path = next(SHARED.glob(f"natives_*casp1?/{name}.pdb"))
    chain = gemmi.read_structure(str(path))[0][0]
    letters = {residue.seqid.num: gemmi.one_letter_code([residue.name]) for residue in chain}
    fasta = next(SHARED.glob(f"fasta_*/{name}.fasta"), None)
    return letters, fasta and "".join(fasta.read_text().split("\n")[1:]).strip()


needs_natives = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared CASP natives are not beside the repository")


@needs_natives
@pytest.mark.parametrize("name", TARGETS.index)
def test_units_fit_the_native_and_the_sequence(name):
    letters, sequence = native(name)
    length = len(sequence) if sequence else max(letters)
    if sequence:
        assert {position: sequence[position - 1] for position in letters} == letters
    assert len(letters) >= 0.6 * length
    for unit, inside in positions(fields.parse_units(TARGETS.loc[name, "units"])).items():
        assert max(inside) <= length, unit
        assert len(inside & set(letters)) >= 0.8 * len(inside), unit


@needs_natives
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_case_studies_have_their_published_sizes(name):
    letters, sequence = native(name)
    length, sizes = PUBLISHED[name]
    assert len(sequence) == length
    units = positions(fields.parse_units(TARGETS.loc[name, "units"]))
    assert {unit: len(units[unit] & set(letters)) for unit in sizes} == sizes


def test_chains_are_ids_of_one_chain_an_entry():
    chains = inputs.read_chains(ROOT / "config/casp/chains.tsv")
    assert 2500 <= len(chains) <= 3000 and chains["entry"].is_unique
    assert not set(chains["entry"]) & set(TARGETS["entry"])


def merged(*paths):
    """Configurations, the later over the earlier, as Snakemake merges them."""

    def over(base, other):
        nested = {key: over(base[key], value) for key, value in other.items() if isinstance(base.get(key), dict)}
        return {**base, **other, **nested}

    config = {}
    for path in paths:
        config = over(config, yaml.safe_load((ROOT / path).read_text()))
    return config


def test_the_configuration_is_valid_and_names_models_that_can_be_had():
    config = merged("config/config.yaml", "config/pretraining.yaml", "config/casp.yaml")
    check(config, ROOT / "workflow/schemas/config.schema.yaml")
    assert not config["inputs"]["offline"] and not config["inputs"]["mirror"]
    for options in resolve_experiments(config).values():
        assert in_archive(options["esm2_name"]) and "hardfold" not in options["esm2_name"] + options["esm_msa_name"]
    assert config["splits"]["cutoff_date"] == "2018-05-01"
    assert config["folding"]["training_cutoff"] == "2020-05-01"
    assert config["primary"]["class"] == "hard"
    check_targets(config, TARGETS)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("build_chains", ROOT / "config/casp/build_chains.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_chains_that_are_whole_are_chosen(script):
    full = "ACDEFGHIKLMNPQRSTVWY" * 3
    stretches = {"1aaa_A": full[2:58], "1bbb_A": full[:50], "1ccc_A": full, "1ddd_A": "ACD", "1eee_A": full}
    sequences = {"1aaa_A": full, "1bbb_A": full, "1ccc_A": full * 7, "1ddd_A": "ACD", "1fff_A": full}
    assert script.whole_chains(stretches, sequences) == {"1aaa_A": full}


@pytest.mark.skipif(not shutil.which("mmseqs"), reason="needs MMseqs2")
def test_one_chain_a_cluster_and_an_entry_is_chosen(script):
    random = np.random.default_rng(4)
    first, second, third = ("".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), 80)) for _ in range(3))
    chosen = script.choose({"1aaa_A": first, "2aaa_A": first, "3aaa_A": second, "3aaa_B": third}, 10)
    assert len(chosen) == 2 and chosen[0] in ("1aaa_A", "2aaa_A") and chosen[1] in ("3aaa_A", "3aaa_B")
    assert len(script.choose({"1aaa_A": first, "3aaa_A": second}, 1)) == 1
