"""The environments of results, from artifacts as the programs write them."""

import pytest
import torch

from modeconn import artifacts, provenance

HERE = artifacts.versions("cpu", {"family": "tinyten"})


@pytest.fixture
def artifact(tmp_path):
    def artifact(name, **versions):
        metadata = {"rule": "train"} | ({"versions": HERE | versions} if versions is not None else {})
        artifacts.save(tmp_path / name, {"w": torch.ones(2)}, metadata)
        return tmp_path / name

    return artifact


def test_one_environment_is_one_row(artifact, tmp_path):
    artifacts.save(tmp_path / "data", {"x": torch.ones(1)}, {"rule": "prepare_data"})
    table = provenance.environments([artifact("a"), artifact("b"), tmp_path / "data"])
    rest = {"torchvision": "", "compiled": "", "artifacts": 2, "differs": "", "examples": ""}
    assert table.to_dict("records") == [HERE | rest]
    assert HERE["instructions"]


def test_the_results_of_another_environment_are_named(artifact):
    paths = [
        artifact("a"),
        artifact("b"),
        artifact("c", device="cuda", instructions="H100"),
        artifact("d", torch="2.11.0"),
    ]
    table = provenance.environments(paths)
    assert table["artifacts"].tolist() == [2, 1, 1]
    others = {row.differs: row.examples for row in table.itertuples() if row.differs}
    assert others == {"device instructions": str(paths[2]), "torch": str(paths[3])}


def test_networks_of_torchvision_are_from_elsewhere_only_if_its_version_is_another(artifact):
    paths = [artifact("a"), artifact("b"), artifact("c", torchvision="0.29"), artifact("d", torchvision="0.29")]
    table = provenance.environments([*paths, artifact("e", torchvision="0.29")])
    assert table[["torchvision", "artifacts", "differs"]].to_numpy().tolist() == [["0.29", 3, ""], ["", 2, ""]]
    other = artifact("e", torchvision="0.28")
    table = provenance.environments([*paths[2:], other])
    assert table[["differs", "examples"]].to_numpy().tolist() == [["", ""], ["torchvision", str(other)]]
    # Also where most artifacts name none.
    table = provenance.environments([*paths, artifact("f"), artifact("g"), other])
    assert table["differs"].tolist() == ["", "", "torchvision"]


def test_what_is_no_artifact_is_one_line(tmp_path, one_line):
    (tmp_path / "file").write_text("no artifact")
    with one_line(ValueError, str(tmp_path / "file"), "delete"):
        provenance.environments([tmp_path / "file"])
