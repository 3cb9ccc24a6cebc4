"""Documents: links lead somewhere, tables of contents are complete, the front page is short, and its code runs."""

import re
from pathlib import Path

import pytest
import torch
import torchvision

import modeconn
from modeconn.permutation.spec import draw

PROJECT = Path(__file__).parents[2]
PAGES = sorted(path for path in PROJECT.glob("*.md")) + sorted(
    path
    for folder in ("config", "envs", "results", "scripts", "tests", "workflow")
    for path in (PROJECT / folder).glob("*.md")
)
LONG = 60  # lines, about two screens


def anchors(page):
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:|mailto:", target):
            continue
        place, _, anchor = target.partition("#")
        there = (page.parent / place).resolve() if place else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_a_long_page_of_ours_has_a_table_of_contents(page):
    text = page.read_text(encoding="utf-8")
    if len(text.splitlines()) <= LONG or page.name != "README.md" or page.parent == PROJECT:
        return
    found = re.findall(r"^## (.+)$", text, re.MULTILINE)
    listed = re.findall(r"\[([^\]]+)\]\(#", text.partition("\n## ")[0])
    assert listed == found


def test_the_front_page_is_short():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_code_on_the_front_page_finds_a_known_permutation(tmp_path, monkeypatch, capsys):
    """b is a with its neurons in another order: matched, there is no barrier, and the middle computes what a does."""
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    network = torchvision.models.resnet18(num_classes=10)
    images, labels = torch.rand(16, 3, 32, 32), torch.arange(16) % 10
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.momentum = None
    network.train()(images)  # as a trained network, it has statistics of its images: else many units give nothing
    spec = modeconn.discover(network, images)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.save(state, "a.pt")
    torch.save(modeconn.apply(spec, draw(spec, torch.randperm), state), "b.pt")
    names = {"images": images, "labels": labels, "test_images": images, "test_labels": labels}
    exec(code, names)
    assert capsys.readouterr().out.splitlines()[-1] == "matched 0.000 nats, 0.0%"
    torch.testing.assert_close(torch.load("merged.pt", weights_only=True)["fc.weight"], state["fc.weight"])
