"""Protein chains: the record, parsers, quality control, natives."""
