"""Chains out of mmCIF and PDB files.

The parser is gemmi, the fastest well-kept one: entry 4uv3 (3.3 MB) takes it 0.085 s, biotite 0.49 s, Biopython 2.1 s.
It also numbers residues along the deposited sequence and knows the parents of modified residues. Biopython is the
better fit where independence counts: the tests compare with it. Our own figures: docs/benchmarks/structures.md.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import ne
from pathlib import Path

import gemmi

from hardfold.structure.atoms import NO_NUMBER, Residues
from hardfold.structure.chain import Chain, StructureError
from hardfold.structure.files import PEPTIDES, parse_file

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
_STANDARD = {gemmi.expand_one_letter(letter, gemmi.ResidueKind.AA): letter for letter in LETTERS}
_LONGEST = 100_000  # the highest residue number that is believed; titin, the longest human protein, has 34,350 residues


def read_chain(path: Path, chain: str, auth_range: tuple[int, int] | None = None, id: str | None = None) -> Chain:
    """`Entry.chain` of a file of which only one chain is wanted."""
    return Entry(path).chain(chain, auth_range, id)


def read_model(path: Path, sequence: str | None = None, id: str | None = None) -> Chain:
    """`Entry.model` of a file."""
    return Entry(path).model(sequence, id)


class Entry:
    """The first model of an mmCIF or PDB file (`.gz` too), parsed once; `chain` and `model` take chains out of it."""

    def __init__(self, path: Path):
        """Raises StructureError for a file that is missing, broken or without atoms."""
        structure, self._block, self._source = parse_file(path)
        self._parents = {modified.res_id.name: modified.parent_comp_id for modified in structure.mod_residues}
        self._proteins, self._residues = _index(structure)

    @property
    def chains(self) -> list[str]:
        """Auth ids of the protein chains, in the file's order."""
        return list(self._proteins)

    def chain(self, name: str, auth_range: tuple[int, int] | None = None, id: str | None = None) -> Chain:
        """The chain of this auth id (its first polymer).

        L is the deposited sequence (entity_poly_seq, else entity_poly's one-letter code; SEQRES). If the file has none
        it is that of the residues present, X for those that the author's numbers skip. `auth_range` cuts it to the
        positions between the first and the last residue numbered within, unresolved ones included: these are numbered
        by pdbx_poly_seq_scheme, else by their resolved neighbours. Of alternative locations the one whose backbone has
        the highest occupancy counts, the first on a tie; of a microheterogeneous residue the variant listed first in
        the sequence. An atom without finite coordinates is absent. Raises StructureError, also where an end of the
        range lies among unresolved residues that nothing numbers.
        """
        if name not in self._proteins:
            names = ", ".join(self.chains) or "none"
            raise StructureError(f"chain {name} is not among the protein chains with atoms: {names}")
        protein = self._proteins[name]
        places, monomers = protein.deposited()
        if auth_range:
            first, last = auth_range
            numbers = dict(zip(places, protein.numbers, strict=True))
            if scheme := protein.monomers and self._scheme_numbers(protein.label):
                numbers = scheme | numbers
            else:
                numbers = _number_gaps(numbers, len(monomers), auth_range)
            inside = [
                place for place, number in numbers.items() if first <= number <= last and 0 <= place < len(monomers)
            ]
            if not inside:
                raise StructureError(f"chain {name} has no residue numbered {first} to {last}")
            places = [place - min(inside) for place in places]
            monomers = monomers[min(inside) : max(inside) + 1]
        return self._assemble(id or name, protein, places, monomers)

    def model(self, sequence: str | None = None, id: str | None = None) -> Chain:
        """The first protein chain as a prediction or native: each residue at the position that its number says.

        The number is label_seq_id in mmCIF where it stands, else the author's. L is the length of `sequence` (one
        letter a residue) if given, with which every residue must agree; else that of the file's sequence, if the
        numbers are positions in it; else the last number. X stands where no letter is known. Raises StructureError.
        """
        if not self._proteins:
            raise StructureError("no protein chain")
        protein = next(iter(self._proteins.values()))
        labelled = self._block is not None and all(protein.labels)
        places, monomers = protein.numbered(labelled), protein.monomers
        if sequence is not None:
            monomers = [""] * len(sequence)
        elif not monomers or not (labelled or protein.fits(places)):
            monomers = [""] * (max(places) + 1)
        if max(places) >= len(monomers):
            raise StructureError(f"residue number {max(places) + 1} lies beyond the sequence of {len(monomers)}")
        return self._assemble(id or protein.chain, protein, places, monomers, sequence)

    def _scheme_numbers(self, label_chain):
        """Place -> author's number from pdbx_poly_seq_scheme, which numbers unresolved residues too."""
        if self._block is None:
            return {}
        table = self._block.find("_pdbx_poly_seq_scheme.", ["asym_id", "seq_id", "pdb_seq_num"])
        rows = [row for row in table if row.str(0) == label_chain and row[1].isdigit()]
        return {int(row[1]) - 1: int(row[2]) for row in rows if row[2].removeprefix("-").isdigit()}

    def _assemble(self, id, protein, places, monomers, sequence=None):
        """The chain of these monomers (`PRO,SER` where heterogeneous, empty if unknown), residues at their places.

        A residue whose place is not among the monomers is cut away. The letters are `sequence`'s where it is given.
        """
        if NO_NUMBER in protein.numbers:
            raise StructureError(f"chain {protein.chain} has a residue without a number")
        names = [monomer.partition(",")[0] for monomer in monomers]
        auth_numbers = [""] * len(monomers)
        standing = {}  # place -> index of its residue
        inside = [index for index, place in enumerate(places) if 0 <= place < len(monomers)]
        for index in inside:
            place = places[index]
            if standing.setdefault(place, index) != index:
                standing[place] = protein.variant(standing[place], index, monomers[place], place)
        for place, index in standing.items():
            auth_numbers[place], name, monomer = protein.seqids[index], protein.names[index], monomers[place]
            if not monomer:
                names[place] = name
            elif name != monomer and name not in monomer.split(","):
                raise StructureError(f"residue {auth_numbers[place]} is {name}, but {monomer} in the sequence")
        letters = "".join([_STANDARD.get(name) or self._parent_letter(name) for name in names])
        if sequence is not None:
            letters = _checked(sequence.upper(), letters, auth_numbers)
        residues = [(protein.rows[index], places[index], standing[places[index]] == index) for index in inside]
        coordinates = self._residues.place(residues, len(monomers))
        other = [(position, name) for position, name in enumerate(names, start=1) if name and name not in _STANDARD]
        return Chain.from_atoms(
            id,
            letters,
            coordinates,
            auth_numbers=tuple(auth_numbers),
            label_chain=protein.label if self._block is not None else "",
            modified=tuple(f"{position}:{name}" for position, name in other),
            nonstandard=sum(name != "MSE" for _, name in other),
            deposited=sequence is not None or any(monomers),
            **self._source,
        )

    def _parent_letter(self, name):
        """The letter of a modified residue's parent, X if it is none of the 20."""
        letter = _tabulated_letter(name)
        return _tabulated_letter(self._parents.get(name, "")) if letter == "X" else letter


@dataclass
class _Protein:
    """A polypeptide as it stands in the file. Lists hold an item for each residue with atoms."""

    chain: str  # auth id
    label: str
    monomers: list[str]  # the deposited sequence, `PRO,SER` where heterogeneous; empty if the file has none
    rows: list[int] = field(default_factory=list)  # in Residues
    labels: list[int | None] = field(default_factory=list)  # label_seq_id
    names: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)  # the author's
    seqids: list[str] = field(default_factory=list)  # these with the insertion code

    def deposited(self):
        """(place of each residue, monomers of the sequence).

        Where the file has no sequence the residues stand in order, with the gaps that rising numbers leave. Numbers
        with insertion codes, or that would more than double the chain, say nothing about gaps.
        """
        if not self.monomers:
            places = list(accumulate(map(ne, self.seqids, self.seqids[1:]), initial=0))
            numbers = self.numbers
            rising = numbers == sorted(numbers) and self.seqids == [str(number) for number in numbers]
            if rising and numbers[-1] - numbers[0] < 2 * (places[-1] + 1):
                places = [number - numbers[0] for number in numbers]
            return places, [""] * (places[-1] + 1)
        for label, seqid, name in zip(self.labels, self.seqids, self.names, strict=True):
            if not label or not 1 <= label <= len(self.monomers):
                raise StructureError(f"residue {seqid} ({name}) has no place in the sequence")
        return [label - 1 for label in self.labels], self.monomers

    def numbered(self, labelled):
        """The place of each residue by its label_seq_id, else by the author's number."""
        numbers = self.labels if labelled else self.numbers
        for number, seqid in zip(numbers, self.seqids, strict=True):
            if not 1 <= number <= _LONGEST:
                raise StructureError(f"residue number {number} is not a position, 1 to {_LONGEST}")
            if not labelled and seqid != str(number):
                raise StructureError(f"residue number {seqid} is not a position: it has an insertion code")
        return [number - 1 for number in numbers]

    def fits(self, places):
        """Whether the places are the sequence's: at each stands a residue that the sequence names there."""
        fitting = {
            place
            for place, name in zip(places, self.names, strict=True)
            if place < len(self.monomers) and name in self.monomers[place].split(",")
        }
        return fitting == set(places)

    def variant(self, one, other, monomer, place):
        """Of two residues at one place the one whose name comes first in the sequence's `PRO,SER`."""
        if self.seqids[one] != self.seqids[other]:
            raise StructureError(f"residues {self.seqids[one]} and {self.seqids[other]} share position {place + 1}")
        listed = monomer.split(",")
        return min(one, other, key=lambda index: (*listed, self.names[index]).index(self.names[index]))


def _index(structure):
    """Auth id -> the protein of that name (the first), in file order; and the residues of the model."""
    entities = {label: entity for entity in structure.entities for label in entity.subchains}
    proteins, sizes = {}, []
    for chain in structure[0]:
        for part in chain.subchains():
            residues, label = list(part), part.subchain_id()
            rows = range(len(sizes), len(sizes) + len(residues))
            sizes += map(len, residues)
            entity = entities.get(label)
            if _is_peptide(entity, part):
                protein = proteins.setdefault(chain.name, _Protein(chain.name, label, list(entity.full_sequence)))
                # The residues of a polymer need not stand together.
                if protein.label == label:
                    protein.rows += rows
                    protein.labels += [residue.label_seq for residue in residues]
    model = Residues(structure, sizes)
    for protein in proteins.values():
        protein.names = [model.names[row] for row in protein.rows]
        protein.numbers = [model.numbers[row] for row in protein.rows]
        protein.seqids = [model.seqids[row] for row in protein.rows]
    return proteins, model


def _number_gaps(resolved, length, auth_range):
    """Place -> author's number: the resolved ones', and of the others those that their neighbours imply.

    In a gap whose two sides disagree none is implied. Raises StructureError where an end of the range may lie there.
    """
    numbers, disputed = {}, []
    ends = sorted(resolved.items())
    for (left, low), (right, high) in pairwise(ends):
        if high - low == right - left:
            numbers |= {place: low + place - left for place in range(left + 1, right)}
        elif right - left > 1:
            # Whichever side is followed, or any numbers between them.
            disputed.append(range(min(low, high - right + left) + 1, max(high, low + right - left)))
    (first, low), (last, high) = ends[0], ends[-1]
    numbers |= {place: low + place - first for place in range(first)}
    numbers |= {place: high + place - last for place in range(last + 1, length)}
    numbers |= resolved
    for end in set(auth_range).difference(numbers.values()):
        if any(end in gap for gap in disputed):
            raise StructureError(f"the file numbers no unresolved residues about {end}, an end of the range: use mmCIF")
    return numbers


def _is_peptide(entity, residues):
    """Whether the entity is a polypeptide, which its residues tell where the file does not."""
    if entity is None or entity.entity_type != gemmi.EntityType.Polymer:
        return False
    kind = entity.polymer_type
    return (residues.check_polymer_type() if kind == gemmi.PolymerType.Unknown else kind) in PEPTIDES


def _checked(sequence, letters, auth_numbers):
    """The given sequence, X for what is not one of the 20, with which the letters of the residues present agree."""
    sequence = "".join(letter if letter in LETTERS else "X" for letter in sequence)
    for position, (given, found, number) in enumerate(zip(sequence, letters, auth_numbers, strict=True), start=1):
        if number and "X" not in (given, found) and given != found:
            raise StructureError(
                f"residue {number} is {found}, but {given} at position {position} of the sequence given"
            )
    return sequence


@lru_cache(maxsize=1024)
def _tabulated_letter(name):
    """The letter in gemmi's table of monomers, X if it is not one of the 20."""
    information = gemmi.find_tabulated_residue(name)
    letter = information.one_letter_code.upper()
    return letter if information.is_amino_acid() and letter in LETTERS else "X"
