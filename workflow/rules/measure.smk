"""Measurements besides curves: activations of aligned pairs and along paths, planes, barriers of many pairs."""


rule evaluate_signature:
    input:
        **inputs("evaluate_signature"),
    output:
        **plan.patterns("evaluate_signature"),
    log:
        log("evaluate_signature"),
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=60),
    params:
        **job_params("evaluate_signature"),
        permutation=option("--permutation", "permutation"),
    message:
        "compare activations of {wildcards.population} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        call(
            "--networks {input.networks:q} {params.permutation} --output {output.signature:q} > {log:q} 2>&1"
        )


rule evaluate_activations:
    input:
        **inputs("evaluate_activations"),
    output:
        **plan.patterns("evaluate_activations"),
    log:
        log("evaluate_activations"),
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=120),
    params:
        **job_params("evaluate_activations"),
        permutation=option("--permutation", "permutation"),
        bends=option("--curve", "bends"),
    message:
        "compare activations along {wildcards.curve} of {wildcards.population} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        call(
            "--networks {input.networks:q} {params.permutation} {params.bends} --output {output.activations:q} > {log:q} 2>&1"
        )


rule evaluate_plane:
    input:
        **inputs("evaluate_plane"),
    output:
        **plan.patterns("evaluate_plane"),
    log:
        log("evaluate_plane"),
    wildcard_constraints:
        curve=PLAN.identities("curve", keep=PLAN.is_bent) + "|none",
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **job_params("evaluate_plane"),
        permutation=option("--permutation", "permutation"),
        bends=option("--curve", "bends"),
    message:
        "evaluate the plane of curve {wildcards.curve} and alignment {wildcards.alignment}, {wildcards.population} of {wildcards.recipe}"
    shell:
        call(
            "--networks {input.networks:q} {params.permutation} {params.bends} --output {output.points:q} --marks {output.marks:q} > {log:q} 2>&1"
        )


rule evaluate_averages:
    input:
        **inputs("evaluate_averages"),
    output:
        **plan.patterns("evaluate_averages"),
    log:
        log("evaluate_averages"),
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=120),
    params:
        **job_params("evaluate_averages"),
        permutation=option("--permutation", "permutation"),
    message:
        "average networks of {wildcards.population} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        call("--networks {input.networks:q} {params.permutation} --output {output.points:q} > {log:q} 2>&1")


rule evaluate_barriers:
    input:
        **inputs("evaluate_barriers"),
    output:
        **plan.patterns("evaluate_barriers"),
    log:
        log("evaluate_barriers"),
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **job_params("evaluate_barriers"),
        permutation=option("--permutation", "permutation"),
    message:
        "measure the barriers of {wildcards.population} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        call("--networks {input.networks:q} {params.permutation} --output {output.points:q} > {log:q} 2>&1")


rule evaluate_triangles:
    input:
        **inputs("evaluate_triangles"),
    output:
        **plan.patterns("evaluate_triangles"),
    log:
        log("evaluate_triangles"),
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=120),
    params:
        **job_params("evaluate_triangles"),
        permutation=option("--permutation", "permutation"),
    message:
        "measure triangles of {wildcards.population} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        call("--networks {input.networks:q} {params.permutation} --output {output.points:q} > {log:q} 2>&1")


rule evaluate_boundary:
    input:
        **inputs("evaluate_boundary"),
    output:
        **plan.patterns("evaluate_boundary"),
    log:
        log("evaluate_boundary"),
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=60),
    params:
        **job_params("evaluate_boundary"),
        permutation=option("--permutation", "permutation"),
    message:
        "measure answers in the plane of {wildcards.population} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        call(
            "--networks {input.networks:q} {params.permutation} --output {output.points:q} --units {output.units:q} > {log:q} 2>&1"
        )


rule evaluate_disagreement:
    input:
        **inputs("evaluate_disagreement"),
    output:
        **plan.patterns("evaluate_disagreement"),
    log:
        log("evaluate_disagreement"),
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=60),
    params:
        **job_params("evaluate_disagreement"),
    message:
        "compare the answers of {wildcards.population} of {wildcards.recipe}"
    shell:
        call(
            "--networks {input.networks:q} --output {output.points:q} --norms {output.norms:q} > {log:q} 2>&1"
        )


rule evaluate_iterates:
    input:
        **inputs("evaluate_iterates"),
    output:
        **plan.patterns("evaluate_iterates"),
    log:
        log("evaluate_iterates"),
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=120),
    params:
        **job_params("evaluate_iterates"),
    message:
        "measure {wildcards.moments} of each of {wildcards.population} of {wildcards.recipe}"
    shell:
        call(
            "--networks {input.checkpoints:q} --output {output.points:q} --averages {output.averages:q} > {log:q} 2>&1"
        )


rule evaluate_grid:
    input:
        **inputs("evaluate_grid"),
    output:
        **plan.patterns("evaluate_grid"),
    log:
        log("evaluate_grid"),
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **job_params("evaluate_grid"),
        permutation=option("--permutation", "permutation"),
    message:
        "measure {wildcards.population} of {wildcards.recipe} at {wildcards.moments}, aligned by {wildcards.alignment}"
    shell:
        call(
            "--networks {input.checkpoints:q} {params.permutation} --output {output.points:q} > {log:q} 2>&1"
        )
