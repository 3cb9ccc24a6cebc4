"""Pack the finished run of a config into one file to publish: results/<name>/archive.zip, an RO-Crate.

It holds the complete config, tables, figures, report, verdicts, the claims that were judged, the manifests (checksums,
values, versions) of everything that was computed, and the list of packages; with --weights also the networks,
permutations, curves and measurements. Images are left out, since they have licences of their own. Paths are those
under results/.
Each file is compared with its manifest, and the files that the tables were made from with those present now.
"""

import argparse
import csv
import json
import tomllib
from pathlib import Path

from modeconn import configuration, cost, crate, errors, manifests
from modeconn.figures import registry
from modeconn.identity import canonical
from modeconn.plan import RULES, Made, Plan
from modeconn.studies import STUDIES

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = Path(manifests.FOLDER)
CLAIMS, PACKAGES = PROJECT / "config/claims.csv", PROJECT / "envs/requirements.txt"
LICENCE = ("https://spdx.org/licenses/Apache-2.0", "Apache License 2.0")


def shown(run: Path, config: dict, asked: str) -> dict[str, Path]:
    """Place in the crate -> path, of the results that the finished run in the folder `run` shows.

    config: complete; asked: its path, for messages. Raises ValueError, one line, where the run is unfinished or of
    another config, or where a file does not match its manifest.
    """
    studies = ["runs", *config["studies"]]
    # One file of each job that shows what was measured; its manifest names the others.
    places = ["summary.txt", "tables/claims.csv", *(f"tables/{next(iter(STUDIES[s].tables))}.csv" for s in studies)]
    places += ["tables/paper.csv"] if "alignment" in studies else []
    places += [f"figures/{figure}.svg" for figure in registry.of(config)]
    plain = [run / "config.json", run / "report.html"]
    made = [run / place for place in places]
    if absent := [path for path in (*plain, *made) if not path.is_file()]:
        raise ValueError(
            f"the run of {asked} is unfinished, {absent[0]} is not there: finish it by make reproduce CONFIG={asked}"
        )
    try:
        stored = canonical(json.loads(plain[0].read_text(encoding="utf-8")))
    except ValueError:
        stored = None
    if stored != canonical(config):
        raise ValueError(f"{plain[0]} is not {asked} as it is now: run make reproduce CONFIG={asked} first")
    found = {_place(path): path for path in plain}
    for path in made:
        found |= with_manifest(path, whole=True)
    return found


def computed(run: Path, config: dict, asked: str, weights: bool) -> dict[str, Path]:
    """Place in the crate -> path, of the manifests of everything that was computed for the complete config of `run`.

    weights: also of the files that they name, except data sets. Raises ValueError, one line, where the tables were
    made from other files than those present now, or where a file does not match its manifest.
    """
    planned = Plan(config, configuration.schema())
    for study in ("runs", *planned.studies):
        table = run / "tables" / f"{next(iter(STUDIES[study].tables))}.csv"
        read = (manifests.find(table) or {})["inputs"]
        for name, of in STUDIES[study].measured.items():
            if read.get(name) != [manifests.checksum(path) for path in of(planned)]:
                raise ValueError(
                    f"the tables of {run} were made from other {name} than are there now: run make reproduce "
                    f"CONFIG={asked} first"
                )
    found: dict[str, Path] = {}
    for job in planned.jobs:
        path = Path(Made(job, next(iter(RULES[job.rule].outputs))).path)
        found |= with_manifest(path, whole=weights and job.rule != "prepare_data")
    return found


def with_manifest(path: Path, whole: bool) -> dict[str, Path]:
    """Place in the crate -> path, of the manifest that names `path` and, if `whole`, of all files of it, checked."""
    made, manifest = manifests.find(path), manifests.place(path)
    if made is None or manifest is None:
        return {}
    paths = [RESULTS / place for place in made["files"]] if whole else []
    for named in paths:
        manifests.check(named)
    return {_place(path): path for path in (manifest, *paths)}


def _place(path):
    return path.relative_to(RESULTS).as_posix()


def facts(run: Path, config: dict, weights: bool, places: list[str]) -> crate.Facts:
    """The description of the run in the crate. places: of the files that it shows."""
    verdicts = run / "tables/claims.csv"
    finished = cost.read(verdicts).get("finished")
    if finished is None:
        raise ValueError(f"{verdicts} does not say when it was made, its .cost.json is lost: delete it and run again")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = list(csv.DictReader(manifests.read_text(run / "tables/environments.csv").splitlines()))
    versions = {(name, row[name]) for name in ("python", "torch", "torchvision") for row in rows if row[name]}
    return crate.Facts(
        name=f"{project['description']}: the run {config['name']}",
        description="Config, tables, figures, report and verdicts of one run of the workflow, and the manifests "
        "(checksums, values, source, versions) of all that was computed for them"
        f"{', with the networks, permutations, curves and measurements themselves' if weights else ''}. "
        "Files lie as under results/ of a checkout.",
        finished=finished,
        licence=LICENCE,
        software=crate.Software(project["name"], project["version"]),
        environment=[crate.Software(*version) for version in sorted(versions)],
        asked=[f"{config['name']}/config.json", CLAIMS.name],
        shown=places,
        requirements=PACKAGES.name,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, metavar="FILE", help="of the run, as it was run")
    parser.add_argument("--weights", action="store_true", help="also what was computed, but for images")
    arguments = parser.parse_args()

    config = configuration.completed(arguments.config)
    run = RESULTS / config["name"]
    results = shown(run, config, arguments.config)
    judged = (manifests.find(run / "summary.txt") or {})["inputs"]["claims"]
    if judged != [manifests.checksum(CLAIMS)]:
        raise ValueError(f"{CLAIMS} was edited after it was judged: run make reproduce CONFIG={arguments.config} first")
    contents = results | computed(run, config, arguments.config, arguments.weights)
    contents |= {path.name: path for path in (CLAIMS, PACKAGES)}
    output = run / "archive.zip"
    crate.write(output, contents, facts(run, config, arguments.weights, list(results)))
    print(f"{output}: {len(contents)} files, {output.stat().st_size / 2**20:.1f} MiB, an RO-Crate 1.1")


if __name__ == "__main__":
    with errors.in_one_line():
        main()
