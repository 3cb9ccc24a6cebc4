"""Curves between the networks of a pair: trained, measured point by point, and the best network on each selected."""


rule fit_curve:
    input:
        **inputs("fit_curve"),
    output:
        **plan.patterns("fit_curve"),
    log:
        log("fit_curve"),
    cache: True
    priority: 5
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **job_params("fit_curve"),
        permutation=option("--permutation", "permutation"),
    message:
        "fit {wildcards.curve} for {wildcards.population} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        call(
            "--networks {input.networks:q} {params.permutation} --output {output.bends:q} --history {output.history:q} > {log:q} 2>&1"
        )


rule evaluate_curve:
    input:
        **inputs("evaluate_curve"),
    output:
        **plan.patterns("evaluate_curve"),
    log:
        log("evaluate_curve"),
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **job_params("evaluate_curve"),
        permutation=option("--permutation", "permutation"),
        bends=option("--curve", "bends"),
    message:
        "evaluate {wildcards.curve} for {wildcards.population} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        call(
            "--networks {input.networks:q} {params.permutation} {params.bends} --output {output.points:q} --statistics {output.statistics:q} > {log:q} 2>&1"
        )


rule select_network:
    input:
        **inputs("select_network"),
    output:
        **plan.patterns("select_network"),
    log:
        log("select_network"),
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **job_params("select_network"),
        permutation=option("--permutation", "permutation"),
        bends=option("--curve", "bends"),
    message:
        "select the best network on {wildcards.curve} of {wildcards.population} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        call(
            "--networks {input.networks:q} {params.permutation} {params.bends} --statistics {input.statistics:q} --checkpoint {output.checkpoint:q} --output {output.rows:q} > {log:q} 2>&1"
        )
