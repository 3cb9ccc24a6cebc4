"""Tables, verdicts, figures and the report of this config, under results/<name>/. Nothing here imports torch."""

PUBLISHED = ROOT / "config/published" / f"{config['name']}.csv"
# Writes the params of a rule, one a line.
LINES = os.path.relpath(Path(workflow.basedir, "templates/lines.txt"))
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


rule list_measurements:
    """The options that name what make_tables reads: a shell command holds 128 KiB, and there may be thousands."""
    input:
        LINES,
    output:
        f"{RUN}/tables/measurements.txt",
    log:
        f"<logs>/list_measurements/{config['name']}.log",
    params:
        *(word for name, paths in MEASUREMENTS.items() for word in (f"--{name}", *paths)),
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
        "python {params.program:q} @{input.measurements:q} --curves-table {output.curves:q}"
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
        best=rules.make_tables.output.best,
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
        "python {params.program:q} --pairs-table {input.pairs:q} --best-table {input.best:q}"
        " --summary-table {input.summary:q} --signatures-table {input.signatures:q} --paper {input.paper:q}"
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


use rule draw_curves as draw_spectrum with:
    input:
        rules.make_tables.output.spectrum,
    output:
        **figure("spectrum", "spectrum of the loss"),
    log:
        f"<logs>/draw_spectrum/{config['name']}/{{studied}}.log",
    params:
        program=program("draw_spectrum"),
        code=fingerprint("draw_spectrum"),


rule draw_planes:
    input:
        planes=rules.make_tables.output.planes,
        marks=rules.make_tables.output.marks,
    output:
        **figure("planes-{curve_shown}", "planes"),
    log:
        f"<logs>/draw_planes/{config['name']}/{{studied}}-{{curve_shown}}.log",
    conda:
        "../../envs/figures.yaml"
    params:
        program=program("draw_planes"),
        code=fingerprint("draw_planes"),
        selection=selection,
    message:
        "draw {output.svg}"
    shell:
        "python {params.program:q} --table {input.planes:q} --marks {input.marks:q} {params.selection}"
        " --svg {output.svg:q} --pdf {output.pdf:q} > {log:q} 2>&1"


use rule draw_curves as draw_similarity with:
    input:
        rules.make_tables.output.activations,
    output:
        **figure("similarity-{curve_shown}", "similarity to the endpoints"),
    log:
        f"<logs>/draw_similarity/{config['name']}/{{studied}}-{{curve_shown}}.log",
    params:
        program=program("draw_similarity"),
        code=fingerprint("draw_similarity"),


use rule draw_similarity as draw_layers with:
    output:
        **figure("layers-{curve_shown}", "similarity by layer"),
    log:
        f"<logs>/draw_layers/{config['name']}/{{studied}}-{{curve_shown}}.log",
    params:
        program=program("draw_layers"),
        code=fingerprint("draw_layers"),


use rule draw_curves as draw_candidates with:
    input:
        rules.make_tables.output.candidates,
    output:
        **figure("candidates", "candidates of the refinement"),
    log:
        f"<logs>/draw_candidates/{config['name']}/{{studied}}.log",
    params:
        program=program("draw_candidates"),
        code=fingerprint("draw_candidates"),


use rule draw_curves as draw_permutations with:
    input:
        rules.make_tables.output.permutations,
    output:
        **figure("permutations", "permutations compared"),
    log:
        f"<logs>/draw_permutations/{config['name']}/{{studied}}.log",
    params:
        program=program("draw_permutations"),
        code=fingerprint("draw_permutations"),


use rule draw_curves as draw_best with:
    input:
        rules.make_tables.output.best,
    output:
        **figure("best", "the best network on the path"),
    log:
        f"<logs>/draw_best/{config['name']}/{{studied}}.log",
    params:
        program=program("draw_best"),
        code=fingerprint("draw_best"),


FIGURES = unique(figures())


def deleted():
    """What a finished run of this name has made and is gone: Snakemake makes again only what somebody asks for.

    Of a run that has come to no end the report asks for all.
    """
    if not any(os.path.exists(f"{RUN}/{end}") for end in ("report.html", "summary.txt", "figures")):
        return []
    made = [
        *FIGURES,
        *rules.write_config.output,
        *rules.make_tables.output,
        *rules.compare_paper.output,
        *rules.judge_claims.output,
        *(rules.prepare_data.output.data.format(**cell) for cell in CELLS),
        *(path for paths in MEASUREMENTS.values() for path in paths),
        *(path.replace(".csv", ".safetensors") for path in selections(CELLS)),
    ]
    return [path for path in unique(made) if not os.path.exists(path)]


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
        " --configfile {input.config:q}"
        " --workflow-profile none --nolock > {log:q} 2>&1"
