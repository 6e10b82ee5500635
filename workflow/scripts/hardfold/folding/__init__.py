"""The folding track: an ESMFold-architecture model, adapted to hard targets with LoRA.

Shapes: B batch, L residues, S structure-module blocks, K bins.
"""
