"""Homologues of each chain: providers behind one interface, their databases, and a cache of what they found."""
