"""Which embeddings an experiment or a baseline reads. Imports no torch: the workflow lays out its jobs by them."""

import re
from collections.abc import Iterable, Mapping

# Predictors that are no experiment: they stand beside the experiments in every table.
BASELINES = ("base_rate", "separation_prior", "attention_head", "attention_head_shuffled", "couplings")
HEAD_CHAINS = 20  # training chains of an attention head, as in the ESM papers
# All rows of the alignment: a data set never has more than 1,024.
COUPLINGS = {
    "key": "couplings", "encoder": "", "model": "", "layer": 0, "rows": 1024, "content": "couplings",
    "training_chains": None,
}  # fmt: skip
PROFILE = {**COUPLINGS, "key": "profile", "content": "features"}


def embedding_entries(options: Mapping) -> dict[str, dict]:
    """What an experiment reads of results/embeddings/<key>/<split>.h5, computed once for all experiments: its name in
    a batch -> key, encoder, model, layer (the last frozen one), rows of the alignment, content, training_chains (how
    many it needs; None: all).
    """
    found = {}
    for encoder, kind in (("esm2", "esm2"), ("esm_msa", "msa")):
        model, layer = options[f"{encoder}_name"], options[f"num_layers_to_freeze_{kind}"]
        rows = options["num_msa_rows"] if kind == "msa" else 0
        if not layer or (kind == "msa" and not options["use_msa"]):
            continue
        found[encoder] = _entry(encoder, model, layer, rows, "features")
        if options[f"use_{kind}_attention"]:
            found[f"{encoder}_attention"] = _entry(encoder, model, layer, rows, "attention")
    if options["use_couplings"]:
        found["couplings"] = COUPLINGS
    return found


def encoder_names(options: Mapping) -> dict[str, str]:
    """The pretrained models that an experiment rests on: esm2 and, with an alignment, esm_msa -> name."""
    names = {"esm2": options["esm2_name"], "esm_msa": options["esm_msa_name"]}
    return names if options["use_msa"] else {"esm2": names["esm2"]}


def checkpoint_inputs(options: Mapping) -> dict[str, str | list[str]]:
    """What an experiment that starts from a checkpoint reads: that, and what it must not have been trained on."""
    if not options["checkpoint_path_to_load"]:
        return {}
    return {
        "checkpoint": options["checkpoint_path_to_load"],
        "assignment": "results/splits/assignment.tsv",
        "held_out": [f"results/dataset/{split}.h5" for split in ("validation", "test", "target")],
    }


def baseline_entries(esm2_name: str) -> dict[str, dict | None]:
    """Baseline -> what it reads, of the same form: attention maps of all layers of ESM-2, couplings, or nothing."""
    layers = int(re.match(r"esm2_t(\d+)_", esm2_name)[1])  # as fair-esm names its models
    attention = {**_entry("esm2", esm2_name, layers, 0, "attention"), "training_chains": HEAD_CHAINS}
    reads = {"attention_head": attention, "attention_head_shuffled": attention, "couplings": COUPLINGS}
    return {baseline: reads.get(baseline) for baseline in BASELINES}


def encoder_entries(experiments: Iterable[Mapping], baselines: Iterable[Mapping | None]) -> dict[str, dict]:
    """Key -> entry of what encoders are run for, by the experiments' options and the baselines' entries."""
    # An experiment's come later: it needs all training chains of what a baseline, too, reads.
    wanted = [*baselines, *(entry for options in experiments for entry in embedding_entries(options).values())]
    return {entry["key"]: entry for entry in wanted if entry and entry["encoder"]}


def _entry(encoder, model, layer, rows, content):
    key = f"{model}.layer{layer}" + f".rows{rows}" * bool(rows) + f".{content}"
    return {
        "key": key, "encoder": encoder, "model": model, "layer": layer, "rows": rows, "content": content,
        "training_chains": None,
    }  # fmt: skip
