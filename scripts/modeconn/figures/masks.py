"""Draw test accuracy under a network's own and other masks over the share of weights left (Sharma et al. 2024)."""

from modeconn import drawing, tables

TABLES = [tables.MASKS]
SCOPE = ["dataset", "recipe"]
BY: list[str] = []
# Masks without a permutation -> label.
LABELS = {
    "own": "its own",
    "untransported": "the first network's as it is",
    "one_shot": "largest weights, one shot",
    "random": "random",
}


def draw(rows, title):
    """A figure from the rows of one data set and recipe (`tables.MASKS`), a panel for each network."""
    rows = rows.assign(position=100 * rows["left"], accuracy=100 * rows["accuracy"])
    there = set(zip(rows["alignment"], rows["mask"]))
    moved = drawing.styles(alignment for alignment, mask in there if mask == "transported")
    lines = {
        (alignment, "transported"): style | {"label": f"the first network's, {style['label']}"}
        for alignment, style in moved.items()
    }
    looks = {
        "own": {"color": "0.15", "linestyle": "-"},
        "untransported": drawing.STYLES["none"],
        "one_shot": drawing.OTHER_STYLES[0],
        "random": drawing.STYLES["random"],
    }
    lines |= {("none", mask): looks[mask] | {"label": LABELS[mask]} for mask in LABELS if ("none", mask) in there}
    columns = min(3, rows["network"].nunique())
    figure, panels = drawing.of_networks(rows, "weights left (%)", "test accuracy (%)", columns)
    if rows["network"].nunique() <= columns:
        # A single row of panels is lower than the label of the whole figure, which would run into the legend.
        figure.set_figheight(3.3)
        figure.supylabel("")
        panels[0][0].set_ylabel("test accuracy (%)")
    shares = sorted(set(rows["position"]))
    for panel, of_network in panels:
        for (alignment, mask), style in lines.items():
            one = of_network[(of_network["alignment"] == alignment) & (of_network["mask"] == mask)]
            drawing.draw_bars(panel, one, "accuracy", style)
        # Towards sparser networks, each level as far from the next.
        panel.set_xscale("log")
        panel.set_xlim(1.1 * shares[-1], shares[0] / 1.1)
        panel.set_xticks(shares, [f"{share:.3g}" for share in shares])
        panel.minorticks_off()
    drawing.legend(figure, drawing.about(title, rows, drawing.BARS), lines.values())
    return figure
