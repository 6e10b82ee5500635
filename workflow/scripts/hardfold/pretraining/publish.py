"""A trained model as it is shipped: weights, history, model card and checksums in one folder."""

import csv
import json
import shutil
from pathlib import Path

from hardfold.tables import sha256, whole_file

WHAT = {
    "sequence": "A small language model of the ESM-2 architecture, in fair-esm's file layout",
    "alignment": "A small alignment model of the ESM-MSA-1b architecture, in fair-esm's file layout",
    "folding": "A small folding model of the ESMFold architecture, in transformers' file layout",
}
INPUTS = {
    "": "the sequence",
    "_aligned": "the sequence, the deep profile that came with its structure and the couplings of its alignment, "
    "where it has one (`alignment.safetensors`)",
}
CARD = """# {name}

{what},
trained from scratch by hardfold (`snakemake pretraining`, preset {preset}).
{parameters} parameters, stored in float16{adapter}.

It stands in for the released model so that the workflow can be run and tested anywhere. **Do not use it for
predictions, for comparisons with released models, or for any biological conclusion**: its training was a small
fraction of theirs.

## Training data

{data}. Sources: Swiss-Prot of January 2014 (UniProt, through Debian's metastudent-data) and PDB chains (through
Debian's promod3-data). Left out was every record with an MMseqs2 hit (-s 7.5) to a sequence of the sets below, of
e-value <= {max_evalue} at any identity (also by a profile of {profile_iterations} iterations), or of
{min_identity:.0%} identity over half of the shorter sequence:

{sets}

{missing}## Training

{settings}

{seconds:.0f} seconds ({device}, threads: {threads}). Validation during training:

{curve}

## Result on held-out records

{result}
The scores were measured before the weights were rounded to float16.

## Licence

The weights are MIT, as hardfold is; UniProt's data are CC BY 4.0, promod3-data Apache-2.0, the PDB's CC0.
"""
MISSING = """**Not excluded: {names}.** No sequences of it were given, so proteins like these may be in the training
data: a score on them with this model is no score on unseen proteins.

"""


def publish(name: str, run: Path, sets: Path, folder: Path, *, preset: str, **limits) -> None:
    """Copy what `pretrain_model` wrote for `name` into `folder`, with README.md and, last, SHA256SUMS.

    sets, limits: what `select_data` left records out for (its table) and by (max_evalue, min_identity,
    profile_iterations), for the card.
    """
    training = json.loads((run / "training.json").read_text())
    if folder.exists():
        shutil.rmtree(folder)  # a file of an earlier model would be taken for this one's
    folder.mkdir(parents=True)
    for path in sorted(run.iterdir()):
        if not path.name.startswith("."):  # Snakemake marks a folder with a file
            shutil.copyfile(path, folder / path.name)
    with open(sets) as handle:
        held = list(csv.DictReader(handle, delimiter="\t"))
    missing = [row["set"] for row in held if row["sequences"] == "0"]
    with open(run / "history.csv") as handle:
        rows = [row for row in csv.DictReader(handle) if row["validation_loss"]]
    card = CARD.format(
        name=name,
        what=WHAT[training["settings"]["kind"]],
        parameters=_count(training["parameters"]),
        adapter=", those of the alignment adapter in float32" if "validation_tm_aligned" in training else "",
        data=_data(training),
        preset=preset,
        sets=_table([{"set": row["set"], "sequences": row["sequences"], "left out": row["left_out"]} for row in held]),
        missing=MISSING.format(names=", ".join(missing)) if missing else "",
        **limits,
        device=training["device"],
        threads=training["threads"],
        settings=_table([{"setting": key, "value": value} for key, value in _flat(training["settings"])]),
        seconds=training["seconds"],
        curve=_table([_round(row) for row in rows[:: max(1, len(rows) // 10)]]),
        result=_result(training),
    )
    with whole_file(folder / "README.md") as temporary:
        temporary.write_text(card)
    files = sorted(path for path in folder.iterdir() if path.name not in ("SHA256SUMS", "README.md"))
    with whole_file(folder / "SHA256SUMS") as temporary:
        temporary.write_text("".join(f"{sha256(path)}  {path.name}\n" for path in files))


def _count(parameters) -> str:
    if isinstance(parameters, dict):
        return f"{parameters['total']:,} ({parameters['trainable']:,} trained here)"
    return f"{parameters:,}"


def _data(training) -> str:
    records = training["records"]
    what = {"sequence": "sequences", "alignment": "alignments", "folding": "PDB chains"}[training["settings"]["kind"]]
    return f"{records['train']:,} {what}; {records['validation']:,} more for validation"


def _result(training) -> str:
    if training["settings"]["kind"] == "folding":
        found = training["nearest_training_found"]
        lines = [
            f"On {training['records']['validation']} chains. Mean TM-score of random compact walks: "
            f"{training['random_walk_tm']:.3f}; of the nearest training chain's structure, copied where a search finds "
            f"one ({found} chains), 0 elsewhere: {training['nearest_training_tm']:.3f}.",
            "",
        ]
        rows = [
            {"folded from": what, "TM-score": f"{training[f'validation_tm{part}']:.3f}"}
            | {"lDDT-CA": f"{training[f'validation_lddt{part}']:.3f}"}
            for part, what in INPUTS.items()
            if f"validation_tm{part}" in training
        ]
        return "\n".join([*lines, _table(rows), ""])
    contacts = training["contacts"]
    precision = contacts["p_at_l_long"]
    unigram = training.get("unigram_perplexity")
    lines = [
        f"Perplexity on masked positions {training['validation_perplexity']:.2f}"
        + (f" (residue frequencies alone: {unigram:.2f})." if unigram else "."),
        f"Long-range P@L of the attention's contact head "
        f"{'undefined, all pairs score alike,' if precision is None else format(precision, '.3f')} on "
        f"{contacts['validation_chains']} chains (logistic regression fitted on {contacts['regression_chains']}).",
    ]
    return "\n".join(lines)


def _flat(settings: dict, prefix: str = ""):
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            for number, item in enumerate(value, start=1):
                yield f"{prefix}{key} {number}", ", ".join(f"{part} {figure}" for part, figure in item.items())
        else:
            yield f"{prefix}{key}", value


def _round(row: dict) -> dict:
    keep = ("step", "tokens", "loss", "validation_loss", "validation_perplexity", "validation_tm", "validation_lddt")
    return {k: row[k] if k in ("step", "tokens") or not row[k] else f"{float(row[k]):.3f}" for k in keep if k in row}


def _table(rows: list[dict]) -> str:
    header = list(rows[0])
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(str(row[key]) for key in header) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)
