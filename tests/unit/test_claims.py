"""Verdicts on claims, the comparison with published numbers, and the text for the terminal."""

import re
import statistics
from pathlib import Path

import pandas as pd
import pytest
import synthetic_tables
from synthetic_tables import run

from modeconn import claims, tables
from modeconn.provenance import Splits

CONFIG = Path(__file__).parents[2] / "config"
STUDY = {"dataset": "d", "network": "n", "recipe": "r", "curve": "linear", "split": "test", "attack": "none"}
NOTHING_SELECTED = tables.read([], tables.BEST)
OTHER_PLACES = [{"split": "alignment"}, {"site": "pre"}, {"group": "logits"}]


def claim(formula="activation_linear_minimum_accuracy - none_linear_minimum_accuracy", **changes):
    words = {"claim": "better", "statement": "It is better.", "source": "here", "unit": "points"}
    table = "best" if re.search("_(best|better_end|ensemble)", formula) else "pairs"
    rule = {"table": table, "split": "test", "attack": "none", "formula": formula, "tolerance": 0.0, "least_pairs": 2}
    return pd.DataFrame([words | rule | changes])


def pairs(**minimum):
    """A pairs table: alignment -> minimum accuracy of pairs p0, p1 ...; paths of length 1; all else is zero."""
    rows = [
        {**STUDY, "alignment": alignment, "pair": f"p{number}", "minimum_accuracy": value}
        for alignment, values in minimum.items()
        for number, value in enumerate(values)
    ]
    return pd.DataFrame(rows).reindex(columns=tables.PAIRS.columns).fillna(0.0).assign(length=1.0)


def signatures(before=(), after=()):
    """A signature table of one group: correlations of pairs p0, p1 ... before and after alignment by activations."""
    names = {**STUDY, "alignment": "activation", "site": "post", "group": "layer"}
    rows = [{**names, "pair": f"p{i}", "before": b, "after": a} for i, (b, a) in enumerate(zip(before, after))]
    # What does not count: another split, another site, and the outputs, which nothing permutes.
    others = [dict.fromkeys(("before", "after"), 9.0) | place for place in OTHER_PLACES]
    rows += [row | other for row in rows for other in others]
    return pd.DataFrame(rows, columns=tables.SIGNATURE.columns)


def verdict(claims_table, pairs_table, signature_table=None, splits=None):
    signature_table = signatures() if signature_table is None else signature_table
    verdicts = claims.judge(claims_table, pairs_table, NOTHING_SELECTED, signature_table, splits)
    assert len(verdicts) == 1
    return verdicts.iloc[0]


def test_a_claim_that_every_pair_supports_shows():
    row = verdict(claim(), pairs(none=[0.5, 0.6, 0.7], activation=[0.7, 0.7, 0.75]))
    assert row["verdict"] == "shows"
    assert (row["worst_pair"], row["n"]) == ("p2", 3)
    assert row[["measured", "worst"]].tolist() == pytest.approx([0.35 / 3, 0.05])
    assert row["std"] == pytest.approx(statistics.stdev([0.2, 0.1, 0.05]))


def test_one_contradicting_pair_suffices_whatever_the_mean_is():
    row = verdict(claim(), pairs(none=[0.1, 0.1, 0.7], activation=[0.9, 0.9, 0.69]))
    assert row["verdict"] == "does not show"
    assert row["measured"] > 0.5
    assert row["worst_pair"] == "p2"


def test_no_difference_at_all_is_too_close_to_say():
    assert verdict(claim(), pairs(none=[0.5, 0.5], activation=[0.5, 0.5]))["verdict"] == "too close to say"


@pytest.mark.parametrize(
    ("none", "activation", "expected"),
    [
        # Of 400 images at 50 %, two standard deviations of a difference are 2 √(2 · 0.25 / 400) = 7.07 points.
        ([0.50, 0.50], [0.60, 0.60], "shows"),
        ([0.50, 0.50], [0.56, 0.56], "too close to say"),
        ([0.50, 0.50], [0.44, 0.44], "too close to say"),
        ([0.50, 0.50], [0.40, 0.40], "does not show"),
        # The mean shows it, and the pair that contradicts does so by less than chance may.
        ([0.50, 0.50], [0.70, 0.48], "shows"),
        ([0.50, 0.50], [0.70, 0.40], "does not show"),
    ],
)
def test_a_verdict_knows_how_far_test_images_resolve_it(none, activation, expected):
    table = pairs(none=none, activation=activation).assign(endpoint_accuracy=0.9)
    row = verdict(claim(), table, splits={"d": Splits(100, 400, 0.1)})
    assert row["verdict"] == expected
    mean = sum(activation) / 2
    assert row["resolution"] == pytest.approx(2 * ((0.25 + mean * (1 - mean)) / 400) ** 0.5, rel=1e-4)


def test_less_than_an_image_is_too_close_to_say():
    """At 100 % a binomial count has no variance: one image is the least that can be told."""
    table = pairs(none=[0.999] * 2, activation=[1.0] * 2).assign(endpoint_accuracy=1.0)
    found = verdict(claim(), table, splits={"d": Splits(100, 500, 0.1)})
    assert (found["verdict"], found["resolution"]) == ("too close to say", pytest.approx(0.00283, abs=1e-5))
    found = verdict(claim(), table.assign(minimum_accuracy=1.0), splits={"d": Splits(100, 500, 0.1)})
    assert (found["verdict"], found["resolution"]) == ("too close to say", 1 / 500)


def test_a_formula_of_losses_has_no_resolution_and_each_pair_has_to_support_it():
    formula = "none_linear_loss_barrier_linear - activation_linear_loss_barrier_linear"
    table = pairs(none=[0.5, 0.5], activation=[0.6, 0.6])
    table = table.assign(loss_barrier_linear=[1.0, 1.0, 0.9, 0.9], endpoint_accuracy=0.9)
    row = verdict(claim(formula, unit="nats"), table, splits={"d": Splits(100, 400, 0.1)})
    assert (row["verdict"], row["resolution"]) == ("shows", 0)


def test_nothing_is_judged_where_the_endpoints_guess():
    table = pairs(none=[0.1, 0.1], activation=[0.3, 0.3])
    for accuracy, expected in ((0.12, "at chance"), (0.2, "shows")):
        row = verdict(claim(), table.assign(endpoint_accuracy=accuracy), splits={"d": Splits(100, 400, 0.1)})
        assert row["verdict"] == expected
        # Under attack right answers may well be fewer than by chance: what counts is what the networks have learned.
        attacked = table.assign(attack="pgd", endpoint_accuracy=0.05)
        both = pd.concat([table.assign(endpoint_accuracy=accuracy), attacked])
        assert verdict(claim(attack="any"), both, splits={"d": Splits(100, 400, 0.1)})["verdict"] == expected


def test_nothing_is_judged_of_a_pair_of_the_same_network():
    table = pairs(none=[0.1, 0.1, 0.1], activation=[0.3, 0.3, 0.05])
    row = verdict(claim(), table)
    assert (row["verdict"], row["n"]) == ("does not show", 3)
    table.loc[(table["pair"] == "p2") & (table["alignment"] == "none"), "length"] = 0.0
    row = verdict(claim(), table)
    assert (row["verdict"], row["n"]) == ("shows", 2)
    row = verdict(claim(), table.assign(length=0.0))
    assert (row["verdict"], row["n"]) == ("identical", 0)
    text = claims.text(pd.DataFrame(columns=[*claims.STUDY, "split"]), row.to_frame().T)
    assert "\n\nNot judged, since both networks of each pair are the same: better.\n" in text


def test_the_text_says_which_pairs_are_of_the_same_network(study, tmp_path):
    rows = pd.read_csv(study["pairs"], dtype=str, keep_default_na=False)
    rows.loc[(rows["pair"] == "1-2") & (rows["recipe"] == "standard"), "length"] = "0"
    rows.to_csv(tmp_path / "pairs.csv", index=False)
    process, made = judge(tmp_path, study | {"pairs": tmp_path / "pairs.csv"}, "--claims", CONFIG / "claims.csv")
    assert process.returncode == 0, process.stderr
    _, _, remarks = made["text"].read_text().partition("Look at the data, before believing these numbers:\n")
    assert remarks.count("both networks of pair") == 1
    assert remarks.startswith("  digits / tinyten / standard: both networks of pair 1-2 are the same, up to the order")


def test_tolerance_allows_a_margin_a_little_below_zero():
    table = pairs(none=[0.5, 0.5], activation=[0.495, 0.6])
    assert verdict(claim(tolerance=0.01), table)["verdict"] == "shows"
    assert verdict(claim(tolerance=0.005 - 1e-9), table)["verdict"] == "does not show"


def test_too_few_pairs_say_nothing_even_if_all_support_it():
    row = verdict(claim(least_pairs=3), pairs(none=[0.5, 0.5], activation=[0.6, 0.6]))
    assert (row["verdict"], row["n"]) == ("too few to say", 2)


def test_a_pair_measured_on_one_side_only_does_not_count():
    row = verdict(claim(), pairs(none=[0.5, 0.5, 0.5], activation=[0.6, 0.6]))
    assert (row["verdict"], row["n"]) == ("shows", 2)


def test_an_alignment_that_was_not_run_is_named():
    row = verdict(claim(), pairs(none=[0.5, 0.5]))
    assert (row["verdict"], row["n"], row["missing"]) == ("not run", 0, "activation_linear_minimum_accuracy")


def test_claims_about_attacks_are_judged_on_each_attack_and_on_nothing_else():
    clean = pairs(none=[0.5, 0.5], activation=[0.4, 0.4])
    weak = pairs(none=[0.2, 0.2], activation=[0.3, 0.3]).assign(attack="weak")
    strong = pairs(none=[0.1, 0.1], activation=[0.0, 0.0]).assign(attack="strong")
    verdicts = claims.judge(claim(attack="any"), pd.concat([clean, weak, strong]), NOTHING_SELECTED, signatures())
    assert dict(zip(verdicts["attack"], verdicts["verdict"])) == {"weak": "shows", "strong": "does not show"}
    assert verdict(claim(attack="any"), clean)["verdict"] == "not run"


def selected(alignment, attack, **accuracies):
    """Rows of the best table: mark -> test accuracy of pairs p0, p1 ...; held-out images say the opposite."""
    names = {**STUDY, "alignment": alignment, "members": "0", "attack": attack, "loss": 0.0}
    return pd.DataFrame(
        [
            names | {"pair": f"p{number}", "mark": mark, "split": split, "accuracy": value}
            for mark, values in accuracies.items()
            for number, test in enumerate(values)
            for split, value in (("test", test), ("hold_out", 1 - test))
        ]
    )


def test_claims_on_selected_networks_are_judged_by_their_test_accuracy():
    ends = {"first": [0.5, 0.4], "second": [0.4, 0.6]}
    best = pd.concat(
        [
            selected("none", "none", best=[0.9, 0.9], **ends),
            selected("none", "pgd", best=[0.3, 0.9], **ends),
            selected("none", "strong", best=[0.6, 0.7], **ends),
        ]
    )
    table = claim("none_linear_best_accuracy - none_linear_better_end_accuracy", attack="any")
    verdicts = claims.judge(table, pairs(none=[0.1, 0.1]), best, signatures()).set_index("attack")
    assert dict(verdicts["verdict"]) == {"pgd": "does not show", "strong": "shows"}
    assert verdicts.loc["strong", "measured"] == pytest.approx(0.1) and verdicts.loc["pgd", "worst_pair"] == "p0"
    # Claims on paths are not judged for attacks that only selected networks have seen.
    attacked = pd.concat([table, claim("none_linear_minimum_accuracy", attack="any", claim="other")])
    verdicts = claims.judge(attacked, pairs(none=[0.1, 0.1]).assign(attack="pgd"), best, signatures())
    assert list(zip(verdicts["claim"], verdicts["attack"])) == [
        ("better", "pgd"),
        ("better", "strong"),
        ("other", "pgd"),
    ]


def test_recipes_are_judged_apart():
    good, bad = pairs(none=[0.5, 0.5], activation=[0.6, 0.6]), pairs(none=[0.5, 0.5], activation=[0.4, 0.4])
    verdicts = claims.judge(claim(), pd.concat([good, bad.assign(recipe="other")]), NOTHING_SELECTED, signatures())
    assert dict(zip(verdicts["recipe"], verdicts["verdict"])) == {"r": "shows", "other": "does not show"}


def test_signatures_of_what_an_alignment_matches_can_be_claimed():
    formula = "activation_signature_after - activation_signature_before"
    table = pairs(none=[0.5, 0.5])
    row = verdict(claim(formula), table, signatures(before=[0.1, 0.2], after=[0.5, 0.3]))
    assert (row["verdict"], row["worst_pair"], row["n"]) == ("shows", "p1", 2)
    assert row["measured"] == pytest.approx(0.25)
    elsewhere = signatures([0.1, 0.2], [0.5, 0.3]).assign(recipe="other")
    assert verdict(claim(formula), table, elsewhere)["verdict"] == "not run"


def test_names_with_other_characters_are_spelled_with_underscores():
    table = pairs(none=[0.5, 0.5], **{"pre-activation": [0.6, 0.6]}).assign(curve="chain-3")
    formula = "pre_activation_chain_3_minimum_accuracy - none_chain_3_minimum_accuracy"
    assert verdict(claim(formula), table)["verdict"] == "shows"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formula": "activation_linear_sped"}, "claim better: unknown name 'activation_linear_sped'"),
        ({"formula": "none_linear_mean_loss > 0"}, "must be arithmetic"),
        ({"formula": "none_linear_mean_loss -"}, "must be arithmetic"),
        ({"formula": "__import__('os').getcwd()"}, "must be arithmetic"),
        ({"formula": "1 + 1"}, "names nothing that was measured"),
        (
            {"formula": "none_linear_best_accuracy - none_linear_mean_accuracy"},
            "unknown name 'none_linear_mean_accuracy' for table best",
        ),
        ({"table": "curves"}, "table is 'curves', but must be one of pairs, best, barriers"),
        ({"attack": "pgd"}, "claim better: attack is 'pgd', but must be 'none' or 'any'"),
        ({"split": "tset"}, "claim better: split is 'tset'"),
    ],
)
def test_a_wrong_claim_is_named(changes, message):
    with pytest.raises(ValueError, match="claim better") as error:
        claims.judge(claim(**changes), pairs(none=[0.5]), NOTHING_SELECTED, signatures())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def summary(**statistics):
    """A summary table: quantity -> (mean, std)."""
    rows = [
        {**STUDY, "alignment": "none", "quantity": name, "mean": m, "std": s, "n": 3.0}
        for name, (m, s) in statistics.items()
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("published", "here", "expected"),
    [
        ((0.5, 0.01), (0.5, 0.2), "equal"),
        # Student's t for 2 degrees of freedom is 4.3027, and 4.3027 · 0.01 · √(1/3 + 1/3) = 0.03513.
        ((0.5, 0.01), (0.5351, 0.0), "inside"),
        ((0.5, 0.01), (0.4649, 0.0), "inside"),
        ((0.5, 0.01), (0.5352, 1.0), "far outside"),  # this run's own spread is no excuse
        ((0.5, None), (0.519, 0.01), "no interval"),  # published for one pair only
        ((0.5, None), (0.501, None), "no interval"),
        ((0.5, 0.0), (0.501, 0.01), "no interval"),  # pairs that agree say nothing of the next one
    ],
)
def test_comparison_with_published_numbers(published, here, expected):
    rows = claims.compare(summary(quantity=published), summary(quantity=here, other=(0.1, 0.1)))
    assert rows["comparison"].tolist() == [expected]


def test_of_many_numbers_some_lie_outside_by_chance():
    """With two numbers the level of each is 97.5 %, where Student's t is 6.2053 instead of 4.3027."""
    published = summary(first=(0.5, 0.01), second=(0.5, 0.01))
    rows = claims.compare(published, summary(first=(0.54, 0.0), second=(0.56, 0.0)))
    assert rows["comparison"].tolist() == ["outside", "far outside"]
    assert rows[["low", "high"]].iloc[0].tolist() == pytest.approx([0.46487, 0.53513], abs=1e-5)


def test_a_published_number_that_was_not_measured_here_is_not_run():
    assert claims.compare(summary(there=(1, 1)), summary(here=(1, 1)))["comparison"].tolist() == ["not run"]


@pytest.mark.parametrize(
    ("error", "mean", "networks", "expected"),
    [
        # Student's t for 2 degrees of freedom is 4.3027; 4.3027 · 0.01 · √(1 + 3/12) = 0.04811 for twelve networks.
        (0.01, 0.548, 12, "inside"),
        (0.01, 0.5482, 12, "far outside"),
        # The same for three: 4.3027 · 0.01 · √2 = 0.06085.
        (0.01, 0.5608, 3, "inside"),
        (0.01, 0.561, 3, "far outside"),
        (None, 0.51, 12, "no interval"),  # published for two networks
    ],
)
def test_barriers_are_compared_by_the_number_of_networks(error, mean, networks, expected):
    """Not by that of pairs, 3 and 66, which share networks."""
    key = dict.fromkeys(tables.BARRIER_SUMMARY.columns, 1.0) | STUDY | {"alignment": "none", "correction": "none"}
    key = {name: key[name] for name in tables.BARRIER_SUMMARY.columns} | {"quantity": "loss_barrier_linear"}
    published = pd.DataFrame([key | {"mean": 0.5, "std": 5.0, "n": 3, "standard_error": error, "networks": 3}])
    published["standard_error"] = published["standard_error"].astype(float)
    measured = pd.DataFrame([key | {"mean": mean, "n": networks * (networks - 1) // 2, "networks": networks}])
    rows = claims.compare(published, measured, tables.BARRIER_SUMMARY)
    assert rows["comparison"].tolist() == [expected]
    line = claims.comparison_text(pd.DataFrame(), rows)
    assert ("r none test none none loss_barrier_linear: " in line) == (expected == "far outside"), line


def judge(folder, outputs, *options):
    made = {name: folder / name for name in ("verdicts-table", "comparison-table", "barrier-comparison-table", "text")}
    options += tuple(
        part
        for name in ("pairs", "best", "summary", "signatures", "barriers", "simultaneous", "masks")
        for part in (f"--{name}-table", outputs[name])
    )
    return run("judge_claims", *options, *[part for name, path in made.items() for part in (f"--{name}", path)]), made


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return synthetic_tables.write(tmp_path_factory.mktemp("study"))


def test_the_claims_of_this_repository_show_in_a_study_made_to_show_them(study, tmp_path):
    process, made = judge(tmp_path, study, "--claims", CONFIG / "claims.csv")
    assert process.returncode == 0, process.stderr
    verdicts = pd.read_csv(made["verdicts-table"], keep_default_na=False)
    # The study has signatures of standard networks only.
    not_run = verdicts[verdicts["verdict"] == "not run"]
    assert not_run[["claim", "recipe"]].values.tolist() == [["signature-rises", "robust"]]
    # There are three networks of each width and three pairs, and claims on many ask for more.
    few = verdicts[verdicts["verdict"] == "too few to say"]
    of_many = pd.read_csv(CONFIG / "claims.csv").query("table in ('barriers', 'widths', 'simultaneous', 'masks')")
    assert set(few["claim"]) == set(of_many["claim"]) and set(few["n"]) == {3}
    assert set(verdicts["verdict"]) == {"shows", "not run", "too few to say"}
    assert set(verdicts["claim"]) == set(pd.read_csv(CONFIG / "claims.csv")["claim"])
    assert made["comparison-table"].read_text().count("\n") == 1


@pytest.mark.parametrize("populations", [True, False])
def test_numbers_of_verdicts_have_nine_digits_with_populations_and_without(study, tmp_path, populations):
    given = dict(study) if populations else study | {"barriers": tables_without_rows(tmp_path)}
    _, made = judge(tmp_path, given, "--claims", CONFIG / "claims.csv")
    rows = pd.read_csv(made["verdicts-table"], dtype=str, keep_default_na=False)
    assert ("matched-barrier" in set(rows["claim"])) == populations
    numbers = [number for name in ("measured", "std", "worst", "resolution") for number in rows[name] if number]
    assert numbers and [number for number in numbers if number != f"{float(number):.9g}"] == []


def tables_without_rows(folder):
    path = folder / "none.csv"
    path.write_text(",".join(tables.BARRIERS.columns) + "\n")
    return path


def test_the_text_fits_a_terminal_and_says_the_numbers(study, tmp_path):
    rows = pd.read_csv(study["summary"], dtype=str, keep_default_na=False)
    published = rows.iloc[[6, 20]].assign(mean=[rows["mean"][6], "0.25"])
    published.to_csv(tmp_path / "published.csv", index=False)
    _, made = judge(tmp_path, study, "--claims", CONFIG / "claims.csv", "--published", tmp_path / "published.csv")
    text = made["text"].read_text()
    assert max(map(len, text.splitlines())) <= 100

    unaligned = rows.query("recipe == 'standard' and alignment == 'none' and curve == 'linear' and split == 'test'")
    mean, std = unaligned.set_index("quantity").loc["minimum_accuracy", ["mean", "std"]].astype(float)
    standard = text.partition("digits / tinyten / standard\n")[2].splitlines()
    line = next(line for line in standard if line.split()[:2] == ["linear", "none"])
    assert f"{100 * mean:.1f} ± {100 * std:.1f}" in line
    assert "Published numbers: 1 equal; 0 of 1 others inside their 95% interval, of which about 0 are" in text
    assert "  far outside: digits tinyten" in text


def test_what_no_study_measures_comes_last_and_under_no_table():
    empty = pd.DataFrame(columns=[*claims.STUDY, "split", "verdict"])
    studies = [("", "", "", ""), ("digits", "tinyten", "standard", "none")]
    verdicts = pd.DataFrame([dict(zip(claims.STUDY, study)) | {"verdict": "not run"} for study in studies])
    text = claims.text(empty, verdicts.assign(claim=["never", "elsewhere"]))
    title = "Claims on what no study here measures"
    assert text.startswith("digits / tinyten / standard\n===========================\n\nNot run here: elsewhere.\n\n")
    assert f"\n\n{title}\n{'=' * len(title)}\n\nNot run here: never.\n" in text


def test_a_bad_claims_file_is_one_line_and_leaves_nothing(study, tmp_path):
    bad = tmp_path / "claims.csv"
    claim("activation_linear_speed").to_csv(bad, index=False)
    process, made = judge(tmp_path, study, "--claims", bad)
    assert process.returncode == 1
    assert "claim better: unknown name 'activation_linear_speed'" in process.stderr
    assert process.stderr.count("\n") == 1
    assert not any(path.exists() for path in made.values())
