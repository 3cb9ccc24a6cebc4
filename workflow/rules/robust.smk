"""Robustness: curves measured on images attacked at each of their points, and the best network on each of them."""


rule evaluate_robustness:
    input:
        data=rules.prepare_data.output.data,
        networks=networks_of,
        permutation=permutation_of,
        bends=bends_of,
        statistics=rules.evaluate_curve.output.statistics,
    output:
        points="results/evaluations/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{evaluation}-{attack}.csv",
        manifest="results/evaluations/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{evaluation}-{attack}.manifest.json",
    log:
        "<logs>/evaluate_robustness/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{evaluation}-{attack}.log",
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **decisions(
            "evaluate_robustness",
            "network",
            "curve",
            "evaluation",
            "attack",
            pair=pair,
            attack_name=lambda w: NAMES[w.attack],
        ),
        permutation=option("--permutation", "permutation"),
        bends=option("--curve", "bends"),
    message:
        "attack {wildcards.curve} of pair {wildcards.pair} of {wildcards.recipe}, aligned by {wildcards.alignment}, with {wildcards.attack}"
    shell:
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device {params.device} --gpus {resources.gpu}"
        " --data {input.data:q} --networks {input.networks:q} {params.permutation} {params.bends}"
        " --statistics {input.statistics:q} --output {output.points:q} > {log:q} 2>&1"


rule select_network:
    input:
        data=rules.prepare_data.output.data,
        networks=networks_of,
        permutation=permutation_of,
        bends=bends_of,
        statistics=rules.evaluate_curve.output.statistics,
    output:
        rows="results/best/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{evaluation}-{attack}-{strong}-{ensemble}.csv",
        checkpoint="results/best/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{evaluation}-{attack}-{strong}-{ensemble}.safetensors",
        manifest="results/best/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{evaluation}-{attack}-{strong}-{ensemble}.manifest.json",
    log:
        "<logs>/select_network/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{evaluation}-{attack}-{strong}-{ensemble}.log",
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **decisions(
            "select_network",
            "network",
            "curve",
            "evaluation",
            pair=pair,
            attacks=attacks_of,
            selection=lambda w: NAMES[w.attack],
            ensemble=lambda w: int(w.ensemble),
        ),
        permutation=option("--permutation", "permutation"),
        bends=option("--curve", "bends"),
    message:
        "select the best network on {wildcards.curve} of pair {wildcards.pair} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device {params.device} --gpus {resources.gpu}"
        " --data {input.data:q} --networks {input.networks:q} {params.permutation} {params.bends}"
        " --statistics {input.statistics:q} --checkpoint {output.checkpoint:q} --output {output.rows:q} > {log:q} 2>&1"
