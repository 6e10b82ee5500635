"""TEST DATA: a results folder in the shape of the contract, every value made up. Never a measurement."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import yaml

from hardfold.arms import TEST_TIME, finetuning_runs, prediction_runs
from hardfold.comparison import compare
from hardfold.config import pretrained_models, resolve_experiments
from hardfold.contact.keys import BASELINES
from hardfold.contact.score import METRICS
from hardfold.structure.chain import Chain
from hardfold.structure.write import write_mmcif

ROOT = Path(__file__).parents[3]
CLASSES = ["deep", "hard"]
# What each arm adds to the baseline's TM-score.
GAINS = {
    "baseline_alignment": 0.015,
    "disjoint": 0.01,
    "disjoint_alignment": 0.02,
    "leave_one_out": 0.012,
    "test_time": 0.001,
    "test_time_oracle": 0.02,
    "memorisation": 0.12,
    "control_shuffled_labels": -0.01,
    "control_swapped_alignment": 0.0,
    "nearest_training": 0.03,
}


def write_results(root: Path, targets: int = 14, chains: int = 40, arms=None, seeds=None) -> Path:
    """Write the whole folder below `root`; returns it. arms, seeds: instead of those of the default configuration."""
    random = np.random.default_rng(7)
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text()) | {"pretraining": {}}
    config["scoring"]["bootstrap"] = 200
    config["folding"]["arms"] = arms or config["folding"]["arms"]
    config["folding"]["seeds"] = seeds or config["folding"]["seeds"]
    write_json(root / "provenance.json", provenance(config))
    write_data(root, random, targets, chains)
    write_experiments(root, random, config)
    write_folding(root, random, config, targets)
    for name in pretrained_models(config):
        weights = {"name": name, "source": f"resources/models/{name}", "files": {f"{name}.pt": "ab" * 32}}
        write_json(root / "weights" / name / "weights.json", weights)
    return root


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


def write_table(path: Path, rows, separator: str = "\t") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, sep=separator, index=False, float_format="%.6g")


def provenance(config: dict) -> dict:
    return {
        "written": "2001-01-01T00:00:00+00:00",
        "host": {"name": "test-host", "system": "Test OS", "processors": 2, "python": "3.11.0"},
        "commit": None,
        "modified": None,
        "packages": {"numpy": "2.0.0", "absent-package": None},
        "tools": {"hhblits": "3.3.0", "mmseqs": None},
        "inputs": {"resources/demo/chains.tsv": "cd" * 32},
        "config": config,
    }


def names(targets: int, chains: int) -> tuple[list[str], list[str]]:
    return [f"2t{i:02d}_A" for i in range(targets)], [f"1c{i:02d}_A" for i in range(chains)]


def write_data(root, random, targets, chains):
    target_names, chain_names = names(targets, chains)
    everything = chain_names + target_names
    dropped = {chain_names[0]: "fewer than 30 residues", chain_names[1]: "fewer than 30 residues"}
    qc = [
        {
            "chain": name,
            "label_chain": "A",
            "source": "mirror/x.cif.gz",
            "status": "dropped" if name in dropped else "kept",
            "reason": dropped.get(name, ""),
            "length": 60 + index,
            "resolved": 58 + index,
            "method": "",
            "resolution": None,
            "release_date": "",
            "checks_not_possible": "resolution,method,release_date",
        }
        for index, name in enumerate(everything)
    ]
    write_table(root / "structures/qc.tsv", qc)
    kept = [name for name in everything if name not in dropped]
    alignments = [
        {
            "chain": name,
            "tool": "hhblits",
            "database": "pool",
            "rows": (rows := int(10 ** random.uniform(0, 2.5))),
            "neff": max(1.0, rows * 0.4),
            "status": "found" if rows > 1 else "single",
            "reason": "",
            "seconds": 1.5,
            "cached": "no",
        }
        for name in kept
    ]
    write_table(root / "alignments/summary.tsv", alignments)
    splits = ["train"] * 5 + ["validation"] + ["test"] * 2
    assignment = [
        {"chain": name, "cluster": name, "split": "target" if name in target_names else splits[index % len(splits)]}
        for index, name in enumerate(kept)
    ]
    assignment[0]["split"] = "dropped"
    write_table(root / "splits/assignment.tsv", assignment)
    audit = []
    for row in assignment:
        if row["split"] in ("train", "dropped"):
            continue
        hit = random.random() < 0.5
        identity = random.uniform(0.18, 0.45)
        left = hit and identity < 0.3
        audit.append(
            {
                "chain": row["chain"],
                "split": row["split"],
                "nearest_training": "1c03_A" if hit else "",
                "identity": identity if hit else None,
                "coverage": 0.7 if hit else None,
                "evalue": 0.01 if hit else None,
                "dropped_for_it": "" if left or not hit else "1c02_A",
                "nearest_kept": "1c04_A" if left else "",
                "identity_kept": identity if left else None,
                "band": "20-30" if left else "none",
                "same_entry": "no",
                "release_date": "",
                "date_barrier": "unknown",
            }
        )
    write_table(root / "splits/audit.tsv", audit)


def write_experiments(root, random, config):
    proteins = {"test": ["1c06_A", "1c07_A", "1c14_A"], "target": ["2t00_A", "2t01_A", "2t02_A", "2t03_A"]}
    experiments = resolve_experiments(config)
    rows = {split: [] for split in proteins}
    for number, name in enumerate([*experiments, *BASELINES]):
        folder = root / "experiments" / name
        options = experiments.get(name, {"use_distance": False, "use_angle": False})
        if name in experiments:
            write_training(folder, name, number, options)
            write_predictions(folder / "predictions.h5", random, proteins, options)
        content = {"experiment": name, "threshold": 0.25}
        for split, chains in proteins.items():
            content[split] = section(random, number, chains, options)
            row = {"experiment": name}
            for key, entry in content[split]["metrics"].items():
                row |= {key: entry["value"], f"{key}_low": entry["low"], f"{key}_high": entry["high"]}
            rows[split].append(row | {"proteins": len(chains)})
        write_json(folder / "metrics.json", content)
    write_table(root / "experiments/summary.tsv", rows["test"])
    write_table(root / "experiments/targets.tsv", rows["target"])
    write_table(root / "experiments/comparisons.tsv", comparison_rows(random, list(experiments)))
    write_table(root / "experiments/bands.tsv", band_rows(random, [*experiments, *BASELINES]))
    write_test_set(root / "dataset/test.h5", random, proteins["test"])


def write_training(folder, name, number, options):
    epochs = np.arange(1, 13)
    loss = 0.9 * np.exp(-epochs / 6) + 0.3 + 0.02 * number
    history = {
        "epoch": epochs,
        "learning_rate": 0.001 * (1 - epochs / 13),
        "train_loss": loss,
        "train_contact": loss,
        "train_distance": loss / 2 if options["use_distance"] else None,
        "train_angle": loss / 3 if options["use_angle"] else None,
        "validation_loss": loss + 0.01 * epochs,
        "validation_contact": loss + 0.01 * epochs,
        "validation_distance": loss if options["use_distance"] else None,
        "validation_angle": loss if options["use_angle"] else None,
        "validation_roc_auc": 0.5 + 0.02 * epochs + 0.001 * number,
    }
    write_table(folder / "history.csv", history, ",")
    write_json(folder / "config.json", options)
    training = {
        "experiment": name,
        "seconds": 61.2 + number,
        "epochs": 12,
        "steps": 96,
        "best_epoch": 9,
        "peak_memory_mb": 612.5,
        "residues_per_second": 5100.0,
        "parameters": {"trainable": 301_000 + number, "total": 2_301_000},
        "weights": {},
        "checkpoint_chains": None,
        "loaded_keys": {},
    }
    write_json(folder / "training.json", training)


def write_predictions(path, random, proteins, options):
    with h5py.File(path, "w") as file:
        for split, chains in proteins.items():
            for chain in chains:
                file.create_group(chain).attrs["split"] = split
                file[f"{chain}/contact_probability"] = contact_map(64).astype(np.float16) * 0.7
                if options["use_angle"]:
                    file[f"{chain}/angles"] = random.normal([-1.2, 1.0], 0.5, (64, 2)).astype(np.float32)


def write_test_set(path, random, proteins):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for chain in proteins:
            native = contact_map(64).astype(np.uint8)
            native[:3] = native[:, :3] = 255
            file[f"chains/{chain}/contact_map"] = native
            angles = random.normal([-1.1, -0.7], 0.2, (64, 2)).astype(np.float32)
            angles[[0, -1]] = np.nan
            file[f"chains/{chain}/angle_map"] = angles


def section(random, number, chains, options) -> dict:
    """One split's part of metrics.json; each experiment has its own values."""
    value = {key: 0.05 + random.uniform(0, 0.03) for key in METRICS} | {"threshold": 0.25, "base_rate": 0.03}
    value |= {"roc_auc": 0.7 + 0.01 * number, "distance_mae": 5.2, "angle_mae": 41.0}
    unknown = {f"{task}_mae" for task in ("distance", "angle") if not options[f"use_{task}"]}
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    metrics = {
        key: nothing if key in unknown else {"value": x, "low": 0.8 * x, "high": 1.2 * x, "n": len(chains)}
        for key, x in value.items()
    }
    metrics["precision_0.5"]["n"] = len(chains) - 1
    grid, predicted, centres = np.linspace(0, 1, 50), np.linspace(0.05, 0.95, 10), np.arange(3, 40, 2)
    known = np.where(centres > 3, 1.0, np.nan)
    errors = {"mae": known * (2 + 0.01 * (centres - 9) ** 2), "bias": known * (9 - centres) / 4}
    return {
        "proteins": len(chains),
        "pairs_unseen": 0,
        "metrics": metrics,
        "by_protein": [
            {"chain": chain, "length": 64, "pairs": 1600, "pairs_unseen": 0, "roc_auc": 0.7}
            | {"p_at_l_long": 0.02 + 0.03 * index + 0.001 * number}
            for index, chain in enumerate(chains)
        ],
        "curves": {
            "roc": {"fpr": grid.tolist(), "tpr": (grid ** (0.8 - 0.02 * number)).tolist()},
            "pr": {"recall": grid.tolist(), "precision": (0.03 + 0.3 * np.exp(-(4 + number) * grid)).tolist()},
        },
        "reliability": {
            "predicted": predicted.tolist(),
            "observed": (predicted**1.3).tolist(),
            "count": (10 ** (5 - 4 * predicted)).astype(int).tolist(),
        },
        "distance_error": {
            "true": centres.tolist(),
            **{key: [None if np.isnan(x) else x for x in values] for key, values in errors.items()},
            "count": np.where(centres > 3, 100 * centres, 0).tolist(),
        }
        if options["use_distance"]
        else None,
    }


def comparison_rows(random, experiments) -> list[dict]:
    pairs = [
        ("alignment", "exp2", "exp1", 0.05),
        ("auxiliary_tasks", "exp3", "exp2", -0.05),
        ("auxiliary_tasks", "exp4", "exp2", 0.0),
        ("losses", "exp4", "exp3", 0.0),
        ("losses", "exp5", "exp3", 0.0),
        ("couplings", "exp7", "exp5", 0.02),
        *(("baseline", one, baseline, 0.04) for one in experiments for baseline in BASELINES),
    ]
    rows = []
    for question, first, second, difference in pairs:
        for split, proteins in (("test", 3), ("target", 4), ("held_out", 7)):
            for metric in ("roc_auc", "pr_auc", "p_at_l_long"):
                shift = difference + random.uniform(0, 0.002)
                p = 0.004 if difference else 0.7
                row = {"question": question, "first": first, "second": second, "split": split, "metric": metric}
                row |= {"proteins": proteins, "clusters": proteins - 1}
                row |= {"first_value": 0.1 + shift, "second_value": 0.1, "difference": shift}
                row |= {"low": shift - 0.011, "high": shift + 0.012, "p": p, "p_least": 0.004}
                rows.append(row | {"p_holm": None if question == "baseline" else min(1, 5 * p)})
    return rows


def band_rows(random, names) -> list[dict]:
    rows = []
    for name in names:
        for split in ("test", "target", "held_out"):
            for by, bands in (("neff", ["<10", "10-30", ">=100"]), ("identity", ["none", "20-30"])):
                for size, band in enumerate(bands, start=2):
                    row = {"experiment": name, "split": split, "by": by, "band": band, "proteins": size}
                    for metric in ("roc_auc", "pr_auc", "p_at_l_long"):
                        value = random.uniform(0.05, 0.1)
                        row |= {metric: value, f"{metric}_low": 0.7 * value, f"{metric}_high": 1.3 * value}
                    rows.append(row)
    return rows


def contact_map(length: int) -> np.ndarray:
    """A hairpin-like pattern: a band by the diagonal and one antiparallel stripe."""
    i, j = np.indices((length, length))
    return ((np.abs(i - j) < 4) | (np.abs(i + j - length) < 3)).astype(float)


def write_folding(root, random, config, targets):
    target_names, _ = names(targets, 0)
    classes = {name: CLASSES[index % 2] for index, name in enumerate(target_names)}
    runs = prediction_runs(config["folding"])[1:]
    baseline = {name: 0.2 + random.uniform(-0.05, 0.15) for name in target_names}
    shift = {(arm, name, seed): GAINS[arm] + random.normal(0, 0.02) for arm, seed in runs for name in target_names}
    scores = []
    for name in target_names:
        changes = [("baseline", 0, 0.0), ("random_walk", 0, 0.17 - baseline[name])]
        changes += [(arm, seed, shift[arm, name, seed]) for arm, seed in runs]
        for arm, seed, change in changes:
            tm = baseline[name] + change
            scores.append(
                {
                    "target": name,
                    "unit": "chain",
                    "class": classes[name],
                    "arm": arm,
                    "seed": seed,
                    "residues": 70,
                    "tm": tm,
                    "gdt_ts": tm + 0.03,
                    "lddt": tm + 0.05,
                    "rmsd": 11.0,
                    "plddt": None if arm in {"random_walk", "nearest_training"} else 100 * tm + 12,
                    "neff": 1.0 if classes[name] == "hard" else 55.5,
                    "nearest_training_identity": None,
                    "in_baseline_training_period": "",
                }
            )
    write_table(root / "folding/scores.tsv", scores)
    settings = {"samples": config["scoring"]["bootstrap"], "seed": config["seed"]}
    write_json(root / "folding/comparison.json", compare(pd.DataFrame(scores), config["primary"], **settings))
    for arm, seed in prediction_runs(config["folding"]):
        known = arm != "nearest_training"
        write_residues(root / f"folding/{arm}/seed{seed}/residues.tsv", random, target_names, known)
    for arm, seed in finetuning_runs(config["folding"]):
        write_tuning(root / f"folding/{arm}/seed{seed}", arm, seed)
    write_structures(root, random, config, target_names)
    if TEST_TIME in config["folding"]["arms"]:
        write_test_time(root, random, config, target_names, baseline)


def write_structures(root, random, config, target_names):
    """Natives, and models of the baseline and the primary arm: chains of chance, 40 residues of 3.8 angstrom steps."""
    for name in target_names:
        native = np.cumsum(3.8 / 3**0.5 * random.choice([-1.0, 1.0], (40, 3)), axis=0)
        runs = [("baseline", 0), *((config["primary"]["arm"], seed) for seed in config["folding"]["seeds"])]
        paths = [root / f"folding/{arm}/seed{seed}/{name}.cif" for arm, seed in runs]
        for path in [root / f"targets/{name}.cif", *paths]:
            atoms = native[:, None] + random.normal(0, 2.0, (40, 5, 3))
            write_mmcif(Chain.from_atoms(name, "A" * 40, atoms), path)


def write_residues(path, random, target_names, known):
    rows = {"target": np.repeat(target_names, 40), "position": np.tile(np.arange(1, 41), len(target_names))}
    count = len(rows["target"])
    rows |= {"error": abs(random.normal(6, 3, count)), "lddt": random.uniform(0.2, 0.6, count)}
    write_table(path, rows | {"plddt": random.uniform(20, 70, count) if known else None})


def write_test_time(root, random, config, target_names, baseline):
    settings = config["folding"]["test_time"]
    for seed in config["folding"]["seeds"]:
        record = {"arm": "test_time", "seed": seed, "trainable_parameters": 999, "total_parameters": 3_210_999}
        record |= {"adapted_modules": ["esm.encoder.layer.0.intermediate.dense"], "targets": len(target_names)}
        record |= {"steps": settings["steps"], "learning_rate": settings["learning_rate"], "peak_memory_mb": 777.0}
        record |= {"step0_max_difference": 0.0, "seconds": 61.0 + seed}
        write_json(root / f"folding/test_time/seed{seed}/adaptation.json", record)
        rows = []
        for name in target_names:
            steps = range(0, settings["steps"] + 1, settings["every"])
            tm = [baseline[name] + random.normal(0, 0.01) * bool(step) for step in steps]
            for step, score in zip(steps, tm, strict=True):
                row = {"target": name, "step": step, "file": f"steps/{step}/{name}.cif", "residues": 40}
                row |= {"loss": 2.8 - 0.01 * step if step else None, "perplexity": 17 - 0.1 * step}
                row |= {"plddt": 40 + step / 10, "chosen": "yes" if step == steps[-1] else "no", "tm": score}
                rows.append(row | {"best": "yes" if score == max(tm) else "no"})
        write_table(root / f"folding/test_time_oracle/seed{seed}/steps.tsv", rows)


def write_tuning(folder, arm, seed):
    steps = np.arange(0, 61)
    loss = 1.9 - (0.005 if arm == "disjoint" else 0.009) * steps + 0.02 * np.sin(steps * seed)
    history = {
        "step": steps,
        "learning_rate": 0.0005,
        "loss": loss,
        "fape": loss * 0.5,
        "confidence": loss * 1.6,
        "contact": loss * 1.2,
        "gradient_norm": 0.8,
    }
    evaluated = steps % 15 == 0
    for name, scale in (("loss", 1.1), ("fape", 0.55), ("confidence", 1.8), ("contact", 1.3)):
        history[f"validation_{name}"] = np.where(evaluated, loss * scale, np.nan)
    history["validation_tm"] = np.where(evaluated, 0.2 + 0.0002 * seed * steps, np.nan)
    history["validation_lddt"] = np.where(evaluated, 0.25 + 0.0003 * steps, np.nan)
    table = pd.DataFrame(history)
    table.loc[0, ["learning_rate", "loss", "fape", "confidence", "contact", "gradient_norm"]] = None
    write_table(folder / "history.csv", table, ",")
    training = {
        "arm": arm,
        "seed": seed,
        "steps": 60,
        "kept_step": 60,
        "learning_rate": 0.0005,
        "trainable_parameters": 54_321,
        "total_parameters": 3_210_000,
        "trained": {
            f"trunk.blocks.{block}.mlp.{layer}.lora_{part}.weight": 6790
            for block in (2, 3)
            for layer in (1, 3)
            for part in "AB"
        }
        | {"lddt_head.3.weight": 1},
        "loaded_keys": {"loaded": 531, "missing": [], "unexpected": ["esm.old"]},
        "adapted_modules": ["trunk.blocks.0.mlp.1", "trunk.blocks.0.mlp.3"],
        "seconds": 93.4 + seed,
        "peak_memory_mb": 1432.1,
        "tokens_per_second": 812.0,
        "chains": 24,
        "step0_max_difference": 0.0,
        "convergence": {"criterion": "validation loss changed by less than 1 %", "met": seed == 1, "value": 0.0123},
        "weights": {},
    }
    write_json(folder / "training.json", training)
