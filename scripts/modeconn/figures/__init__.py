"""Figures: a module each, and `registry`, which says for what each is drawn.

A module has `TABLES`, what it is drawn from (entries of `modeconn.tables`), `BY`, what it is selected by besides the
study ("split", "curve", or "alignment", which `draw` takes as an option), and `draw(rows, title, ...)`, which makes the
figure from the selected rows of each table.
"""
