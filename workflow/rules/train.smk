"""Networks: one job trains one block of seeds of one network by one recipe."""


rule train:
    input:
        data=rules.prepare_data.output.data,
    output:
        networks="results/networks/{dataset}/{network}/{recipe}/seeds{block}.safetensors",
        history="results/networks/{dataset}/{network}/{recipe}/seeds{block}.history.csv",
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
    params:
        **decisions("train", "network", "recipe", seeds=seeds),
    message:
        "train {wildcards.network} by {wildcards.recipe}, seeds {wildcards.block}"
    shell:
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device {params.device} --gpus {resources.gpu}"
        " --data {input.data:q} --output {output.networks:q} --history {output.history:q} > {log:q} 2>&1"
