"""Networks: one job trains one block of seeds of one network by one recipe.

Before it trains, its network is proved to be what alignments take, once for a network and data set. What is found lies
with the logs, and nothing of the check is a param: editing the proof proves again what is trained next, and retrains
nothing, here or from a cache.
"""


rule train:
    input:
        **inputs("train"),
    output:
        **plan.patterns("train"),
    log:
        log("train"),
    cache: True
    # Long jobs first, so that none of them runs alone at the end.
    priority: 10
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
        check=program("check_network"),
        recalibration=canonical(config["evaluation"]["recalibration"]),
        statistics=lambda wildcards: canonical(PLAN.statistics(wildcards.dataset, wildcards.network)),
        left_out=lambda wildcards: canonical(PLAN.left_out(wildcards.dataset, wildcards.network)),
    params:
        **job_params("train"),
    message:
        "train {wildcards.network} by {wildcards.recipe}, seeds {wildcards.block}"
    shell:
        "python {resources.check:q} --data {input.data:q} --job {params.job:q} --statistics {resources.statistics:q}"
        " --left-out {resources.left_out:q} --recalibration {resources.recalibration:q}"
        " --output results/logs/check_network/{wildcards.dataset}/{wildcards.network}.json > {log:q} 2>&1\n"
        + call("--output {output.networks:q} --history {output.history:q} >> {log:q} 2>&1")


rule prune:
    input:
        **inputs("prune"),
    output:
        **plan.patterns("prune"),
    log:
        log("prune"),
    cache: True
    priority: 10
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **job_params("prune"),
    message:
        "prune {wildcards.network} by {wildcards.recipe}, seeds {wildcards.block}, level {wildcards.level}"
    shell:
        call(
            "--networks {input.ancestors:q} --output {output.networks:q} --history {output.history:q} > {log:q} 2>&1"
        )


rule train_masked:
    input:
        **inputs("train_masked"),
    output:
        **plan.patterns("train_masked"),
    log:
        log("train_masked"),
    cache: True
    priority: 5
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **job_params("train_masked"),
        permutation=option("--permutation", "permutation"),
    message:
        "train {wildcards.population} of {wildcards.recipe}, aligned by {wildcards.alignment}, level {wildcards.level}, by masks {wildcards.masks}"
    shell:
        call(
            "--networks {input.networks:q} --sparse {input.sparse:q} {params.permutation} --output {output.networks:q} --history {output.history:q} --points {output.points:q} > {log:q} 2>&1"
        )
