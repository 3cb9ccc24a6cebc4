"""Networks of several recipes as one population, and iterates of one run, by facts worked by hand."""

import copy
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from test_plan import TINY, digests, planned
from test_populations import NETWORK, RECALIBRATION, loss_of, mean_of
from test_programs import run_program

from modeconn import artifacts, configuration, disagreements, iterates, networks, permutation, tables
from modeconn.figures import dynamics, matrices
from modeconn.studies import averaging

MEMBERS = ["one:1", "one:2", "two:1", "two:2"]
NAMES = {"dataset": "tiny", "network": "mlp"}
SETTINGS = {"points": 3, "splits": ["test"], "batch": 16, "recalibration": RECALIBRATION}


def test_disagreement_is_the_share_of_images_on_which_answers_differ():
    named = torch.tensor([[0, 1, 1, 2], [0, 1, 2, 2], [1, 0, 0, 0], [0, 1, 1, 2]])
    expected = [[0, 0.25, 1, 0], [0.25, 0, 1, 0.25], [1, 1, 0, 1], [0, 0.25, 1, 0]]
    assert disagreements.shares(named).tolist() == expected


@pytest.fixture
def files(tiny_data, tiny_dataset, tmp_path):
    """Files of two networks by each of two recipes, of which two:1 is one:1 in another order; and that network."""
    states = [networks.of(NETWORK, tiny_dataset, seed).state_dict() for seed in (1, 2, 3)]
    spec = permutation.discover(networks.of(NETWORK, tiny_dataset), tiny_dataset.example())
    twin = permutation.apply(spec, permutation.random(spec, torch.Generator().manual_seed(5)), states[0])
    paths = []
    for recipe, of_recipe in {"one": states[:2], "two": [twin, states[2]]}.items():
        paths.append(tmp_path / f"{recipe}.safetensors")
        stacked = {name: torch.stack([state[name] for state in of_recipe]) for name in twin}
        made = {"rule": "train", "job": {"names": NAMES | {"recipe": recipe}, "seeds": [1, 2]}}
        artifacts.save(paths[-1], stacked, made, lanes=True)
    return {"data": tiny_data, "networks": paths}, states


def job_of(members, by, **values):
    names = NAMES | {"recipe": "both", "population": "1-2", "alignment": by}
    return {"names": names, "network": NETWORK, "members": members, "barriers": SETTINGS} | values


def test_a_network_and_its_permuted_twin_of_another_recipe_are_one_network(files, tiny_dataset, tmp_path, monkeypatch):
    paths, states = files
    found, points = tmp_path / "found.safetensors", {}
    matching = job_of(MEMBERS, "weight", alignment={"method": "weight", "seed": 0})
    run_program(monkeypatch, "align", matching, **paths, output=found)
    for alignment, given in (("none", {}), ("weight", {"permutation": found})):
        output = tmp_path / f"{alignment}.csv"
        run_program(monkeypatch, "evaluate_barriers", job_of(MEMBERS, alignment), **paths, **given, output=output)
        points[alignment] = pd.read_csv(output).set_index(["pair", "t"])["loss"]
    own, _ = loss_of(states[0], tiny_dataset)
    assert points["weight"]["one:1-two:1", 0.5] == pytest.approx(own, rel=1e-6)
    assert points["none"]["one:1-two:1", 0.5] != pytest.approx(own, rel=1e-3)
    middle, _ = loss_of(mean_of([states[1], states[2]]), tiny_dataset)
    assert points["none"]["one:2-two:2", 0.5] == pytest.approx(middle, rel=1e-5)

    outputs = {"output": tmp_path / "d.csv", "norms": tmp_path / "n.csv"}
    run_program(monkeypatch, "evaluate_disagreement", job_of(MEMBERS, "none"), **paths, **outputs)
    differing = pd.read_csv(outputs["output"]).set_index("pair")["disagreement"]
    images = tiny_dataset.test_images.float() / 255
    answers = []
    for state in states[:2]:
        network = networks.of(NETWORK, tiny_dataset)
        network.load_state_dict(state)
        answers.append(network.eval()(images).argmax(1))
    share = (answers[0] != answers[1]).double().mean().item()
    assert differing["one:1-two:1"] == 0 and share > 0
    assert differing["one:1-one:2"] == differing["one:2-two:1"] == pytest.approx(share)
    norms = pd.read_csv(outputs["norms"]).set_index("member")
    weights = torch.cat([tensor.flatten() for tensor in states[1].values()])
    assert norms.loc["one:2", "norm"] == pytest.approx(weights.norm().item(), rel=1e-6)
    assert norms.loc["one:2", "largest"] == pytest.approx(weights.abs().max().item(), rel=1e-6)
    assert set(norms["units"]) == {6}
    assert norms.loc["one:1", ["norm", "largest"]].tolist() == pytest.approx(norms.loc["two:1", ["norm", "largest"]])


@pytest.mark.parametrize(
    ("members", "words"),
    [(["one:1", "one:2"], ["two.safetensors", "is of recipe two"]), ([*MEMBERS, "two:3"], ["no network", "two:3"])],
)
def test_networks_of_a_recipe_that_is_not_asked_for_are_refused(files, tmp_path, monkeypatch, members, words):
    paths, _ = files
    with pytest.raises(SystemExit) as caught:
        run_program(monkeypatch, "evaluate_barriers", job_of(members, "none"), **paths, output=tmp_path / "b.csv")
    assert all(word in caught.value.code for word in words) and "\n" not in caught.value.code


def test_means_within_and_across_recipes_worked_by_hand():
    place = {"dataset": "d", "network": "n", "recipe": "both", "width": 2.0, "split": "test", "attack": "none"}
    pairs = {"a:1-a:2": 1.0, "a:1-b:1": 2.0, "a:1-b:2": 4.0, "a:2-b:1": 6.0, "a:2-b:2": 8.0, "b:1-b:2": 0.5}
    found = pd.DataFrame(
        place
        | {"alignment": "weight", "correction": correction, "pair": pair, "distance": 10 * value}
        | dict.fromkeys(averaging.QUANTITIES, value + 100 * (correction == "repair"))
        for correction in ("none", "repair")
        for pair, value in pairs.items()
    )
    alone = found.assign(recipe="one", pair=found["pair"].str.replace(r"\w:", "", regex=True)).drop_duplicates("pair")
    differing = pd.DataFrame(place | {"pair": pair, "disagreement": value / 10} for pair, value in pairs.items())
    table = averaging.across_table(pd.concat([found, alone], ignore_index=True), differing)
    table = table.set_index(["alignment", "first_recipe", "second_recipe", "seeds", "quantity"])
    assert set(table["recipe"]) == {"both"}
    # Networks of one seed may have begun as one network.
    assert table.loc[("weight", "a", "b", "same", "loss_barrier_linear"), ["mean", "n"]].tolist() == [5.0, 2]
    assert table.loc[("weight", "a", "b", "same", "loss_barrier_linear"), "std"] == pytest.approx(18**0.5)
    assert table.loc[("weight", "a", "b", "different", "loss_barrier_linear"), ["mean", "n"]].tolist() == [5.0, 2]
    assert table.loc[("weight", "a", "b", "different", "loss_barrier_linear"), "std"] == pytest.approx(2**0.5)
    assert table.loc[("weight", "a", "a", "different", "distance"), ["mean", "n"]].tolist() == [10.0, 1]
    assert table.loc[("none", "b", "b", "different", "disagreement"), "mean"] == pytest.approx(0.05)
    assert len(table) == 4 * (len(averaging.QUANTITIES) + 1) + 4
    assert averaging.across_table(alone, tables.joined([], tables.DISAGREEMENTS)).empty


def test_networks_of_a_matrix_stand_recipe_by_recipe():
    names = ["a:2", "a:10", "b:1"]
    pairs = pd.DataFrame({"pair": ["b:1-a:10", "a:10-a:2", "b:1-a:2"], "loss": [1.0, 2.0, 3.0]})
    assert matrices.members(pairs) == names
    assert matrices.matrix(pairs, "loss").tolist() == [[0, 2, 3], [2, 0, 1], [3, 1, 0]]
    drawn = []
    axis = SimpleNamespace(
        axhline=lambda place, **_: drawn.append(place),
        axvline=lambda place, **_: None,
        get_subplotspec=lambda: SimpleNamespace(is_first_col=lambda: True, is_last_row=lambda: False),
        set_xticks=lambda *_: None,
        set_yticks=lambda places, _: drawn.append(places),
        set_yticklabels=lambda labels, **_: drawn.append(labels),
    )
    dynamics.mark(axis, names)
    assert drawn == [1.5, [0.5, 2.0], ["a", "b"]]


def test_iterates_and_their_averages_are_those_of_a_loop_over_state_dicts(files, tiny_dataset, tmp_path, monkeypatch):
    """Two runs, of which epochs 1 and 3 are kept, and the last, 4."""
    paths, _ = files
    at, seeds = [1, 3, 4], [3, 4]
    runs = [[networks.of(NETWORK, tiny_dataset, 10 * seed + epoch).state_dict() for epoch in at] for seed in seeds]
    lanes = [run[place] for place in (2, 0, 1) for run in runs]  # the last epoch comes first in a file
    recipe = {"epochs": 4, "keep": [1, 3]}
    made = {"rule": "train", "job": {"names": NAMES | {"recipe": "both"}, "seeds": seeds, "recipe": recipe}}
    path = tmp_path / "kept.safetensors"
    artifacts.save(path, {name: torch.stack([s[name] for s in lanes]) for name in lanes[0]}, made, lanes=True)
    outputs = {"output": tmp_path / "p.csv", "averages": tmp_path / "a.csv"}
    job = job_of(seeds, "none", moments={"along": "epochs", "at": at})
    run_program(monkeypatch, "evaluate_iterates", job, data=paths["data"], networks=path, **outputs)

    averages = tables.read([outputs["averages"]], tables.ITERATE_AVERAGES).set_index(["seeds", "mark", "moment"])
    points = tables.read([outputs["output"]], tables.ITERATE_LINES).set_index(["seeds", "pair", "t"])
    assert len(averages) == 2 * (3 + 2) and len(points) == 2 * 3 * 3
    for seed, run in zip(map(str, seeds), runs):
        for place, epoch in enumerate(at):
            alone, accuracy = loss_of(run[place], tiny_dataset)
            assert averages.loc[(seed, "iterate", epoch), "loss"] == pytest.approx(alone, rel=1e-5)
            assert averages.loc[(seed, "iterate", epoch), "accuracy"] == pytest.approx(accuracy)
            if place:
                together, _ = loss_of(mean_of(run[: place + 1]), tiny_dataset)
                row = averages.loc[(seed, "average", epoch)]
                assert row["loss"] == pytest.approx(together, rel=1e-5) and row["size"] == place + 1
        middle, _ = loss_of(mean_of(run[1:]), tiny_dataset)
        assert points.loc[(seed, "3-4", 0.5), "loss"] == pytest.approx(middle, rel=1e-5)
        assert points.loc[(seed, "1-4", 1.0), "loss"] == averages.loc[(seed, "iterate", 4), "loss"]
    barriers = averaging.pair_table(points.reset_index(), tables.ITERATES).set_index(["seeds", "pair"])
    of_pair = points.loc[("3", "1-3"), "loss"]
    expected = max(0, of_pair[0.5] - max(of_pair[0.0], of_pair[1.0]))
    assert barriers.loc[("3", "1-3"), "loss_barrier_max_endpoint"] == pytest.approx(expected)


def test_number_of_looks_is_that_of_the_looks():
    assert len(list(iterates.looks(3, 4, 5))) == iterates.number_of_looks(3, 4, 5) == 3 * (4 + 6 * 3 + 3)


# --- the plan ---


def config_of(**entry):
    """The tiny config with another recipe, that keeps epochs, and one more entry of the averaging study."""
    config = copy.deepcopy(TINY)
    config["recipes"]["kept"] = {"epochs": 2, "population": 2, "keep": [0, 1]}
    more = {"dataset": "digits", "networks": ["mlp"], "recipes": ["together", "kept"], "seeds": 3}
    config["studies"]["averaging"].append(more | entry)
    return config


def test_a_population_across_recipes_reads_the_networks_of_each_and_changes_no_other_job():
    before = digests(planned())
    plan = planned(config_of(across="both", alignments=["none", "weight"], measures=["disagreement"]))
    assert before.items() <= digests(plan).items()
    new = [job for job in plan.jobs if "both-" in str(job.wildcards)]
    assert sorted(job.rule for job in new) == ["align", *["evaluate_barriers"] * 2, "evaluate_disagreement"]
    members = [f"{recipe}:{seed}" for recipe in ("together", "kept") for seed in (1, 2, 3)]
    for job in new:
        values = plan.job(job.rule, dict(job.wildcards))
        assert values["members"] == members and values["names"]["recipe"] == "both"
        read = [dict(one.job.wildcards) for one in plan.jobs[job]["networks"]]
        assert [(one["recipe"].partition("-")[0], one["block"]) for one in read] == [
            ("together", "1-3"),
            ("kept", "1-2"),
            ("kept", "3-4"),
        ]
    assert plan.shown["studies"]["averaging"][1]["recipes"] == ["together", "kept"]
    # Members in another order are another population.
    turned = planned(config_of(across="both", recipes=["kept", "together"]))
    assert turned.identity("recipe", "both") != plan.identity("recipe", "both")


def test_iterates_are_the_kept_epochs_and_the_last_one_whatever_the_alignment():
    plan = planned(config_of(recipes=["kept"], alignments=["none", "weight"], measures=["iterates"]))
    (job,) = [job for job in plan.jobs if job.rule == "evaluate_iterates"]
    values = plan.job(job.rule, dict(job.wildcards))
    assert values["moments"] == {"along": "epochs", "at": [0, 1, 2]} and values["members"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("entry", "changes", "words"),
    [
        ({"across": "kept"}, {}, ["studies.averaging.1.across", "'kept' is the name of other networks already"]),
        ({"across": "all"}, {}, ["studies.averaging.1.across", "'all' is a reserved name"]),
        ({"across": "both", "recipes": ["kept"]}, {}, ["across", "one recipe", "leave across out"]),
        (
            {"seeds": 4},
            {},
            ["studies.averaging.1.seeds", "mlp by together", "3 networks in studies.averaging.0", "4 here"],
        ),
        (
            {"across": "both"},
            {"evaluation": {"recalibration": {"attacked": True}}},
            ["across", "together, robust differ in attack", "recalibration.attacked"],
        ),
        (
            {"measures": ["iterates"], "recipes": ["standard"]},
            {},
            ["studies.averaging.1.measures", "recipe standard keeps none: give it keep"],
        ),
        (
            {"measures": ["iterates"], "recipes": ["kept", "again"], "across": "both"},
            {},
            ["measures", "one recipe", "leave across out"],
        ),
        ({"measures": ["iterates"], "recipes": ["kept"], "networks": ["fused"]}, {}, ["leave fused out of fused"]),
    ],
)
def test_what_cannot_be_one_population_is_refused(one_line, entry, changes, words):
    config = config_of(**entry) | changes
    config["recipes"]["again"] = config["recipes"]["kept"] | {"batch": 64}
    config["networks"]["fused"] = {"family": "mlp", "fused": True}
    if changes:
        config["studies"]["averaging"][1]["recipes"] = ["together", "robust"]
    with one_line(ValueError, *words):
        configuration.complete(config, configuration.schema())
