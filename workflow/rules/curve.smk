"""Curves: trained between the networks of a pair, then measured point by point."""


rule fit_curve:
    input:
        data=rules.prepare_data.output.data,
        networks=networks_of,
        permutation=permutation_of,
    output:
        bends="results/curves/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}.safetensors",
        history="results/curves/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}.history.csv",
        manifest="results/curves/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}.manifest.json",
    log:
        "<logs>/fit_curve/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}.log",
    cache: True
    priority: 5
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **decisions("fit_curve", "network", "recipe", "curve", pair=pair),
        permutation=option("--permutation", "permutation"),
    message:
        "fit {wildcards.curve} for pair {wildcards.pair} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device {params.device} --gpus {resources.gpu}"
        " --data {input.data:q} --networks {input.networks:q} {params.permutation}"
        " --output {output.bends:q} --history {output.history:q} > {log:q} 2>&1"


rule evaluate_curve:
    input:
        data=rules.prepare_data.output.data,
        networks=networks_of,
        permutation=permutation_of,
        bends=bends_of,
    output:
        points="results/evaluations/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{evaluation}.csv",
        statistics="results/evaluations/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{evaluation}.safetensors",
        manifest="results/evaluations/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{evaluation}.manifest.json",
    log:
        "<logs>/evaluate_curve/{dataset}/{network}/{recipe}/{pair}/{alignment}/{curve}/{evaluation}.log",
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=120),
    params:
        **decisions(
            "evaluate_curve",
            "network",
            "curve",
            "evaluation",
            pair=pair,
            **RECALIBRATED_ON,
        ),
        permutation=option("--permutation", "permutation"),
        bends=option("--curve", "bends"),
    message:
        "evaluate {wildcards.curve} for pair {wildcards.pair} of {wildcards.recipe}, aligned by {wildcards.alignment}"
    shell:
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device {params.device} --gpus {resources.gpu}"
        " --data {input.data:q} --networks {input.networks:q} {params.permutation} {params.bends}"
        " --output {output.points:q} --statistics {output.statistics:q} > {log:q} 2>&1"
