"""The contact track: ESM-2 and ESM-MSA-1b, fused, predict contact map, distance map and backbone angles.

Shapes: B batch, L residues, R alignment rows, S streams (the tasks, then the alignment), D features, K bins.
"""
