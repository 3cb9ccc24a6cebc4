"""Permutations: one job brings the networks of a population into one frame, by matching or by PAM (a pair)."""


rule align:
    input:
        **inputs("align"),
    output:
        **plan.patterns("align"),
    log:
        log("align"),
    wildcard_constraints:
        alignment=PLAN.identities("alignment", keep=PLAN.is_matched),
    cache: True
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=60),
    params:
        **job_params("align"),
    message:
        "align {wildcards.population} of {wildcards.recipe} by {wildcards.alignment}"
    shell:
        call("--networks {input.networks:q} --output {output.permutation:q} > {log:q} 2>&1")


rule refine:
    input:
        **inputs("refine"),
    output:
        **plan.patterns("refine"),
    log:
        log("refine"),
    wildcard_constraints:
        alignment=PLAN.identities("alignment", keep=PLAN.is_refined),
    cache: True
    priority: 5
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **job_params("refine"),
        start=option("--permutation", "start"),
    message:
        "refine the permutation of {wildcards.population} of {wildcards.recipe} by {wildcards.alignment}"
    shell:
        call(
            "--networks {input.networks:q} {params.start} --output {output.permutation:q} --history {output.history:q} --scores {output.scores:q} > {log:q} 2>&1"
        )


rule align_moments:
    input:
        **inputs("align_moments"),
    output:
        **plan.patterns("align_moments"),
    log:
        log("align_moments"),
    wildcard_constraints:
        alignment=PLAN.identities("alignment", keep=PLAN.is_matched),
    cache: True
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=120),
    params:
        **job_params("align_moments"),
    message:
        "align {wildcards.population} of {wildcards.recipe} by {wildcards.alignment} at {wildcards.moments}"
    shell:
        call("--networks {input.checkpoints:q} --output {output.permutation:q} > {log:q} 2>&1")
