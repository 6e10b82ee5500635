"""What the embedded models learn from: Swiss-Prot sequences, PDB stretches and alignments, none near a hold-out."""

import logging
import random
import tempfile
from pathlib import Path

import h5py
import numpy as np

from hardfold import mmseqs, registry
from hardfold.alignment import choose_rows, read_a3m
from hardfold.hdf5 import whole_hdf5
from hardfold.structure.chain import Chain, load_chains
from hardfold.tables import write
from hardfold.tools import write_fasta


def select_data(
    packages: Path,
    holdouts: list[Path],
    output: Path,
    audit: Path,
    *,
    lengths: tuple[int, int],
    validation_sequences: int,
    validation_chains: int,
    max_evalue: float,
    min_identity: float,
    seed: int,
    threads: int,
) -> None:
    """Write the sequences and stretches to learn from, and the table of those left out and why.

    holdouts: HDF5 files of chains (`hardfold.structure.chain.save_chains`) that nothing here may resemble. Left out is
    every Swiss-Prot sequence and PDB stretch with an MMseqs2 hit (-s 7.5) to a hold-out or a validation record, of
    e-value <= `max_evalue` at any identity, or of at least `min_identity` over half of the shorter sequence.
    Output: groups train, validation and validation_homologues (left out for the validation records' sake alone), each
    with residues (all sequences end to end, ASCII), lengths (n,) and chains/<id> (sequence, coordinates (L, 4, 3)
    angstrom: N CA C O).
    """
    files = registry.download_packages(packages)
    swissprot = registry.read_swissprot(
        registry.extract_debian(files["metastudent-data"], registry.SWISSPROT_FOLDER, packages / "unpacked")
    )
    database = registry.StructureDatabase(
        registry.extract_debian(files["promod3-data"], registry.PROMOD3_DATABASE, packages / "unpacked")
    )
    indices = {
        database.identity(index): index
        for index in range(len(database))
        if lengths[0] <= database.length(index) <= lengths[1]
    }
    stretches = {name: database[index] for name, index in sorted(indices.items())}

    held = {name: chain.sequence for path in holdouts for name, chain in load_chains(path).items()}
    draw = random.Random(seed)
    validation = {f"sequence:{name}" for name in draw.sample(sorted(swissprot), validation_sequences)}
    validation |= {f"chain:{name}" for name in draw.sample(sorted(stretches), validation_chains)}
    pool = {f"sequence:{name}": sequence for name, sequence in swissprot.items()}
    pool |= {f"chain:{name}": stretch.sequence for name, stretch in stretches.items()}

    logging.info("searching %d hold-outs and %d validation records in %d", len(held), len(validation), len(pool))
    queries = {f"holdout:{name}": sequence for name, sequence in held.items()} | {
        name: pool[name] for name in validation
    }
    near_holdout, near_validation, rows = set(), set(), []
    hits = mmseqs.search(queries, pool, "-e", 10, "--max-seqs", 10000, threads=threads)
    near = (hits["evalue"] <= max_evalue) | ((hits["identity"] >= min_identity) & (hits["coverage"] >= 0.5))
    columns = ["query", "subject", "identity", "coverage", "evalue"]
    for query, subject, identity, coverage, evalue in hits.loc[near, columns].itertuples(index=False):
        # A validation record may resemble another one, never a hold-out or a training record.
        if query == subject or (query in validation and subject in validation):
            continue
        (near_validation if query in validation else near_holdout).add(subject)
        rows.append({"record": subject, "near": query, "identity": identity, "coverage": coverage, "evalue": evalue})
    write(audit, rows, ["record", "near", "identity", "coverage", "evalue"])

    groups = {
        "train": set(pool) - validation - near_holdout - near_validation,
        "validation": validation - near_holdout,
        "validation_homologues": near_validation - near_holdout - validation,
    }
    with whole_hdf5(output) as store:
        for group, members in groups.items():
            names = sorted(name.removeprefix("sequence:") for name in members if name.startswith("sequence:"))
            # One byte array and lengths: HDF5 does not compress strings of variable length.
            residues = np.frombuffer("".join(swissprot[name] for name in names).encode(), np.uint8)
            store.create_dataset(f"{group}/residues", data=residues, compression="gzip")
            store[f"{group}/lengths"] = np.array([len(swissprot[name]) for name in names], np.int32)
            chains = sorted(name.removeprefix("chain:") for name in members if name.startswith("chain:"))
            for name in chains:
                record = store.create_group(f"{group}/chains/{name}")
                record["sequence"] = stretches[name].sequence
                record["coordinates"] = stretches[name].coordinates
            logging.info("%s: %d sequences, %d chains", group, len(names), len(chains))


def build_alignments(data: Path, output: Path, *, chains: int, rows: int, seed: int, threads: int) -> None:
    """Align (MMseqs2 -s 5.7) `chains` training chains of `select_data`'s file and all validation chains.

    Training chains are aligned to the training sequences, validation chains to their own homologues. Output: groups
    train and validation, each <id> (N, L) uint8 ASCII match columns, the query first, N <= `rows`, by diversity.
    """
    with whole_hdf5(output) as store:
        for group, pool in (("train", "train"), ("validation", "validation_homologues")):
            stretches = load_stretches(data, group)
            chosen = sorted(random.Random(seed).sample(sorted(stretches), min(chains, len(stretches))))
            queries = {name: stretches[name].sequence for name in chosen}
            with tempfile.TemporaryDirectory() as folder:
                work = Path(folder)
                sequences = {str(index): sequence for index, sequence in enumerate(load_sequences(data, pool))}
                write_fasta(work / "pool.fasta", sequences)
                options = ["-s", 5.7, "-e", 1e-3, "--max-seqs", 500]
                for name, path in mmseqs.align(queries, work / "pool.fasta", work, *options, threads=threads):
                    alignment = read_a3m(path, queries[name])
                    store[f"{group}/{name}"] = alignment.rows[choose_rows(alignment.rows, rows)]


def load_stretches(data: Path, group: str) -> dict[str, Chain]:
    """Chain id -> chain of one group of `select_data`'s file; CB atoms are built, the source has none."""
    chains = {}
    with h5py.File(data) as store:
        for name, record in store[f"{group}/chains"].items():
            sequence, backbone = record["sequence"][()].decode(), record["coordinates"][:]
            coordinates = np.concatenate([backbone, np.full_like(backbone[:, :1], np.nan)], axis=1)
            chains[name] = Chain.from_atoms(name, sequence, coordinates)
    return chains


def load_sequences(data: Path, group: str) -> list[str]:
    """The sequences of one group of `select_data`'s file."""
    with h5py.File(data) as store:
        residues, lengths = store[f"{group}/residues"][:].tobytes().decode(), store[f"{group}/lengths"][:]
    ends = np.cumsum(lengths)
    return [residues[end - length : end] for end, length in zip(ends, lengths, strict=True)]
