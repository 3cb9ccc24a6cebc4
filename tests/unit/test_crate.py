"""An RO-Crate says of each file what it is, and is the same bytes for the same files."""

import json
import os
import zipfile

import pytest

from modeconn import crate

FACTS = crate.Facts(
    name="a run",
    description="what it is",
    finished="2026-01-02T03:04:05+00:00",
    licence=("https://spdx.org/licenses/Apache-2.0", "Apache License 2.0"),
    software=crate.Software("modeconn", "0.1.0"),
    environment=[crate.Software("torch", "2.15.0+cpu")],
    asked=["config.json"],
    shown=["tables/of curves.csv"],
    requirements="list.txt",
)


@pytest.fixture
def contents(tmp_path):
    texts = {"tables/of curves.csv": "t,loss\n", "config.json": "{}", "list.txt": ""}
    for number, text in enumerate(texts.values()):
        (tmp_path / str(number)).write_text(text)
    return {place: tmp_path / str(number) for number, place in enumerate(texts)}


def test_the_entities_that_the_specification_requires(contents, tmp_path):
    crate.write(tmp_path / "crate.zip", contents, FACTS)
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        assert archive.namelist() == ["ro-crate-metadata.json", "config.json", "list.txt", "tables/of curves.csv"]
        assert archive.read("tables/of curves.csv") == b"t,loss\n"
        found = json.loads(archive.read("ro-crate-metadata.json"))
    assert found["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in found["@graph"]}
    assert len(entities) == len(found["@graph"])
    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset"
    assert root["name"] == "a run"
    assert root["datePublished"] == "2026-01-02T03:04:05+00:00"
    assert entities[root["license"]["@id"]]["name"] == "Apache License 2.0"
    assert [part["@id"] for part in root["hasPart"]] == ["config.json", "list.txt", "tables/of%20curves.csv"]
    assert entities["tables/of%20curves.csv"] == {
        "@id": "tables/of%20curves.csv",
        "@type": "File",
        "contentSize": "7",
        "encodingFormat": "text/csv",
    }
    run = entities["#run"]
    assert run["object"] == [{"@id": "config.json"}]
    assert run["result"] == [{"@id": "tables/of%20curves.csv"}]
    ran = [entities[instrument["@id"]] for instrument in run["instrument"]]
    assert [(software["name"], software["version"]) for software in ran] == [
        ("modeconn", "0.1.0"),
        ("torch", "2.15.0+cpu"),
    ]


def test_every_reference_leads_to_an_entity(contents):
    found = crate.metadata(dict.fromkeys(contents, 0), FACTS)["@graph"]
    known = {entity["@id"] for entity in found} | {"https://w3id.org/ro/crate/1.1"}

    def references(value):
        if isinstance(value, list):
            return [identity for item in value for identity in references(item)]
        if isinstance(value, dict):
            return [value["@id"]] if value.keys() == {"@id"} else references(list(value.values()))
        return []

    assert len(references(found)) > 10
    assert set(references(found)) <= known


def test_dates_and_permissions_of_files_change_no_byte(contents, tmp_path):
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    crate.write(first, contents, FACTS)
    for path in contents.values():
        os.utime(path, (0, 10**9))
        path.chmod(0o600)
    crate.write(second, dict(reversed(contents.items())), FACTS)
    assert first.read_bytes() == second.read_bytes()
    contents["config.json"].write_text("[]")
    crate.write(second, contents, FACTS)
    assert first.read_bytes() != second.read_bytes()


def test_a_kind_of_file_without_a_media_type_is_one_line(contents, tmp_path, one_line):
    with one_line(ValueError, "notes.docx", ".docx", "ENCODINGS"):
        crate.write(tmp_path / "crate.zip", {"notes.docx": contents["config.json"]}, FACTS)
    assert not (tmp_path / "crate.zip").exists()
