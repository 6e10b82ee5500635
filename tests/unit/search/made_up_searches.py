"""Stand-ins that the tests of searches share."""

import numpy as np

from hardfold.structure.chain import Chain, save_chains

SEQUENCE = "MKTAYIAKQRQISFVKSHFS"
OPTIONS = {"provider": "hhblits", "given": "", "iterations": 1, "evalue": 1e-3, "min_coverage": 0.5, "threads": 2}
# Answers with the query and one homologue, and writes down what it was asked for.
HHBLITS = """
if "-h" in argv:
    sys.exit(print("HHblits 3.3.0:"))
query = open(argv[argv.index("-i") + 1]).read()
sequence = query.split()[1]
open({calls!r}, "a").write(sequence + "\\n")
{body}
open(argv[argv.index("-oa3m") + 1], "w").write(query + ">hit\\n" + "A" * len(sequence) + "\\n")
"""


def save_sequences(path, sequences):
    """A structures file of chains with these sequences."""
    chains = [Chain.from_atoms(id, letters, np.ones((len(letters), 5, 3))) for id, letters in sequences.items()]
    save_chains(path, chains)
    return path
