"""Held-out chains by band of identity to the nearest training chain."""

import pandas as pd

from hardfold.leakage import band

BANDS = ["none", "<20", "20-30", "30-50", ">50"]  # %, as `leakage.band` names them


def by_band(audit: pd.DataFrame, when: str) -> dict[str, int]:
    """Chains in each band, by the nearest training chain `before` or `after` the dropping of relatives."""
    column = {"before": "identity", "after": "identity_kept"}[when]
    counts = audit[column].map(band).value_counts()
    return {name: int(counts.get(name, 0)) for name in BANDS}
