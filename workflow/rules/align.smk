"""Permutations: one job brings the second network of a pair to the first by one method."""


rule align:
    input:
        data=rules.prepare_data.output.data,
        networks=networks_of,
    output:
        permutation="results/alignments/{dataset}/{network}/{recipe}/{pair}/{alignment}.safetensors",
        signature="results/alignments/{dataset}/{network}/{recipe}/{pair}/{alignment}.signature.csv",
    log:
        "<logs>/align/{dataset}/{network}/{recipe}/{pair}/{alignment}.log",
    cache: True
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=60),
    params:
        **decisions("align", "network", "alignment", pair=pair),
    message:
        "align pair {wildcards.pair} of {wildcards.recipe} by {wildcards.alignment}"
    shell:
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device {params.device} --gpus {resources.gpu}"
        " --data {input.data:q} --networks {input.networks:q}"
        " --output {output.permutation:q} --signature {output.signature:q} > {log:q} 2>&1"
