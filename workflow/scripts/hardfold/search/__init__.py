"""Alignments: search databases, providers, the cache."""
