"""Which embeddings an experiment reads. Imports no torch: the workflow lays out its jobs by them."""

from collections.abc import Mapping

# All rows of the alignment: a data set never has more than 1,024.
COUPLINGS = {"key": "couplings", "encoder": "", "model": "", "layer": 0, "rows": 1024, "content": "couplings"}


def embedding_entries(options: Mapping) -> dict[str, dict]:
    """What an experiment reads of results/embeddings/<key>/<split>.h5, computed once for all experiments: its name in
    a batch -> key, encoder, model, layer (the last frozen one), rows of the alignment, content.
    """
    found = {}
    for encoder, kind in (("esm2", "esm2"), ("esm_msa", "msa")):
        model, layer = options[f"{encoder}_name"], options[f"num_layers_to_freeze_{kind}"]
        rows = options["num_msa_rows"] if kind == "msa" else 0
        if not layer or (kind == "msa" and not options["use_msa"]):
            continue
        entry = {"encoder": encoder, "model": model, "layer": layer, "rows": rows}
        stem = f"{model}.layer{layer}" + f".rows{rows}" * bool(rows)
        found[encoder] = {"key": f"{stem}.features", **entry, "content": "features"}
        if options[f"use_{kind}_attention"]:
            found[f"{encoder}_attention"] = {"key": f"{stem}.attention", **entry, "content": "attention"}
    if options["use_couplings"]:
        found["couplings"] = COUPLINGS
    return found
