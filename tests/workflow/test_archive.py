"""A finished run in one file to publish: what is in it, and what an unfinished one says."""

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

import preloaded
from modeconn import manifests

RESULT = Path("results/tiny/archive.zip")


@pytest.fixture
def archive(finished, tmp_path):
    """Archive the run of a copy of the finished checkout: returns the checkout, and a function that does it."""
    checkout = finished.copy(tmp_path / "project")

    def archive(*options):
        command = [preloaded.python(), "scripts/archive.py", "--config", "tiny.yaml", *options]
        return subprocess.run(command, cwd=checkout.path, capture_output=True, text=True)

    return checkout, archive


def packed(checkout):
    """Name -> content of what the archive of a checkout holds."""
    with zipfile.ZipFile(checkout.path / RESULT) as file:
        return {name: file.read(name) for name in file.namelist()}


def refused(checkout, done):
    """The one line by which archive.py ended without an archive."""
    assert done.returncode == 1
    assert not (checkout.path / RESULT).exists()
    (line,) = done.stderr.splitlines()
    return line


def test_an_archive_holds_what_a_run_shows_and_where_it_is_from(archive):
    checkout, run = archive
    done = run()
    assert done.returncode == 0, done.stderr
    found = packed(checkout)
    results = checkout.path / "results"
    for kind in ("tables/*.csv", "figures/*/*.svg", "figures/*/*.pdf", "config.json", "report.html", "summary.txt"):
        places = {str(path.relative_to(results)) for path in (results / "tiny").glob(kind)}
        assert places
        assert places <= found.keys()
    computed = [path for path in results.rglob("*.manifest.json") if "tiny" not in path.parts]
    assert {str(path.relative_to(results)) for path in computed} <= found.keys()
    assert not [name for name in found if name.endswith(".safetensors")]
    assert found["claims.csv"] == (checkout.path / "config/claims.csv").read_bytes()
    assert found["requirements.txt"] == (checkout.path / "envs/requirements.txt").read_bytes()


def test_its_metadata_lists_each_file_with_its_size_and_media_type(archive):
    checkout, run = archive
    run()
    found = packed(checkout)
    entities = {entity["@id"]: entity for entity in json.loads(found.pop("ro-crate-metadata.json"))["@graph"]}
    assert {part["@id"] for part in entities["./"]["hasPart"]} == found.keys()
    for name, content in found.items():
        assert entities[name]["@type"] == "File"
        assert entities[name]["contentSize"] == str(len(content))
        assert "/" in entities[name]["encodingFormat"]
    results = {result["@id"] for result in entities["#run"]["result"]}
    assert {"tiny/report.html", "tiny/tables/claims.csv"} <= results


def test_with_weights_it_holds_what_was_computed_as_its_manifests_say_but_no_images(archive):
    checkout, run = archive
    run("--weights")
    found = packed(checkout)
    networks = [name for name in found if name.startswith("networks/") and name.endswith(".safetensors")]
    assert len(networks) == 5
    assert not [name for name in found if name.startswith("data/") and name.endswith(".safetensors")]
    named = {}
    for name in found:
        if name.endswith(manifests.SUFFIX):
            named |= json.loads(found[name])["files"]
    assert set(networks) <= named.keys()
    for name in named.keys() & found.keys():
        assert hashlib.sha256(found[name]).hexdigest() == named[name], name


def test_the_same_results_give_the_same_bytes(archive):
    checkout, run = archive
    run()
    first = (checkout.path / RESULT).read_bytes()
    for path in (checkout.path / "results").rglob("*"):
        path.touch()
    run()
    assert (checkout.path / RESULT).read_bytes() == first


def test_an_unfinished_run_is_one_line(archive):
    checkout, run = archive
    (checkout.path / "results/tiny/report.html").unlink()
    line = refused(checkout, run())
    assert "unfinished" in line
    assert "results/tiny/report.html" in line
    assert "make reproduce CONFIG=tiny.yaml" in line


def test_another_config_is_one_line(archive):
    checkout, run = archive
    config = yaml.safe_load((checkout.path / "tiny.yaml").read_text())
    config["recipes"]["standard"]["epochs"] = 3
    checkout.write_config(config)
    assert "results/tiny/config.json is not tiny.yaml as it is now" in refused(checkout, run())


def test_tables_of_other_measurements_are_one_line(archive):
    checkout, run = archive
    network = next((checkout.path / "results/networks").rglob("seeds1.safetensors"))
    made = manifests.find(network)
    outputs = [str(checkout.path / "results" / place) for place in made.pop("files")]
    network.write_bytes(network.read_bytes() + b"more")
    manifests.write(manifests.beside(network), outputs, made)
    assert "the tables of results/tiny were made from other artifacts" in refused(checkout, run())


def test_a_damaged_network_is_one_line_where_it_is_to_be_packed(archive):
    checkout, run = archive
    network = next((checkout.path / "results/networks").rglob("seeds1.safetensors"))
    network.write_bytes(b"damaged")
    line = refused(checkout, run("--weights"))
    assert "seeds1.safetensors is damaged" in line
    assert "run rule train again" in line


def test_edited_claims_are_one_line(archive):
    checkout, run = archive
    with checkout.edited("config/claims.csv", "Alignment raises the minimum accuracy on the Bézier curve.", "Not."):
        line = refused(checkout, run())
    assert "claims.csv was edited after it was judged" in line
