"""Tables, verdicts, figures and the report of this config, under results/<name>/. Nothing here imports torch."""

# How many cells there are; in a partial run those that are whole, and what there is to draw of them.
ASKED = len(CELLS)
CELLS, SHOWN = whole_cells() if PARTIAL else (CELLS, config)
PUBLISHED = ROOT / "config/published" / f"{config['name']}.csv"
# Writes the params of a rule, one a line.
LINES = os.path.relpath(ROOT / "workflow/templates/lines.txt")
MEASUREMENTS = {
    "evaluations": unique(evaluations(CELLS) + robust_evaluations(CELLS)),
    "histories": histories(),
    "signatures": unique(
        rules.align.output.signature.format(**cell) for cell in CELLS if cell["alignment"] != "none"
    ),
    "planes": unique(planes(CELLS)),
    "marks": unique(marks(CELLS)),
    "activations": unique(activations(CELLS)),
    "scores": unique(refinements(CELLS, "scores")),
    "permutations": unique(permutations(CELLS)),
    "selections": unique(selections(CELLS)),
    "artifacts": artifacts(),
}


# The options that name them for make_tables.
LISTED = [word for name, paths in MEASUREMENTS.items() for word in (f"--{name}", *paths)]


rule list_measurements:
    """The options that name what make_tables reads: a shell command holds 128 KiB, and there may be thousands."""
    input:
        LINES,
    output:
        f"{RUN}/tables/measurements.txt",
    log:
        f"<logs>/list_measurements/{config['name']}.log",
    params:
        *LISTED,
    message:
        "list what was measured"
    template_engine:
        "jinja2"


rule make_tables:
    input:
        **MEASUREMENTS,
        # By its path: beside a rule's output, Snakemake takes time quadratic in the number of all inputs.
        measurements=f"{RUN}/tables/measurements.txt",
    output:
        curves=f"{RUN}/tables/curves.csv",
        pairs=f"{RUN}/tables/pairs.csv",
        summary=report(f"{RUN}/tables/summary.csv", caption="../report/summary.rst", category="Tables"),
        training=f"{RUN}/tables/training.csv",
        signatures=f"{RUN}/tables/signatures.csv",
        spectrum=f"{RUN}/tables/spectrum.csv",
        planes=f"{RUN}/tables/planes.csv",
        marks=f"{RUN}/tables/marks.csv",
        activations=f"{RUN}/tables/activations.csv",
        candidates=f"{RUN}/tables/candidates.csv",
        permutations=f"{RUN}/tables/permutations.csv",
        best=f"{RUN}/tables/best.csv",
        best_summary=f"{RUN}/tables/best_summary.csv",
        environments=report(
            f"{RUN}/tables/environments.csv", caption="../report/environments.rst", category="Environments"
        ),
        manifest=f"{RUN}/tables/make_tables.manifest.json",
    log:
        f"<logs>/make_tables/{config['name']}.log",
    conda:
        "../../envs/figures.yaml"
    params:
        program=program("make_tables"),
        code=fingerprint("make_tables"),
        listed=digest(LISTED),
    message:
        "join what was measured into tables"
    shell:
        "python {params.program:q} --measurements {input.measurements:q} --listed {params.listed} --curves-table {output.curves:q}"
        " --pairs-table {output.pairs:q} --summary-table {output.summary:q}"
        " --training-table {output.training:q} --signatures-table {output.signatures:q}"
        " --spectrum-table {output.spectrum:q} --planes-table {output.planes:q} --marks-table {output.marks:q}"
        " --activations-table {output.activations:q} --candidates-table {output.candidates:q}"
        " --permutations-table {output.permutations:q} --best-table {output.best:q}"
        " --best-summary-table {output.best_summary:q} --environments-table {output.environments:q} > {log:q} 2>&1"


rule write_config:
    """The config with every default written out: what the tables beside it were made from."""
    input:
        LINES,
    output:
        f"{RUN}/config.json",
    log:
        f"<logs>/write_config/{config['name']}.log",
    params:
        lambda wildcards: canonical(config),  # a function's braces are no wildcards
    message:
        "write the complete config, {output}"
    template_engine:
        "jinja2"


rule compare_paper:
    input:
        summary=rules.make_tables.output.summary,
        # Of the config only what the comparison speaks of counts, which is in params. By its path: the output of
        # a rule would be ancient to all who read it.
        config=ancient(f"{RUN}/config.json"),
        published=os.path.relpath(ROOT / "config/published/tatro2020.csv"),
        paper=os.path.relpath(ROOT / "config/paper.yaml"),
        schema=os.path.relpath(ROOT / "workflow/schemas/config.schema.yaml"),
    output:
        table=f"{RUN}/tables/paper.csv",
        page=report(f"{RUN}/tables/paper.html", caption="../report/paper.rst", category="Tables"),
        text=f"{RUN}/tables/paper.txt",
        manifest=f"{RUN}/tables/compare_paper.manifest.json",
    log:
        f"<logs>/compare_paper/{config['name']}.log",
    conda:
        "../../envs/figures.yaml"
    params:
        program=program("compare_paper"),
        code=fingerprint("compare_paper"),
        cells=digest(sorted(configuration.cells(config, SCHEMA).items())),
    message:
        "put the numbers beside the paper's"
    shell:
        "python {params.program:q} --summary-table {input.summary:q} --config {input.config:q} --cells {params.cells}"
        " --published {input.published:q} --paper-config {input.paper:q} --schema {input.schema:q}"
        " --paper-table {output.table:q} --page {output.page:q} --text {output.text:q} > {log:q} 2>&1"


rule judge_claims:
    input:
        pairs=rules.make_tables.output.pairs,
        best=rules.make_tables.output.best,
        summary=rules.make_tables.output.summary,
        signatures=rules.make_tables.output.signatures,
        paper=rules.compare_paper.output.text,
        data=unique(rules.prepare_data.output.data.format(**cell) for cell in CELLS),
        remarks=unique(rules.prepare_data.output.remarks.format(**cell) for cell in CELLS),
        claims=os.path.relpath(ROOT / "config/claims.csv"),
        published=[os.path.relpath(PUBLISHED)] if PUBLISHED.exists() else [],
    output:
        verdicts=report(f"{RUN}/tables/claims.csv", caption="../report/verdicts.rst", category="Claims"),
        comparison=f"{RUN}/tables/published.csv",
        text=f"{RUN}/summary.txt",
        manifest=f"{RUN}/tables/judge_claims.manifest.json",
        # What a finished run prints is checked too.
        text_manifest=f"{RUN}/judge_claims.manifest.json",
    log:
        f"<logs>/judge_claims/{config['name']}.log",
    conda:
        "../../envs/figures.yaml"
    params:
        program=program("judge_claims"),
        code=fingerprint("judge_claims"),
        published=option("--published", "published"),
        partial=f"--partial '{len(CELLS)} of {ASKED}'" if PARTIAL else "",
    message:
        "judge the claims"
    shell:
        "python {params.program:q} --pairs-table {input.pairs:q} --best-table {input.best:q}"
        " --summary-table {input.summary:q} --signatures-table {input.signatures:q} --paper {input.paper:q}"
        " --data {input.data:q} --remarks {input.remarks:q} --claims {input.claims:q} {params.published} {params.partial}"
        " --verdicts-table {output.verdicts:q}"
        " --comparison-table {output.comparison:q} --text {output.text:q} > {log:q} 2>&1"


FIGURES = [
    f"{RUN}/figures/{path}.{kind}" for path in registry.of(SHOWN) for kind in ("svg", "pdf", "manifest.json")
]
# Beside the name of a figure, what its file is named by: dataset-network-recipe, and -test-activation, say.
STUDIED, PART = r"\w+-\w+-\w+", r"(-\w+)*"


rule draw:
    input:
        drawn_from,
    output:
        svg=report(
            f"{RUN}/figures/{{studied}}/{{figure}}{{part}}.svg",
            caption="../report/figure.rst",
            category="{studied}",
            subcategory=page,
            labels=labels,
        ),
        pdf=f"{RUN}/figures/{{studied}}/{{figure}}{{part}}.pdf",
        manifest=f"{RUN}/figures/{{studied}}/{{figure}}{{part}}.manifest.json",
    log:
        f"<logs>/draw/{config['name']}/{{studied}}-{{figure}}{{part}}.log",
    wildcard_constraints:
        studied=STUDIED,
        figure="|".join(registry.FIGURES),
        part=PART,
    conda:
        "../../envs/figures.yaml"
    params:
        program=program("draw"),
        code=lambda wildcards: fingerprint("draw", [f"figures.{wildcards.figure}"]),
        figure="{figure}",
        selection=selection,
        # Of the report, which shows it as it was when the figure was drawn.
        caption=caption,
    message:
        "draw {output.svg}"
    shell:
        "python {params.program:q} --figure {params.figure} --tables {input:q} {params.selection}"
        " --svg {output.svg:q} --pdf {output.pdf:q} > {log:q} 2>&1"


rule write_report:
    """Snakemake's own report, asked for by the complete config, so that it shows what this run has made."""
    input:
        FIGURES,
        rules.make_tables.output,
        rules.judge_claims.output,
        rules.compare_paper.output,
        config=rules.write_config.output,
        captions=sorted(os.path.relpath(path) for path in Path(ROOT, "workflow/report").glob("*.rst")),
    output:
        f"{RUN}/report.html",
    log:
        f"<logs>/write_report/{config['name']}.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        snakefile=os.path.relpath(workflow.main_snakefile),
        labels={name: figure.label for name, figure in registry.FIGURES.items()},
        check=program("check_shown"),
        planned=digest(canonical(config)),
    message:
        "write the report, {output}"
    shell:
        # Snakemake's reporter takes files as they are.
        "python {params.check:q} --config {input.config:q} --planned {params.planned} > {log:q} 2>&1"
        " && snakemake figures tables --report {output:q} --snakefile {params.snakefile:q}"
        " --configfile {input.config:q}"
        " --workflow-profile none --nolock >> {log:q} 2>&1"
