"""Bands of identity to the nearest training chain."""

import pandas as pd

BANDS = ["none", "< 20", "20–30", "30–50", "> 50"]


def band(identity: float) -> str:
    """Identity (fraction; NaN: no hit found) -> band in %; 50 is in the band below it, 20 and 30 above it."""
    if pd.isna(identity):
        return "none"
    if identity < 0.2:
        return "< 20"
    if identity < 0.3:
        return "20–30"
    return "30–50" if identity <= 0.5 else "> 50"


def by_band(audit: pd.DataFrame, when: str) -> dict[str, int]:
    """Chains in each band, by the nearest training chain `before` or `after` the dropping of relatives."""
    column = {"before": "identity", "after": "identity_kept"}[when]
    counts = audit[column].map(band).value_counts()
    return {name: int(counts.get(name, 0)) for name in BANDS}
