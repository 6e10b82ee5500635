"""A chain as an mmCIF file, numbered by position."""

from pathlib import Path

import gemmi
import numpy as np

from hardfold import tables
from hardfold.geometry import ATOMS
from hardfold.structure.chain import Chain


def write_mmcif(chain: Chain, path: Path, plddt: np.ndarray | None = None) -> None:
    """Write the chain with label_seq_id = auth_seq_id = position; plddt (L,) 0..100 becomes the B factor, else `?`.

    Built CB atoms are left out: the file holds what was measured or predicted.
    """
    names = [gemmi.expand_one_letter(letter, gemmi.ResidueKind.AA) for letter in chain.sequence]
    present = np.isfinite(chain.coordinates).all(axis=2)
    present[:, 4] &= ~chain.virtual_cb
    owner = gemmi.Chain("A")
    for index in np.flatnonzero(present.any(axis=1)).tolist():
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.label_seq = names[index], gemmi.SeqId(index + 1, " "), index + 1
        residue.subchain, residue.entity_id, residue.entity_type = "A", "1", gemmi.EntityType.Polymer
        residue.het_flag = "A"
        for slot in np.flatnonzero(present[index]).tolist():
            atom = gemmi.Atom()
            atom.name, atom.element, atom.occ = ATOMS[slot], gemmi.Element(ATOMS[slot][0]), 1.0
            atom.pos = gemmi.Position(*np.round(chain.coordinates[index, slot].astype(np.float64), 3))
            atom.b_iso = 0.0 if plddt is None else round(float(plddt[index]), 2)
            residue.add_atom(atom)
        owner.add_residue(residue)
    structure, model, entity = gemmi.Structure(), gemmi.Model(1), gemmi.Entity("1")
    structure.name = chain.id
    model.add_chain(owner)
    structure.add_model(model)
    entity.entity_type, entity.polymer_type = gemmi.EntityType.Polymer, gemmi.PolymerType.PeptideL
    entity.subchains, entity.full_sequence = ["A"], names
    structure.entities = gemmi.EntityList([entity])
    groups = gemmi.MmcifOutputGroups(False, block_name=True, entry=True, entity=True, entity_poly=True)
    groups.entity_poly_seq = groups.struct_asym = groups.atoms = groups.group_pdb = groups.auth_all = True
    document = structure.make_mmcif_document(groups)
    if plddt is None:
        for row in document.sole_block().find(["_atom_site.B_iso_or_equiv"]):
            row[0] = "?"
    with tables.whole_file(path) as temporary:
        temporary.write_text(document.as_string())
