"""Networks: one job trains one block of seeds of one network by one recipe.

Before it trains, its network is proved to be what alignments take, once for a network and data set. What is found lies
with the logs, and nothing of the check is a param: editing the proof proves again what is trained next, and retrains
nothing, here or from a cache.
"""

STATISTICS = statistics(CELLS)


rule train:
    input:
        data=rules.prepare_data.output.data,
    output:
        networks="results/networks/{dataset}/{network}/{recipe}/seeds{block}.safetensors",
        history="results/networks/{dataset}/{network}/{recipe}/seeds{block}.history.csv",
        manifest="results/networks/{dataset}/{network}/{recipe}/seeds{block}.manifest.json",
    log:
        "<logs>/train/{dataset}/{network}/{recipe}/seeds{block}.log",
    cache: True
    # Long jobs first, or one of them ends alone.
    priority: 10
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
        check=program("check_network"),
        recalibration=canonical(config["evaluation"]["recalibration"]),
        statistics=lambda w: canonical(list(STATISTICS.get((w.dataset, w.network), {}).values())),
    params:
        **decisions("train", "network", "recipe", seeds=seeds),
    message:
        "train {wildcards.network} by {wildcards.recipe}, seeds {wildcards.block}"
    shell:
        "python {resources.check:q} --data {input.data:q} --job {params.job:q} --statistics {resources.statistics:q}"
        " --recalibration {resources.recalibration:q}"
        " --output results/logs/check_network/{wildcards.dataset}/{wildcards.network}.json > {log:q} 2>&1\n"
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device {params.device} --gpus {resources.gpu}"
        " --data {input.data:q} --output {output.networks:q} --history {output.history:q} >> {log:q} 2>&1"
