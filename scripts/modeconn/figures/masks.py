"""Draw what networks learn under masks of their own and of others over the weights left (Sharma et al. 2024)."""

from modeconn import drawing, tables

TABLES = [tables.MASKS]
SCOPE = ["dataset", "recipe"]
BY: list[str] = []
# (alignment, mask) of those that nothing moves -> the look of their line.
STYLES = {
    ("none", "own"): {"label": "its own", "color": "0.15", "linestyle": "-"},
    ("none", "untransported"): drawing.STYLES["none"] | {"label": "the first network's as it is"},
    ("none", "one_shot"): drawing.OTHER_STYLES[0] | {"label": "largest weights, one shot"},
    ("none", "random"): drawing.STYLES["random"] | {"label": "random"},
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
    lines |= {line: style for line, style in STYLES.items() if line in there}
    columns = min(3, rows["network"].nunique())
    figure, panels = drawing.of_networks(rows, "weights left (%)", "test accuracy (%)", columns)
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
    head = f"{title}, n = {rows['pair'].nunique()} pairs, mean ± standard deviation"
    drawing.legend(figure, head, lines.values())
    return figure
