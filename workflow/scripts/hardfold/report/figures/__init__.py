"""Every figure of the report, drawn from the results; one that has no values to show is left out."""

from pathlib import Path

from hardfold.report.figures import contact, data, folding, maps, structures, tuning
from hardfold.report.figures.style import save, with_style
from hardfold.report.results import Results, read_results

FIGURES = {
    "folding_paired": folding.paired,
    "folding_differences": folding.differences,
    "folding_classes": folding.classes,
    "folding_errors": structures.errors,
    "folding_maps": structures.maps,
    "folding_training": tuning.training,
    "folding_losses": tuning.losses,
    "folding_confidence": structures.confidence,
    "folding_memorisation": folding.memorisation,
    "folding_controls": folding.controls,
    "folding_adaptation": tuning.adaptation,
    "contact_differences": contact.differences,
    "contact_precision": contact.precision,
    "contact_curves": contact.curves,
    "contact_neff": contact.depth,
    "contact_errors": maps.distance_errors,
    "contact_angles": maps.ramachandran,
    "contact_maps": maps.maps,
    "contact_reliability": contact.reliability,
    "contact_training": contact.training,
    "data_depth": data.depth,
    "data_identity": data.identity,
}


def draw_all(results: Results, folder: Path) -> list[str]:
    """Write <name>.png into `folder` for each figure that has values; returns the names drawn."""
    drawn = []
    with with_style():
        for name, draw in FIGURES.items():
            if (figure := draw(results)) is not None:
                save(figure, Path(folder) / f"{name}.png")
                drawn.append(name)
    return drawn


def plot_report(root: Path, folder: Path) -> None:
    """Read the results below `root` and draw the report's figures into `folder`."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    draw_all(read_results(root), folder)
