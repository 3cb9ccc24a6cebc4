"""Check that the artifacts that a program reads belong to each other and to its job.

An artifact records as `inputs` the checksums of the files that its program read, by the name of the argument, and as
`job` the values and names of its job. A permutation of other networks, bends of another permutation, or networks of
another recipe under the right path would silently give wrong numbers. A job's values do not hold everything that
decided its inputs, but the paths of the inputs do, and manifests name the files of a job by path.
"""

from argparse import Namespace

from modeconn import artifacts, manifests


def check(arguments: Namespace, given: dict[str, list[str | None]]) -> None:
    """Raises ValueError, one line, where an artifact was made from other files than those given, or for another job.

    given: from `artifacts.checksums`. What an artifact does not record, because it was made by hand, is not checked.
    """
    for argument, paths in artifacts.named(arguments).items():
        for path in paths:
            metadata = artifacts.metadata(path)
            maker = metadata.get("rule")
            for name, expected in metadata.get("inputs", {}).items():
                # A refined permutation was made from another one, its start.
                if name == argument or None in given.get(name, [None]):
                    continue
                here = sorted(map(str, given[name]))
                # Pruned networks were made from one file of trained ones, and of later levels from the level before.
                fits = bool({*here} & {*expected}) if maker == "prune" else here == sorted(expected)
                if not fits:
                    source = _described(arguments, name, expected)
                    raise ValueError(
                        f"{path} was made from {source}: run rule {maker} again, or give what belongs to it"
                    )
            _check_job(path, maker, argument, metadata.get("job", {}), arguments.job)
            if metadata:  # otherwise `artifacts.load` explains what the file is
                manifests.check_artifact(path, metadata.get("checksum"))


def _check_job(path, maker, argument, made, wanted):
    """Names and values that both jobs have must be equal."""
    names, here = made.get("names", {}), wanted.get("names", {})
    # The start of PAM is another alignment than its result.
    starts = argument == "permutation" and wanted.get("alignment", {}).get("method") == "pam"
    # Members across recipes are named <recipe>:<seed>.
    recipes = {member.partition(":")[0] for member in wanted.get("members", []) if isinstance(member, str)}
    for kind in sorted(names.keys() & here.keys() - ({"alignment"} if starts else set())):
        if kind == "recipe" and argument == "networks" and names[kind] in recipes:
            continue
        if names[kind] != here[kind]:
            raise ValueError(
                f"{path} is of {kind} {names[kind]}, and this job of {here[kind]}: run rule {maker} again, or give the "
                "file that belongs to it"
            )
    for kind in ("members", "moments", "network", "recipe"):
        if kind in made and kind in wanted and made[kind] != wanted[kind]:
            other = {"members": "other networks", "moments": "other moments"}.get(kind, f"another {kind}")
            raise ValueError(
                f"{path} is of {other} than this job, by its values: run rule {maker} again, or give the file "
                "that belongs to it"
            )


def _described(arguments, name, expected):
    """The message that an artifact was made from other files than those of the argument `name`."""
    paths = artifacts.named(arguments)[name]
    if not expected:
        return f"no {name}, and {' '.join(paths)} is given"
    return f"other {name} than {' '.join(paths)}" if paths else f"a {name}, and none is given"
