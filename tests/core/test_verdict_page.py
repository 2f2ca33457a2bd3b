"""The page says what happened and what to do before any number, in words, and shows data as text alone."""

import re
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from mlops.core.drift import reference
from mlops.core.findings import INCIDENTS, Finding, Kind
from mlops.core.schema import Column, Schema, Target
from mlops.core.verdict import Meaning, Verdict, judge
from mlops.core.verdict_page import HEADLINES, SHOWN, changes, markdown
from mlops.spec import Drift

JARGON = re.compile(r"\b(nats?|log loss|p-value|Kolmogorov|chi|ks|TVD?|AUC|ROC|null|hypothesis|sigma|variance)\b")
NUMBERS = "<details><summary>All numbers</summary>"
SCHEMA = Schema((Column("weight", "number"), Column("town", "category")), Target("late", ("no", "yes")))


def verdict(decision: Meaning, *columns: Finding, **more: Any) -> Verdict:
    return Verdict(verdict=decision, reasons=("Why.",), version="3", rows=500, labelled=400, columns=columns, **more)


def finding(column: str, kind: Kind, effect: float = 0.5, **more: Any) -> Finding:
    return Finding(column=column, kind=kind, statistic=effect, effect=effect, **more)


def judged(flip: float = 0.0, labelled: bool = True, **change: Any) -> Verdict:
    """A window of a model that is true, but for a share of flipped labels and what is changed."""

    def rows(count: int, seed: int, flipped: float) -> tuple[pd.DataFrame, Any, pd.Series]:
        random = np.random.default_rng(seed)
        weight = random.normal(size=count)
        yes = 1 / (1 + np.exp(-3 * weight))
        truth = (random.random(count) < yes) != (random.random(count) < flipped)
        frame = pd.DataFrame({"weight": weight, "town": random.choice(["Ulm", "Bonn"], count)})
        return frame, np.column_stack([1 - yes, yes]), pd.Series(np.where(truth, "yes", "no"))

    inputs, said, labels = rows(3000, 0, 0.0)
    known = reference(inputs, SCHEMA, labels, said, holdout=inputs)
    now, answers, truth = rows(800, 1, flip)
    policy = Drift(agree=1, of=1)
    return judge(known, now.assign(**change), answers, truth if labelled else None, SCHEMA, policy, "3")


@pytest.mark.parametrize("decision", get_args(Meaning))
def test_the_headline_and_what_to_do_come_first(decision: Meaning) -> None:
    lines = markdown(verdict(decision), "iris, window 7").splitlines()
    assert lines[0] == f"# {decision.replace('_', ' ')}: iris, window 7"
    assert lines[2] == f"**{HEADLINES[decision]}**"
    assert lines[4].startswith("**What to do:** ")
    assert "- Why." in lines
    # The UI folds away only what stands in one block of HTML.
    assert lines[-1].startswith(NUMBERS)
    assert lines[-1].endswith("</details>")


@pytest.mark.parametrize(
    "told",
    [
        judged(),
        judged(flip=0.3),
        judged(weight=lambda frame: frame["weight"] + 1),
        judged(weight=lambda frame: frame["weight"] * 2.54),
        judged(town="Zell", labelled=False),
        judged(labelled=False, weight=lambda frame: frame["weight"] / 8),
        judged(flip=0.3, town=lambda frame: frame["town"].where(frame.index % 3 > 0)),
    ],
    ids=["ok", "worse", "moved", "unit", "unseen", "unsure", "worse and missing"],
)
def test_no_word_before_the_numbers_needs_statistics(told: Verdict) -> None:
    page = markdown(told, "window")
    before, _, after = page.partition(NUMBERS)
    assert JARGON.search(before) is None, before
    assert "<td>log loss</td>" in after
    for found in told.columns:
        assert not found.drifted or found.column in before or found.column == "all columns"


def test_a_worse_model_is_told_in_shares_of_right_answers() -> None:
    told = judged(flip=0.3)
    page = markdown(told, "window")
    assert told.verdict == "retrain"
    right, usual = told.numbers["accuracy"], told.numbers["reference_accuracy"]
    assert f"Right in {right:.1%} of 800 rows; {usual:.1%} in training." in page


def test_without_labels_what_is_estimated_is_marked() -> None:
    page = markdown(judged(labelled=False), "window")
    assert "Estimated without labels: right in about" in page
    assert "<td>estimated accuracy</td>" in page


def test_incidents_come_first_one_row_a_column_with_values_before_and_now() -> None:
    shown = {"before": {"mean": 1.0, "5%": 0.0, "50%": 1.0, "95%": 2.0}, "now": {"mean": 9.0}}
    rows, left = changes(
        [
            finding("a", "location", 3.0, **shown),
            finding("b", "ks", 0.9, **shown),
            finding("b", "unit", 2.54),
            finding("c", "missing", 0.1, before={"missing": 0.0}, now={"missing": 0.1}),
            finding("c", "ks", 0.2, drifted=False),
            finding("a", "pair", 0.4, partner="c", before={"correlation": 0.1}, now={"correlation": 0.5}),
            finding("all columns", "frozen", 1.0),
        ]
    )
    assert left == 0
    told = [(column, what) for column, what, _, _ in rows]
    assert told[:2] == [("b", "is 2.54 times what it was"), ("all columns", "came before, in the window before")]
    assert set(told[2:]) == {("a", "higher"), ("c", "missing values"), ("a", "relation to c")}
    assert rows[0][2:] == ("1 (0 to 2)", "mean 9")
    assert dict(zip(told, rows, strict=True))[("c", "missing values")][2:] == ("missing 0.0%", "missing 10.0%")


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_has_words(kind: Kind) -> None:
    (row,), _ = changes([finding("x", kind, partner="z")])
    assert row[0] == "x"
    assert "{" not in row[1]
    assert row[1] != kind or kind in {"loss", "accuracy"}
    assert (kind in INCIDENTS) == (kind in {"absent", "all_missing", "unseen", "stuck", "unit", "frozen", "duplicated"})


def test_of_many_columns_the_most_changed_are_shown() -> None:
    rows, left = changes([finding(f"c{each}", "ks", each / 100) for each in range(40)])
    assert [row[0] for row in rows] == [f"c{each}" for each in range(39, 39 - SHOWN, -1)]
    assert left == 40 - SHOWN
    assert f"and {left} more" in markdown(
        verdict("investigate", *(finding(f"c{each}", "ks") for each in range(40))), "window"
    )


def test_text_from_data_is_no_markup() -> None:
    evil = "<img src=x onerror=alert(1)>|`code`[link](javascript:x)**bold**\n# head"
    told = Verdict(
        verdict="data_incident", reasons=(f"Column {evil}.",), version="3", rows=500, labelled=0,
        columns=(finding(evil, "unseen", now={evil: 0.5}),),
    )  # fmt: skip
    page = markdown(told, "window")
    assert "<img" not in page
    assert "\n# head" not in page
    # In the block of HTML at the end nothing is Markdown.
    before = page.partition(NUMBERS)[0]
    assert "[link](" not in before.replace("\\[link](", "")
    assert "**bold" not in before.replace("\\*\\*bold", "")
    assert "\n" not in page.partition(NUMBERS)[2].rstrip("\n")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "img" in line]
    assert rows
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)


def test_since_when_it_lasts_or_when_it_was() -> None:
    lasting = verdict("investigate", start="2026-03-08T00:00", end="2026-03-14T23:00", since="2026-03-01T00:00")
    assert "**Since when:** 2026-03-01 00:00" in markdown(lasting, "window")
    new = verdict("investigate", start="2026-03-08T00:00", end="2026-03-14T23:00", since="2026-03-08T00:00")
    assert "**When:** 2026-03-08 00:00 to 2026-03-14 23:00." in markdown(new, "window")
