"""What the embedded models learn from: Swiss-Prot sequences, PDB stretches and alignments, none near a hold-out."""

import gzip
import logging
import random
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from Bio import SeqIO

from hardfold import mmseqs, registry, tables
from hardfold.alignment import choose_rows, read_a3m
from hardfold.couplings import couplings, standardised
from hardfold.pretraining.packing import (
    load_sequences,
    load_stretches,
    save_alignments,
    save_sequences,
    save_stretches,
)
from hardfold.structure.chain import load_chains
from hardfold.structure.parse import Entry
from hardfold.tools import write_fasta

AUDIT = ["record", "set", "near", "identity", "coverage", "evalue", "why"]
SETS = ["set", "sequences", "left_out"]
HOLDOUTS, VALIDATION = "embedded hold-outs", "validation"
_STRUCTURES = (".cif", ".mmcif", ".pdb", ".ent")


def read_packages(packages: Path) -> tuple[dict[str, str], registry.StructureDatabase]:
    """Swiss-Prot's sequences by accession and the PDB stretches, out of Debian packages downloaded once."""
    registry.require_programs()
    files, folder = registry.download_packages(packages), packages / "unpacked"
    swissprot = registry.extract_debian(files["metastudent-data"], registry.SWISSPROT_FOLDER, folder)
    stretches = registry.extract_debian(files["promod3-data"], registry.PROMOD3_DATABASE, folder)
    return registry.read_swissprot(swissprot), registry.StructureDatabase(stretches)


def read_excluded(sources: Iterable[str]) -> dict[str, str]:
    """Id -> sequence of what must not be learnt: FASTA files (also .gz), and folders of them and of structures.

    Ids are `<path of the file>_<record>`; a structure gives each of its protein chains. The log names what else a
    folder holds. Raises ValueError where a source holds nothing, or an id twice with two sequences, and StructureError
    for a file that cannot be read.
    """
    sequences = {}
    for source in map(Path, sources):
        files = sorted(source.iterdir()) if source.is_dir() else [source]
        read, passed_over = [], []
        for file in files:
            kind = Path(file.name.lower().removesuffix(".gz")).suffix
            if kind in _STRUCTURES:
                entry = Entry(file)
                read += [(f"{file}_{name}", entry.chain(name).sequence) for name in entry.chains]
            elif kind in (".fasta", ".fa", ".faa") or not source.is_dir():
                with gzip.open(file, "rt") if file.suffix == ".gz" else open(file) as handle:
                    read += [(f"{file}_{record.id}", str(record.seq)) for record in SeqIO.parse(handle, "fasta")]
            else:
                passed_over.append(file.name)
        if not read:
            raise ValueError(f"pretraining.exclude: {source} holds neither FASTA records nor structures")
        if passed_over:
            logging.warning("%s: neither FASTA nor structures: %s", source, ", ".join(passed_over))
        for id, sequence in read:
            if sequences.setdefault(id, sequence) != sequence:
                raise ValueError(f"pretraining.exclude: {id} is there twice, with two sequences")
    return sequences


def select_data(
    swissprot: Mapping[str, str],
    stretches: Mapping[str, registry.Stretch],
    held: Mapping[str, Mapping[str, str]],
    folder: Path,
    audit: Path,
    sets: Path,
    *,
    validation_sequences: int,
    validation_chains: int,
    cluster_identity: float,
    max_evalue: float,
    min_identity: float,
    profile_iterations: int,
    seed: int,
    threads: int,
) -> None:
    """Pack the sequences and stretches to learn from into `folder`; write the tables of what was left out and for what.

    held: name of a set -> id -> sequence that nothing here may resemble; a set without sequences is one that nothing
    is left out for, and both tables say so. Validation records are drawn one from a cluster. Left out is every record
    with an MMseqs2 hit (-s 7.5) to a held or a validation record, of e-value <= `max_evalue` at any identity, by
    sequence or by a profile of so many iterations, or of at least `min_identity` over half of the shorter one. Groups:
    train, validation and validation_homologues (left out for the validation records' sake alone).
    """
    clusters = mmseqs.cluster(
        swissprot, program="easy-linclust", identity=cluster_identity, coverage=0.8, threads=threads
    )
    numbers = dict(zip(clusters.index, pd.factorize(clusters, sort=True)[0].tolist(), strict=True))
    draw = random.Random(seed)
    validation = {f"sequence:{name}" for name in _one_a_cluster(clusters, validation_sequences, draw)}
    validation |= {f"chain:{name}" for name in draw.sample(sorted(stretches), validation_chains)}
    pool = {f"sequence:{name}": sequence for name, sequence in swissprot.items()}
    pool |= {f"chain:{name}": stretch.sequence for name, stretch in stretches.items()}

    # Numbers for names: what users call a sequence need not be one word.
    members = [(name, id, sequence) for name, given in held.items() for id, sequence in given.items()]
    queries = {f"held:{number}": sequence for number, (_, _, sequence) in enumerate(members)}
    origin = {f"held:{number}": (name, id) for number, (name, id, _) in enumerate(members)}
    queries |= {name: pool[name] for name in validation}
    logging.info("searching %d held and validation records in %d", len(queries), len(pool))
    hits = find_near(queries, pool, max_evalue, min_identity, profile_iterations, threads)
    known = [origin.get(query, (VALIDATION, query)) for query in hits["query"]]
    hits[["set", "near"]] = pd.DataFrame(known, hits.index, ["set", "near"], dtype=str)
    # A validation record may resemble another one, never a held or a training record.
    hits = hits[(hits["set"] != VALIDATION) | ~hits["subject"].isin(validation)]
    rows = hits.rename(columns={"subject": "record"}).sort_values(["record", "set", "near"])
    missing = pd.DataFrame({"set": [name for name, given in held.items() if not given]}, dtype=str)
    missing["why"] = "NOT EXCLUDED: no sequences were given"
    for name in missing["set"]:
        logging.warning("%s: no sequences were given (pretraining.exclude): what is near them is learnt from", name)
    table = pd.concat([missing, rows]).reindex(columns=AUDIT)
    tables.write(audit, table, AUDIT)
    near = rows.groupby("set")["record"].agg(set).to_dict()
    sizes = {name: len(given) for name, given in held.items()} | {VALIDATION: len(validation)}
    counted = [{"set": name, "sequences": size, "left_out": len(near.get(name, ()))} for name, size in sizes.items()]
    tables.write(sets, counted, SETS)

    near_validation = near.pop(VALIDATION, set())
    near_held = set().union(*near.values())
    groups = {
        "train": set(pool) - validation - near_held - near_validation,
        "validation": validation - near_held,
        "validation_homologues": near_validation - near_held - validation,
    }
    for group, records in groups.items():
        parts = [name.partition(":")[::2] for name in records]
        names = {kind: {name for of, name in parts if of == kind} for kind in ("sequence", "chain")}
        save_sequences(folder, group, {name: swissprot[name] for name in names["sequence"]}, numbers)
        save_stretches(folder, group, {name: stretches[name] for name in names["chain"]})
        logging.info("%s: %d sequences, %d chains", group, len(names["sequence"]), len(names["chain"]))


def find_near(queries, pool, max_evalue: float, min_identity: float, profile_iterations: int, threads: int):
    """The hits that count as near, a row a pair, with the column why: see `select_data`."""
    everything = ["--max-seqs", 100000, "--mask", 0]
    found = mmseqs.search(queries, pool, "-e", 10, *everything, threads=threads)
    by_evalue = found["evalue"] <= max_evalue
    by_identity = (found["identity"] >= min_identity) & (found["coverage"] >= 0.5)
    found["why"] = by_evalue.map({True: f"e-value <= {max_evalue:g}", False: f"identity >= {min_identity:g}"})
    options = ["-e", max_evalue, "--e-profile", max_evalue, "--num-iterations", profile_iterations]
    by_profile = mmseqs.search(queries, pool, *options, *everything, threads=threads)
    by_profile["why"] = f"profile e-value <= {max_evalue:g}"
    both = pd.concat([found[by_evalue | by_identity], by_profile])
    columns = ["query", "subject", "identity", "coverage", "evalue", "why"]
    return both.loc[both["query"] != both["subject"], columns].drop_duplicates(["query", "subject"])


def choose(
    swissprot: Mapping[str, str],
    database: registry.StructureDatabase,
    *,
    lengths: tuple[int, int],
    max_sequences: int,
    max_chains: int,
    seed: int,
) -> tuple[dict[str, str], dict[str, registry.Stretch]]:
    """The sequences, and the stretches of these `lengths`, that a preset starts from: all, or a draw of so many."""
    indices = {
        database.identity(index): index
        for index in range(len(database))
        if lengths[0] <= database.length(index) <= lengths[1]
    }
    draw = random.Random(seed)
    sequences, chains = _at_most(swissprot, max_sequences, draw), _at_most(indices, max_chains, draw)
    return {name: swissprot[name] for name in sequences}, {name: database[indices[name]] for name in chains}


def read_holdouts(paths: Iterable[Path], exclude: Mapping[str, list[str]]) -> dict[str, dict[str, str]]:
    """`held` of `select_data`: the chains and targets of the run (HDF5 files) and the sets of pretraining.exclude."""
    embedded = {name: chain.sequence for path in paths for name, chain in load_chains(path).items()}
    return {HOLDOUTS: embedded, **{name: read_excluded(sources) for name, sources in exclude.items()}}


def build_alignments(data: Path, output: Path, *, chains: int, rows: int, seed: int, threads: int) -> None:
    """Align (MMseqs2 -s 5.7) `chains` training chains of `select_data`'s folder and all validation chains.

    Training chains are aligned to the training sequences, validation chains to their own homologues; packed into
    `output`, groups train and validation, at most `rows` rows each, by diversity, with the couplings of all.
    """
    for group, pool in (("train", "train"), ("validation", "validation_homologues")):
        stretches = load_stretches(data, group)
        chosen = _at_most(stretches, chains, random.Random(seed))
        queries = {name: stretches[name].sequence for name in sorted(chosen)}
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            sequences = {str(index): sequence for index, sequence in enumerate(load_sequences(data, pool)[0])}
            write_fasta(work / "pool.fasta", sequences)
            options = ["-s", 5.7, "-e", 1e-3, "--max-seqs", 500]
            found = mmseqs.align(queries, work / "pool.fasta", work, *options, threads=threads)
            alignments = ((name, read_a3m(path, queries[name]).rows) for name, path in found)
            records = (
                (name, every[choose_rows(every, rows)], standardised(couplings(every))) for name, every in alignments
            )
            save_alignments(output, group, records)


def _at_most(names, count, draw):
    """The names, sorted, or a draw of `count` of them; 0 means all."""
    names = sorted(names)
    return draw.sample(names, count) if 0 < count < len(names) else names


def _one_a_cluster(clusters: pd.Series, count, draw):
    """A member of each of `count` clusters, both drawn."""
    members = clusters.sort_index().groupby(clusters).agg(lambda names: list(names.index))
    return [draw.choice(members[name]) for name in draw.sample(sorted(members.index), count)]
