"""Regenerate resources/demo from registry packages: chains and targets as mmCIF, their tables and the search pool.

    .venv/bin/python resources/demo/build.py /tmp/packages

Needs apt-get, pip, dpkg-deb, mmseqs and blastdbcmd (Debian: mmseqs2, ncbi-blast+). About ten minutes on two cores.
"""

import csv
import gzip
import os
import random
import sys
from collections import defaultdict
from pathlib import Path

import gemmi

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "workflow/scripts"))

from hardfold import mmseqs, registry  # noqa: E402

SEED = 1
LENGTHS = range(44, 129)
CHAINS, DEEP_CHAINS = 99, 83  # chains for training, validation and test; how many of them have a deep alignment
TARGETS_A_CLASS = 16
HARD, DEEP = 8, 64  # homologues in the whole of Swiss-Prot: fewer than HARD, at least DEEP
HOMOLOGUES_A_CHAIN, LONGEST_HOMOLOGUE, DECOYS = 80, 260, 200
FLANK = 20  # residues kept on either side of the aligned part of a longer homologue
ONE_TO_THREE = {
    gemmi.find_tabulated_residue(name).one_letter_code: name
    for name in gemmi.expand_one_letter_sequence("ACDEFGHIKLMNPQRSTVWY", gemmi.ResidueKind.AA)
}


def candidates(database, full_sequences):
    """Chain id -> (stretch, full sequence, source of the sequence) for stretches that hold most of a short chain."""
    found = {}
    for index in range(len(database)):
        stretch = database[index]
        full = full_sequences.get(stretch.id)
        if len(stretch.sequence) not in LENGTHS or stretch.id in found:
            continue
        if full is None:
            found[stretch.id] = (stretch, stretch.sequence, "stretch")
        elif full.count(stretch.sequence) == 1 and len(full) in LENGTHS and len(stretch.sequence) >= 0.85 * len(full):
            found[stretch.id] = (stretch, full, "full")
    return found


def homologues(queries, swissprot, *options, sensitivity):
    """Query -> {Swiss-Prot accession: (start, end) of the part aligned} of those that cover at least half of it."""
    found = defaultdict(dict)
    hits = mmseqs.search(queries, swissprot, "-e", 1e-3, *options, threads=os.cpu_count(), sensitivity=sensitivity)
    for hit in hits[hits["query_coverage"] >= 0.5].itertuples():
        found[hit.query][hit.subject] = (hit.subject_start, hit.subject_end)
    return found


def pool_records(hits, swissprot, draw):
    """{name: sequence} for one chain: a sample of its short homologues, then the aligned parts of longer ones."""
    short = sorted(name for name in hits if len(swissprot[name]) <= LONGEST_HOMOLOGUE)
    records = {name: swissprot[name] for name in draw.sample(short, min(len(short), HOMOLOGUES_A_CHAIN))}
    longer = sorted(set(hits) - set(short))
    for name in draw.sample(longer, min(len(longer), HOMOLOGUES_A_CHAIN - len(records))):
        first, last = hits[name]
        start, end = max(1, first - FLANK), min(len(swissprot[name]), last + FLANK)
        records[f"{name}_{start}-{end}"] = swissprot[name][start - 1 : end]
    return records


def mmcif(stretch, full, source):
    """The stretch as an mmCIF file; what promod3-data does not hold is `?`."""
    structure = gemmi.Structure()
    structure.name = stretch.entry.upper()
    chain = gemmi.Chain(stretch.chain)
    start = full.index(stretch.sequence)
    for index, letter in enumerate(stretch.sequence):
        residue = gemmi.Residue()
        residue.name, residue.seqid = ONE_TO_THREE[letter], gemmi.SeqId(stretch.first_number + index, " ")
        residue.subchain, residue.entity_id, residue.label_seq = "A", "1", start + index + 1
        residue.entity_type, residue.het_flag = gemmi.EntityType.Polymer, "A"
        for name, position in zip(("N", "CA", "C", "O"), stretch.coordinates[index].tolist(), strict=True):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos, atom.occ = name, gemmi.Element(name[0]), gemmi.Position(*position), 1.0
            residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure.add_model(model)
    entity = gemmi.Entity("1")
    entity.entity_type, entity.polymer_type = gemmi.EntityType.Polymer, gemmi.PolymerType.PeptideL
    entity.subchains, entity.full_sequence = ["A"], [ONE_TO_THREE[letter] for letter in full]
    structure.entities = gemmi.EntityList([entity])
    groups = gemmi.MmcifOutputGroups(False)
    groups.block_name = groups.entry = groups.entity = groups.entity_poly = groups.entity_poly_seq = True
    groups.struct_asym = groups.atoms = groups.group_pdb = True
    document = structure.make_mmcif_document(groups)
    block = document.sole_block()
    for tag in ("_exptl.method", "_refine.ls_d_res_high", "_pdbx_audit_revision_history.revision_date"):
        block.set_pair(tag, "?")
    block.set_pair("_hardfold_source.coordinates", gemmi.cif.quote("promod3-data 3.2.1+ds-6 structure_db.dat"))
    block.set_pair(
        "_hardfold_source.sequence",
        gemmi.cif.quote(
            "sidechainnet 1.0.1, full chain" if source == "full" else "promod3-data 3.2.1+ds-6, the stored stretch only"
        ),
    )
    column = block.find(["_atom_site.occupancy", "_atom_site.B_iso_or_equiv"])
    for row in column:
        row[0] = row[1] = "?"
    return document.as_string()


def write_gzip(path, text):
    with open(path, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as handle:
        handle.write(text.encode())


def write_table(path, header, rows):
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(sorted(rows))


def main(folder):
    packages = registry.download_packages(folder)
    database = registry.StructureDatabase(
        registry.extract_debian(packages["promod3-data"], registry.PROMOD3_DATABASE, folder / "unpacked")
    )
    swissprot = registry.read_swissprot(
        registry.extract_debian(packages["metastudent-data"], registry.SWISSPROT_FOLDER, folder / "unpacked")
    )
    records = candidates(database, registry.read_full_sequences(packages["sidechainnet"]))
    sequences = {key: full for key, (_, full, _) in records.items()}
    chosen = sorted(set(mmseqs.cluster(sequences, identity=0.4, coverage=0.8, threads=os.cpu_count())))
    # One chain an entry, so that no entry can stand on two sides; those with a full sequence first.
    order = random.Random(SEED)
    order.shuffle(chosen)
    by_entry = {}
    for key in sorted(chosen, key=lambda key: records[key][2] == "stretch"):
        by_entry.setdefault(key[:4], key)
    chosen = [key for key in chosen if by_entry[key[:4]] == key]
    sequences = {key: sequences[key] for key in chosen}

    depth = homologues(sequences, swissprot, "--max-seqs", 2000, sensitivity=5.7)
    full = [key for key in chosen if records[key][2] == "full"]
    thin = {key: sequences[key] for key in full if len(depth[key]) < HARD and len(sequences[key]) >= 50}
    confirmed = homologues(thin, swissprot, sensitivity=7.5)
    hard = [key for key in full if key in thin and len(confirmed[key]) < HARD][:TARGETS_A_CLASS]
    deep = [key for key in full if len(depth[key]) >= DEEP and len(sequences[key]) >= 50][:TARGETS_A_CLASS]
    targets = dict.fromkeys(hard, "hard") | dict.fromkeys(deep, "deep")

    # A generous search finds what a strict one would miss: a chain with any hit to a target above 25 % identity (over
    # half of the shorter where the hit is no better than chance), or with a likely relation, is no training chain.
    options = ["-e", 1000, "--max-seqs", 5000]
    near = mmseqs.search({key: sequences[key] for key in targets}, sequences, *options, threads=os.cpu_count())
    alike = (near["identity"] > 0.25) & ((near["evalue"] <= 10) | (near["coverage"] >= 0.5))
    related = set(near["subject"][alike | (near["evalue"] <= 0.1)])
    free = [key for key in chosen if key not in targets and key not in related]
    chains = [key for key in free if len(depth[key]) >= DEEP][:DEEP_CHAINS]
    chains += [key for key in free if key not in chains][: CHAINS - len(chains)]

    pool = {}
    for key in [*chains, *targets]:
        pool |= pool_records(depth[key] | confirmed.get(key, {}), swissprot, order)
    decoys = order.sample(sorted(name for name in swissprot if len(swissprot[name]) <= LONGEST_HOMOLOGUE), DECOYS)
    pool |= {name: swissprot[name] for name in decoys}

    structures = HERE / "structures"
    structures.mkdir(exist_ok=True)
    for old in structures.glob("*.cif.gz"):
        old.unlink()
    for key in [*chains, *targets]:
        write_gzip(structures / f"{key[:4]}.cif.gz", mmcif(*records[key]))
    write_gzip(HERE / "pool.fasta.gz", "".join(f">{name}\n{pool[name]}\n" for name in sorted(pool)))
    write_table(
        HERE / "chains.tsv",
        ["chain", "auth_range", "split", "sequence_source", "homologues"],
        [(key, "", "", records[key][2], len(depth[key])) for key in chains],
    )
    write_table(
        HERE / "targets.tsv",
        [
            "target",
            "chain",
            "auth_range",
            "class",
            "round",
            "in_baseline_training_period",
            "sequence_source",
            "homologues",
        ],
        [
            (key, key, "", kind, "", "", records[key][2], len(confirmed[key] if kind == "hard" else depth[key]))
            for key, kind in targets.items()
        ],
    )
    print(f"{len(chains)} chains, {len(hard)} hard and {len(deep)} deep targets, {len(pool)} sequences in the pool")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
