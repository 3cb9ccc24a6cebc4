"""The tables that scripts/make_tables.py makes of evaluation, history and signature files."""

import io

import pandas as pd
import pytest
import synthetic_tables
from synthetic_tables import LAYERS, TABLES, run

from modeconn import barriers, permutation_tables, tables

HEADER = "dataset,network,recipe,pair,alignment,curve,t,length,split,attack,loss,accuracy"
# Two pairs of networks on the straight line. Pair 1-2 has the loss 1, 3.5, 3.6, 2 of test_barriers.
FIRST = """\
null,mlp,01,1-2,none,linear,0,0,test,none,1,0.9
null,mlp,01,1-2,none,linear,0.25,1,test,none,3.5,0.5
null,mlp,01,1-2,none,linear,0.75,3,test,none,3.6,0.6
null,mlp,01,1-2,none,linear,1,4,test,none,2,0.8
"""
SECOND = """\
null,mlp,01,3-4,none,linear,0,0,test,none,1,0.8
null,mlp,01,3-4,none,linear,1,4,test,none,1,0.8
"""


def make_tables(folder, *evaluations):
    """Run the program on files with these contents; returns the process and the output paths."""
    inputs = []
    for number, rows in enumerate(evaluations):
        inputs.append(folder / f"evaluation{number}.csv")
        inputs[-1].write_text(rows if rows.startswith("dataset") else f"{HEADER}\n{rows}")
    outputs = {name: folder / "out" / f"{name}.csv" for name in TABLES["alignment"]}
    options = [part for name, path in outputs.items() for part in (f"--{name.replace('_', '-')}-table", path)]
    return run("make_tables", "--evaluations", *inputs, *options), outputs


def words(path):
    """A table with nothing interpreted."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def two_pairs(tmp_path_factory):
    process, outputs = make_tables(tmp_path_factory.mktemp("tables"), FIRST, SECOND)
    assert process.returncode == 0, process.stderr
    return outputs


def test_pairs_have_the_quantities_worked_out_by_hand(two_pairs):
    row = words(two_pairs["pairs"]).iloc[0]
    assert (row["pair"], row["loss_barrier_linear"], row["error_barrier_max_endpoint"]) == ("1-2", "2.25", "0.3")
    assert float(row["mean_accuracy"]) == pytest.approx(0.625, abs=1e-9)
    assert (row["minimum_accuracy"], row["maximum_loss"], row["endpoint_accuracy"]) == ("0.5", "3.6", "0.85")


def test_a_path_under_attack_is_joined_with_its_own_clean_points(tmp_path):
    attacked = FIRST.replace(",none,1,0.9", ",pgd,3,0.1").replace(",none,3.5,0.5", ",pgd,4,0.2")
    attacked = attacked.replace(",none,3.6,0.6", ",pgd,5,0.3").replace(",none,2,0.8", ",pgd,3,0.2")
    _, outputs = make_tables(tmp_path, attacked, SECOND, FIRST)
    (row,) = words(outputs["pairs"]).query("attack == 'pgd'").to_dict("records")
    assert (row["minimum_accuracy"], row["clean_accuracy_at_minimum"]) == ("0.1", "0.9")
    assert (row["maximum_accuracy"], row["clean_accuracy_at_maximum"]) == ("0.3", "0.6")
    process, _ = make_tables(tmp_path, attacked, SECOND)
    assert "path null mlp 01 1-2 none linear test pgd: without attack its points are not there" in process.stderr
    assert process.stderr.count("\n") == 1


def test_selected_networks_have_mean_and_standard_deviation_over_pairs_of_their_test_images(tmp_path):
    outputs = synthetic_tables.write(tmp_path)
    rows, summary = (words(outputs[name]) for name in ("best", "best_summary"))
    assert len(rows) == len(synthetic_tables.selections())
    names = {"recipe": "robust", "alignment": "none", "curve": "linear", "attack": "strong", "mark": "best"}
    query = " and ".join(f"{name} == '{value}'" for name, value in names.items())
    (found,) = summary.query(f"{query} and quantity == 'accuracy'").index
    accuracies = rows.query(query)["accuracy"].astype(float)
    assert float(summary["mean"][found]) == pytest.approx(accuracies.mean())
    assert float(summary["std"][found]) == pytest.approx(accuracies.std()) and summary["n"][found] == "3"
    assert set(summary["split"]) == {"test"}


def test_summary_has_mean_standard_deviation_and_number_of_pairs(two_pairs):
    summary = words(two_pairs["summary"]).set_index("quantity")
    row = summary.loc["minimum_accuracy"]  # 0.5 and 0.8
    assert (row["mean"], row["n"]) == ("0.65", "2")
    assert float(row["std"]) == pytest.approx(0.3 / 2**0.5, abs=1e-8)


def test_one_pair_has_an_empty_standard_deviation(tmp_path):
    _, outputs = make_tables(tmp_path, FIRST)
    summary = words(outputs["summary"])
    assert set(summary["std"]) == {""}
    assert set(summary["n"]) == {"1"}


def test_names_that_look_like_numbers_or_gaps_are_kept(two_pairs):
    for name in ("curves", "pairs", "summary"):
        row = words(two_pairs[name]).iloc[0]
        assert (row["dataset"], row["recipe"], row["alignment"]) == ("null", "01", "none")


def test_curves_hold_every_point_in_order(two_pairs):
    curves = words(two_pairs["curves"])
    assert list(curves) == HEADER.split(",")
    assert list(curves["t"]) == ["0", "0.25", "0.75", "1", "0", "1"]


def test_order_of_files_and_rows_does_not_change_a_byte(two_pairs, tmp_path):
    backwards = "".join(reversed(FIRST.splitlines(keepends=True)))
    _, outputs = make_tables(tmp_path, SECOND, backwards)
    for name in TABLES["alignment"]:
        assert outputs[name].read_bytes() == two_pairs[name].read_bytes()


def test_what_was_not_measured_has_a_table_with_only_a_header(two_pairs):
    for name in ("signatures", "planes", "marks", "activations", "candidates", "permutations"):
        assert two_pairs[name].read_text().count("\n") == 1


def test_a_whole_study(tmp_path):
    outputs = synthetic_tables.write(tmp_path)
    training, signatures = words(outputs["training"]), words(outputs["signatures"])
    pd.testing.assert_frame_equal(
        pd.read_csv(io.BytesIO(outputs["signatures"].read_bytes()))[["before", "after"]].describe(),
        synthetic_tables.signatures()[["before", "after"]].describe(),
        rtol=1e-8,
    )
    assert training.query("kind == 'network'")["alignment"].unique().tolist() == [""]
    assert [int(position) for position in signatures["position"][:9]] == list(range(9))  # as numbers: 10 follows 9
    groups = words(outputs["summary"]).groupby(["recipe", "alignment", "curve", "split", "attack"]).ngroups
    assert groups == 3 * len(synthetic_tables.SAG) * 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (FIRST.replace("3.6", "nan"), "line 4: loss is 'nan', not a finite number"),
        (FIRST.replace("3.6", "high"), "line 4: loss is 'high', not a finite number"),
        (
            FIRST.replace("linear,1,", "linear,0.9,"),
            "path null mlp 01 1-2 none linear test none: t must rise from 0 to 1",
        ),
        (FIRST + FIRST, "the same row occurs twice"),
        (f"{HEADER.replace(',loss', '')}\n", "lacks the column loss"),
        (f"{HEADER}\n{FIRST}a,b,c,d,e,f,g,h,i,j,k,l,m,n,o\n", "is not a readable CSV table"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(rows, message, tmp_path):
    process, outputs = make_tables(tmp_path, rows)
    assert process.returncode == 1
    assert message in process.stderr
    assert process.stderr.count("\n") == 1
    assert not outputs["curves"].parent.exists()


@pytest.mark.parametrize("content", ["--evaluations\n", "--evaluation\nabsent.csv\n", "\0\udcff\n"])
def test_a_damaged_list_of_measurements_is_named(tmp_path, content):
    path = tmp_path / "measurements.txt"
    path.write_bytes(content.encode(errors="surrogateescape"))
    process = run("make_tables", "--measurements", str(path))
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert process.stderr.startswith("make_tables.py: ") and str(path) in process.stderr


def test_the_spectrum_of_each_path_is_that_of_its_loss_in_the_order_of_t():
    curves = synthetic_tables.evaluations().query("recipe == 'standard' and curve == 'bezier'")
    spectrum = tables.spectrum_table(curves.sample(frac=1, random_state=0))
    assert list(spectrum) == tables.SPECTRUM.columns
    assert not spectrum.duplicated(tables.SPECTRUM.key).any()
    one = {"pair": "3-4", "alignment": "activation", "split": "train"}
    here, points = (table[(table[list(one)] == pd.Series(one)).all(axis=1)] for table in (spectrum, curves))
    assert list(here["wave"]) == list(range(1, 9))
    assert list(here["amplitude"]) == pytest.approx(list(barriers.spectrum(points["loss"])))
    assert len(spectrum) == 8 * len(curves) / 17


def test_permutations_are_compared_group_by_group_and_with_the_identity(tmp_path):
    paths = synthetic_tables.write_permutations(tmp_path)
    rows = permutation_tables.compare(paths, synthetic_tables.signatures())
    assert list(rows) == tables.PERMUTATIONS.columns
    assert not rows.duplicated(tables.PERMUTATIONS.key).any()
    one = rows[rows["pair"] == "3-4"].set_index(["alignment", "other", "group"])["differ"]
    assert list(one["activation", "pam"][LAYERS]) == [2 / 8] + [0] * 7
    # Rotated by 1 to 8 places: the last layer is as it was.
    assert list(one["activation", "none"][LAYERS]) == [1] * 7 + [0]
    assert set(rows["alignment"] + " " + rows["other"]) == {"activation none", "activation pam", "none pam"}
    # In the order of the network, as the signatures have it, and not of the alphabet.
    signatures = synthetic_tables.signatures().assign(position=lambda rows: -rows["position"])
    assert list(permutation_tables.compare(paths[:1], signatures)["group"]) == LAYERS[::-1]


def test_a_damaged_permutation_is_named(tmp_path, one_line):
    path = synthetic_tables.write_permutations(tmp_path)[0]
    content = path.read_bytes()
    for damaged in (content[:-9], content[:-8] + bytes(8), b""):
        path.write_bytes(damaged)
        with one_line(ValueError, path, "damaged", "run rule align"):
            permutation_tables.compare([path], synthetic_tables.signatures())
