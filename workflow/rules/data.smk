"""A source of images becomes one file of tensors, with its splits."""


rule prepare_data:
    output:
        **plan.patterns("prepare_data"),
    log:
        log("prepare_data"),
    cache: True
    conda:
        "../../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **computing(minutes=60, gpu=False),
        # Not a param: the folder of archives must not decide reruns or the key of a cache.
        downloads=config["downloads"],
    params:
        **job_params("prepare_data"),
    message:
        "prepare the data set {wildcards.dataset}"
    shell:
        # Remarks are a file of their own, so that changed wording does not train networks again.
        "python {params.program:q} --job {params.job:q} --code {params.code:q} --device cpu"
        " --downloads {resources.downloads:q} --output {output.data:q} --remarks {output.remarks:q} > {log:q} 2>&1"
        # On the screen before anything is trained, and in the summary again.
        " && cat {output.remarks:q} >&2"
