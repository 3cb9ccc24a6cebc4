"""What lies around and along a path: planes of loss and accuracy, and how alike activations stay to the endpoints'."""


rule evaluate_plane:
    input:
        data=rules.prepare_data.output.data,
        networks=networks_of,
        permutation=permutation_of,
        bends=bends_of,
    output:
        points="results/planes/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{plane}.csv",
        marks="results/planes/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{plane}.marks.csv",
        manifest="results/planes/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{plane}.manifest.json",
    log:
        "<logs>/evaluate_plane/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{plane}.log",
    wildcard_constraints:
        curve=identities("curve", keep=is_bent) + "|none",
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **decisions(
            "evaluate_plane",
            "network",
            "curve",
            "plane",
            pair=pair,
            **RECALIBRATED_ON,
        ),
        permutation=option("--permutation", "permutation"),
        bends=option("--curve", "bends"),
    message:
        "evaluate the plane of curve {wildcards.curve} and alignment {wildcards.alignment}, pair {wildcards.pair} of {wildcards.recipe}"
    shell:
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device {params.device} --gpus {resources.gpu}"
        " --data {input.data:q} --networks {input.networks:q} {params.permutation} {params.bends}"
        " --output {output.points:q} --marks {output.marks:q} > {log:q} 2>&1"


rule evaluate_activations:
    input:
        data=rules.prepare_data.output.data,
        networks=networks_of,
        permutation=permutation_of,
        bends=bends_of,
    output:
        activations="results/activations/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{activations}.csv",
        manifest="results/activations/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{activations}.manifest.json",
    log:
        "<logs>/evaluate_activations/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{activations}.log",
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=120),
    params:
        **decisions(
            "evaluate_activations",
            "network",
            "curve",
            "activations",
            pair=pair,
            **RECALIBRATED_ON,
        ),
        permutation=option("--permutation", "permutation"),
        bends=option("--curve", "bends"),
    message:
        "compare activations along {wildcards.curve} of pair {wildcards.pair} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device {params.device} --gpus {resources.gpu}"
        " --data {input.data:q} --networks {input.networks:q} {params.permutation} {params.bends}"
        " --output {output.activations:q} > {log:q} 2>&1"
