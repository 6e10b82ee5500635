"""Structure files made for a test."""

COLUMNS = """group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id
label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy auth_seq_id auth_asym_id pdbx_PDB_model_num"""


def residue(number, name, *, auth=None, icode="?", atoms="N CA C O CB", altloc=".", occupancy=1.0, x=0.0, model=1):
    """Atom rows of one residue of chain B (label A); atoms lie at (x, index, number)."""
    return [
        f"ATOM 0 {atom[0]} {atom} {altloc} {name} A 1 {number} {icode} {x} {index} {number} {occupancy} "
        f"{auth if auth is not None else number} B {model}"
        for index, atom in enumerate(atoms.split())
    ]


def mmcif(residues, sequence=None, extra=""):
    """An mmCIF text; sequence: monomers of entity 1, `PRO+SER` for a heterogeneous one."""
    rows = [row for part in residues for row in part]
    text = "data_TEST\n_entry.id TEST\n" + extra
    if sequence:
        text += "loop_\n_entity.id\n_entity.type\n1 polymer\n2 water\n"
        text += "loop_\n_entity_poly.entity_id\n_entity_poly.type\n1 polypeptide(L)\n"
        text += "loop_\n_entity_poly_seq.entity_id\n_entity_poly_seq.num\n_entity_poly_seq.mon_id\n"
        for number, names in enumerate(sequence.split(), start=1):
            text += "".join(f"1 {number} {name}\n" for name in names.split("+"))
    return text + "loop_\n" + "".join(f"_atom_site.{name}\n" for name in COLUMNS.split()) + "\n".join(rows) + "\n"


def pdb_residue(number, name, *, chain="B", icode=" ", atoms="N CA C O CB", altloc=" ", occupancy=1.0, x=0.0):
    """Atom lines of one residue in the PDB format; atoms lie at (x, index, number)."""
    return [
        f"ATOM  {index:5d}  {atom:<3s}{altloc}{name:>3s}{chain:>2s}{number:4d}{icode}   "
        f"{x:8.3f}{index:8.3f}{number:8.3f}{occupancy:6.2f}{20:6.2f}          {atom[0]:>2s}  "
        for index, atom in enumerate(atoms.split())
    ]


def pdb(residues, sequence="", chain="B", header=()):
    """A PDB text; sequence: the monomers of SEQRES, at most 13."""
    names = sequence.split()
    seqres = [f"SEQRES   1{chain:>2s} {len(names):4d}  {' '.join(names)}"] if names else []
    lines = [*header, *seqres, *(line for part in residues for line in part), "TER", "END"]
    return "".join(f"{line:<80s}\n" for line in lines)
