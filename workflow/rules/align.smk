"""Permutations: one job brings the second network of a pair to the first by one method, matching or PAM."""


rule align:
    input:
        data=rules.prepare_data.output.data,
        networks=networks_of,
    output:
        permutation="results/alignments/{dataset}/{network}/{recipe}/{pair}/{alignment}.safetensors",
        signature="results/alignments/{dataset}/{network}/{recipe}/{pair}/{alignment}.signature.csv",
        manifest="results/alignments/{dataset}/{network}/{recipe}/{pair}/{alignment}.manifest.json",
    log:
        "<logs>/align/{dataset}/{network}/{recipe}/{pair}/{alignment}.log",
    wildcard_constraints:
        alignment=identities("alignment", keep=is_matched),
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


rule refine:
    input:
        data=rules.prepare_data.output.data,
        networks=networks_of,
        permutation=start_of,
    output:
        permutation="results/alignments/{dataset}/{network}/{recipe}/{pair}/{alignment}.safetensors",
        signature="results/alignments/{dataset}/{network}/{recipe}/{pair}/{alignment}.signature.csv",
        history="results/alignments/{dataset}/{network}/{recipe}/{pair}/{alignment}.history.csv",
        scores="results/alignments/{dataset}/{network}/{recipe}/{pair}/{alignment}.scores.csv",
        manifest="results/alignments/{dataset}/{network}/{recipe}/{pair}/{alignment}.manifest.json",
    log:
        "<logs>/refine/{dataset}/{network}/{recipe}/{pair}/{alignment}.log",
    wildcard_constraints:
        alignment=identities("alignment", keep=is_refined),
    cache: True
    priority: 5
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=240),
    params:
        **decisions("refine", "network", "recipe", "alignment", pair=pair),
        permutation=option("--permutation", "permutation"),
    message:
        "refine the permutation of pair {wildcards.pair} of {wildcards.recipe} by {wildcards.alignment}"
    shell:
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device {params.device} --gpus {resources.gpu}"
        " --data {input.data:q} --networks {input.networks:q} {params.permutation}"
        " --output {output.permutation:q} --signature {output.signature:q} --history {output.history:q}"
        " --scores {output.scores:q} > {log:q} 2>&1"
