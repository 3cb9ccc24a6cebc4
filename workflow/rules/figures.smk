"""Tables, verdicts, figures and the report of this config, under results/<name>/. Nothing here imports torch."""

PUBLISHED = ROOT / "config/published" / f"{config['name']}.csv"


rule make_tables:
    input:
        evaluations=unique(evaluations(CELLS) + robust_evaluations(CELLS)),
        histories=histories,
        signatures=unique(
            rules.align.output.signature.format(**cell) for cell in CELLS if cell["alignment"] != "none"
        ),
    output:
        curves=f"{RUN}/tables/curves.csv",
        pairs=f"{RUN}/tables/pairs.csv",
        summary=report(f"{RUN}/tables/summary.csv", caption="../report/summary.rst", category="Tables"),
        training=f"{RUN}/tables/training.csv",
        signatures=f"{RUN}/tables/signatures.csv",
    log:
        f"<logs>/make_tables/{config['name']}.log",
    conda:
        "../../envs/figures.yaml"
    params:
        program=program("make_tables"),
        code=fingerprint("make_tables"),
    message:
        "join what was measured into tables"
    shell:
        "python {params.program:q} --evaluations {input.evaluations:q} --histories {input.histories:q}"
        " --signatures {input.signatures:q} --curves-table {output.curves:q} --pairs-table {output.pairs:q}"
        " --summary-table {output.summary:q} --training-table {output.training:q}"
        " --signatures-table {output.signatures:q} > {log:q} 2>&1"


rule write_config:
    """The config with every default written out: what the tables beside it were made from."""
    output:
        f"{RUN}/config.json",
    log:
        f"<logs>/write_config/{config['name']}.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        config=canonical(config),
    message:
        "write the complete config, {output}"
    shell:
        "printf '%s\\n' {params.config:q} > {output:q} 2> {log:q}"


rule compare_paper:
    input:
        summary=rules.make_tables.output.summary,
        # Of the config only what the comparison speaks of counts, which is in params.
        config=ancient(rules.write_config.output),
        published=os.path.relpath(ROOT / "config/published/tatro2020.csv"),
        paper=os.path.relpath(ROOT / "config/paper.yaml"),
        schema=os.path.relpath(Path(workflow.basedir, "schemas/config.schema.yaml")),
    output:
        table=f"{RUN}/tables/paper.csv",
        page=report(f"{RUN}/tables/paper.html", caption="../report/paper.rst", category="Tables"),
        text=f"{RUN}/tables/paper.txt",
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
        " --published {input.published:q} --paper-config {input.paper:q} --schema {input.schema:q}"
        " --paper-table {output.table:q} --page {output.page:q} --text {output.text:q} > {log:q} 2>&1"


rule judge_claims:
    input:
        pairs=rules.make_tables.output.pairs,
        summary=rules.make_tables.output.summary,
        signatures=rules.make_tables.output.signatures,
        paper=rules.compare_paper.output.text,
        claims=os.path.relpath(ROOT / "config/claims.csv"),
        published=[os.path.relpath(PUBLISHED)] if PUBLISHED.exists() else [],
    output:
        verdicts=report(f"{RUN}/tables/claims.csv", caption="../report/verdicts.rst", category="Claims"),
        comparison=f"{RUN}/tables/published.csv",
        text=f"{RUN}/summary.txt",
    log:
        f"<logs>/judge_claims/{config['name']}.log",
    conda:
        "../../envs/figures.yaml"
    params:
        program=program("judge_claims"),
        code=fingerprint("judge_claims"),
        published=option("--published", "published"),
    message:
        "judge the claims"
    shell:
        "python {params.program:q} --pairs-table {input.pairs:q} --summary-table {input.summary:q}"
        " --signatures-table {input.signatures:q} --paper {input.paper:q}"
        " --claims {input.claims:q} {params.published} --verdicts-table {output.verdicts:q}"
        " --comparison-table {output.comparison:q} --text {output.text:q} > {log:q} 2>&1"


rule draw_curves:
    input:
        rules.make_tables.output.curves,
    output:
        **figure("curves-{split}-{alignment_shown}", "along the curves"),
    log:
        f"<logs>/draw_curves/{config['name']}/{{studied}}-{{split}}-{{alignment_shown}}.log",
    conda:
        "../../envs/figures.yaml"
    params:
        program=program("draw_curves"),
        code=fingerprint("draw_curves"),
        selection=selection,
    message:
        "draw {output.svg}"
    shell:
        "python {params.program:q} --table {input:q} {params.selection}"
        " --svg {output.svg:q} --pdf {output.pdf:q} > {log:q} 2>&1"


use rule draw_curves as draw_robustness with:
    output:
        **figure("robustness-{alignment_shown}", "clean and under attack"),
    log:
        f"<logs>/draw_robustness/{config['name']}/{{studied}}-{{alignment_shown}}.log",
    params:
        program=program("draw_robustness"),
        code=fingerprint("draw_robustness"),


use rule draw_curves as draw_signatures with:
    input:
        rules.make_tables.output.signatures,
    output:
        **figure("signatures", "correlation by layer"),
    log:
        f"<logs>/draw_signatures/{config['name']}/{{studied}}.log",
    params:
        program=program("draw_signatures"),
        code=fingerprint("draw_signatures"),


use rule draw_curves as draw_training with:
    input:
        rules.make_tables.output.training,
    output:
        **figure("training", "training"),
    log:
        f"<logs>/draw_training/{config['name']}/{{studied}}.log",
    params:
        program=program("draw_training"),
        code=fingerprint("draw_training"),


FIGURES = unique(figures())


rule write_report:
    """Snakemake's own report, asked for by the complete config, so that it shows what this run has made."""
    input:
        FIGURES,
        rules.make_tables.output,
        rules.judge_claims.output,
        rules.compare_paper.output,
        config=rules.write_config.output,
    output:
        f"{RUN}/report.html",
    log:
        f"<logs>/write_report/{config['name']}.log",
    localrule: True
    conda:
        "../../envs/figures.yaml"
    params:
        snakefile=os.path.relpath(workflow.main_snakefile),
    message:
        "write the report, {output}"
    shell:
        "snakemake figures tables --report {output:q} --snakefile {params.snakefile:q}"
        " --configfile {input.config:q} --replace-workflow-config"
        " --workflow-profile none --nolock > {log:q} 2>&1"
