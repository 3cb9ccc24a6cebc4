"""Tables, verdicts, figures and the report of this config, under results/<name>/. Nothing here imports torch."""

# Number of cells; a partial run shows only those whose measurements are whole.
ASKED = len(PLAN.cells)
if PARTIAL:
    PLAN = PLAN.narrowed(PLAN.whole)
    if not PLAN.cells:
        sys.exit("no measurement is complete")
SHOWN = PLAN.shown
TABULATED = ["runs", *PLAN.studies]
# Numbers that were published for the config of this name: inputs of judge_claims.
PUBLISHED = {
    name: path
    for name, kind in {"published": "", "published_barriers": ".barriers"}.items()
    if (path := ROOT / "config/published" / f"{config['name']}{kind}.csv").exists()
}
# A template that writes the params of a rule, one per line.
LISTING = f"{RUN}/tables/measurements-{{study}}.txt"
LINES = os.path.relpath(ROOT / "workflow/templates/lines.txt")


rule list_measurements:
    """The options that name what make_tables reads: a shell command holds 128 KiB, and there may be thousands."""
    input:
        LINES,
    output:
        LISTING,
    log:
        f"<logs>/list_measurements/{config['name']}-{{study}}.log",
    params:
        lines=lambda wildcards: listed(wildcards.study),
    message:
        "list what was measured"
    template_engine:
        "jinja2"


for study in TABULATED:

    rule:
        name:
            f"tabulate_{study}"
        input:
            **measured(study),
            # As a path: with a rule's output Snakemake takes time quadratic in the number of all inputs.
            measurements=LISTING.format(study=study),
        output:
            **tables(study),
            manifest=f"{RUN}/tables/make_tables-{study}.manifest.json",
        log:
            f"<logs>/make_tables/{config['name']}-{study}.log",
        conda:
            "../../envs/figures.yaml"
        params:
            program=program("make_tables"),
            code=fingerprint("make_tables", [f"studies.{study}"]),
            study=study,
            listed=digest(listed(study)),
            tables=lambda wildcards, output: " ".join(
                f"--{name.replace('_', '-')}-table '{path}'"
                for name, path in output.items()
                if name != "manifest"
            ),
        message:
            "join what was measured into tables"
        shell:
            "python {params.program:q} --study {params.study} --measurements {input.measurements:q}"
            " --listed {params.listed} {params.tables} > {log:q} 2>&1"


rule write_config:
    """The config with every default written out: what the tables beside it were made from."""
    input:
        LINES,
    output:
        f"{RUN}/config.json",
    log:
        f"<logs>/write_config/{config['name']}.log",
    params:
        lines=lambda wildcards: [canonical(config)],  # a function's braces are no wildcards
    message:
        "write the complete config, {output}"
    template_engine:
        "jinja2"


if "alignment" in PLAN.studies:

    rule compare_paper:
        input:
            summary=f"{RUN}/tables/summary.csv",
            # Only the params hold the parts of the config that decide the comparison. As a path: `ancient` of a rule's
            # output would hold for all its readers.
            config=ancient(f"{RUN}/config.json"),
            published=os.path.relpath(ROOT / "config/papers/tatro2020.csv"),
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
            "python {params.program:q} --summary-table {input.summary:q} --config {input.config:q}"
            " --cells {params.cells} --published {input.published:q} --paper-config {input.paper:q}"
            " --schema {input.schema:q} --paper-table {output.table:q} --page {output.page:q} --text {output.text:q}"
            " > {log:q} 2>&1"


# Numbers read off figures, where this run has networks by their names.
TARGETS = ROOT / "config/papers/sharma2024.csv"
COMPARED = {
    name: path
    for study, name in (("averaging", "barriers"), ("simultaneous", "simultaneous"))
    for path in [tables_of(study).get(name)]
    if path
}
TARGETED = bool(COMPARED) and targeted(TARGETS)

if TARGETED:

    rule compare_targets:
        input:
            **COMPARED,
            # As a path, as in compare_paper.
            config=ancient(f"{RUN}/config.json"),
            published=os.path.relpath(TARGETS),
            paper=os.path.relpath(ROOT / "config/simultaneous.yaml"),
            schema=os.path.relpath(ROOT / "workflow/schemas/config.schema.yaml"),
        output:
            table=f"{RUN}/tables/targets.csv",
            text=f"{RUN}/tables/targets.txt",
            manifest=f"{RUN}/tables/compare_targets.manifest.json",
        log:
            f"<logs>/compare_targets/{config['name']}.log",
        conda:
            "../../envs/figures.yaml"
        params:
            program=program("compare_targets"),
            code=fingerprint("compare_targets"),
            tables=" ".join(f"--{name}-table '{path}'" for name, path in COMPARED.items()),
            planned=digest(config),
        message:
            "put barriers beside those of the paper's figures"
        shell:
            "python {params.program:q} {params.tables} --config {input.config:q} --planned {params.planned}"
            " --published {input.published:q} --paper-config {input.paper:q} --schema {input.schema:q}"
            " --table {output.table:q} --text {output.text:q} > {log:q} 2>&1"


# The tables that claims and the summary use.
JUDGED = {
    name: path
    for study, names in {
        "alignment": ("pairs", "best", "summary", "signatures"),
        "averaging": ("barriers", "barrier_summary", "interpolations"),
        "simultaneous": ("simultaneous", "masks"),
    }.items()
    for name, path in tables_of(study).items()
    if name in names
}


rule judge_claims:
    input:
        **JUDGED,
        **{name: os.path.relpath(path) for name, path in PUBLISHED.items()},
        paper=([rules.compare_paper.output.text] if "alignment" in PLAN.studies else [])
        + ([rules.compare_targets.output.text] if TARGETED else []),
        data=PLAN.outputs("prepare_data", "data"),
        remarks=PLAN.outputs("prepare_data", "remarks"),
        claims=os.path.relpath(ROOT / "config/claims.csv"),
    output:
        verdicts=report(f"{RUN}/tables/claims.csv", caption="../report/verdicts.rst", category="Claims"),
        comparison=f"{RUN}/tables/published.csv",
        barrier_comparison=f"{RUN}/tables/published_barriers.csv",
        text=f"{RUN}/summary.txt",
        manifest=f"{RUN}/tables/judge_claims.manifest.json",
        # The printed summary is checked too.
        text_manifest=f"{RUN}/judge_claims.manifest.json",
    log:
        f"<logs>/judge_claims/{config['name']}.log",
    conda:
        "../../envs/figures.yaml"
    params:
        program=program("judge_claims"),
        code=fingerprint("judge_claims"),
        tables=" ".join(f"--{name}-table '{path}'" for name, path in JUDGED.items()),
        # A function's braces are no wildcards.
        networks=lambda wildcards: canonical(
            {name: values for name, (_, values) in PLAN.meanings["network"].items()}
        ),
        paper=option("--paper", "paper"),
        published=" ".join(
            f"--{name.replace('_', '-')} '{os.path.relpath(path)}'" for name, path in PUBLISHED.items()
        ),
        partial=f"--partial '{len(PLAN.cells)} of {ASKED}'" if PARTIAL else "",
    message:
        "judge the claims"
    shell:
        "python {params.program:q} {params.tables} --networks {params.networks:q} {params.paper} --data {input.data:q} --remarks {input.remarks:q}"
        " --claims {input.claims:q} {params.published} {params.partial} --verdicts-table {output.verdicts:q}"
        " --comparison-table {output.comparison:q} --barrier-comparison-table {output.barrier_comparison:q}"
        " --text {output.text:q} > {log:q} 2>&1"


FIGURES = [
    f"{RUN}/figures/{path}.{kind}" for path in registry.of(SHOWN) for kind in ("svg", "pdf", "manifest.json")
]
# Parts of a figure's path besides its name: dataset-network-recipe, and for example -test-activation.
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
        options=figure_options,
        # For Snakemake's report, which shows the caption as it was when the figure was drawn.
        caption=caption,
    message:
        "draw {output.svg}"
    shell:
        "python {params.program:q} --figure {params.figure} --tables {input:q} {params.options}"
        " --svg {output.svg:q} --pdf {output.pdf:q} > {log:q} 2>&1"


# Rules of the tables, verdicts and text in the report or beside it.
SHOWING = [
    *(f"tabulate_{study}" for study in TABULATED),
    *(["compare_paper"] if "alignment" in PLAN.studies else []),
    *(["compare_targets"] if TARGETED else []),
    "judge_claims",
]
SHOWN_FILES = [path for rule in SHOWING for path in getattr(rules, rule).output]


rule write_report:
    """One page with everything in it. Snakemake's own report, with runtimes and source, is made by its --report."""
    input:
        FIGURES,
        SHOWN_FILES,
        config=rules.write_config.output,
        captions=sorted(os.path.relpath(path) for path in Path(ROOT, "workflow/report").glob("*.rst")),
        remarks=PLAN.outputs("prepare_data", "remarks"),
        targets=[rules.compare_targets.output.table] if TARGETED else [],
    output:
        f"{RUN}/report.html",
    log:
        f"<logs>/write_report/{config['name']}.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        program=program("write_report"),
        code=fingerprint("write_report"),
        check=program("check_shown"),
        planned=digest(canonical(config)),
        targets=option("--targets", "targets"),
    message:
        "write the report, {output}"
    shell:
        "python {params.check:q} --config {input.config:q} --planned {params.planned} > {log:q} 2>&1"
        " && python {params.program:q} --config {input.config:q} --captions {input.captions:q}"
        " --remarks {input.remarks:q} {params.targets} --output {output:q} >> {log:q} 2>&1"
