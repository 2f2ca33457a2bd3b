"""What findings mean, in sentences that need no statistics to read."""

from collections.abc import Sequence

from mlops.core.findings import ALL_COLUMNS, Finding, Kind

NAMED = 5
"""Most columns that a sentence names."""
ALONE = "That alone is no reason to retrain."
LONGEST = 80
"""Most characters of a text from data that a sentence quotes."""
INCIDENT_TEXTS: dict[Kind, str] = {
    "absent": "it is absent; find out why its source no longer sends it",
    "all_missing": "every value is missing; repair its source or the join that brings it",
    "unseen": "{effect:.1%} of the rows hold values never seen in training{values}; check the codes that its source"
    " sends",
    "stuck": "every row holds {value}, which was rare in training; check whether its source is stuck",
    "unit": "values are {effect:.3g} times what they were, in the same shape; check the unit that its source sends",
    "frozen": "{effect:.0%} of the rows are those of the window before, again; check whether their source stands still",
    "duplicated": "{effect:.0%} of the rows repeat earlier rows of the same window; check whether their source sent a"
    " batch twice",
}
CHANGES: dict[Kind, str] = {
    "ks": "other values",
    "location": "higher or lower",
    "scale": "spread",
    "chi2": "shares of values",
    "missing": "missing values",
    "pair": "relation to {partner}",
    "joint": "combinations of values",
    "confidence": "how sure the model is",
    "classes": "what the model answers",
    "labels": "shares of the true classes",
    "unseen": "new values",
    "absent": "is not sent any more",
    "all_missing": "has no values any more",
    "stuck": "does not change any more",
    "unit": "is {effect:.3g} times what it was",
    "frozen": "came before, in the window before",
    "duplicated": "came twice",
    "loss": "loss",
    "accuracy": "accuracy",
    "surprise": "mistakes where it was sure",
    "residual": "shares of the true classes",
}


def plain(text: str) -> str:
    """Text from data for a sentence: what cannot be printed escaped, and not too much of it."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def called(name: str) -> str:
    """A column's name for a sentence; in quotes where it would not be seen as it is."""
    shown = plain(name)
    return shown if shown and shown == name.strip() else repr(name[:LONGEST])


def incident_sentence(found: Finding) -> str:
    """Name the source to fix and what is wrong with it."""
    values = f" ({', '.join(map(called, found.now))})" if found.now else ""
    value = called(next(iter(found.now), f"{found.statistic:g}"))
    text = INCIDENT_TEXTS[found.kind].format(effect=found.effect, value=value, values=values)
    where = "All columns" if found.column == ALL_COLUMNS else f"Column {called(found.column)}"
    return f"{where}: {text}."


def drift_sentences(findings: Sequence[Finding]) -> list[str]:
    """Say in one or two sentences which inputs and answers differ from training, the most different first."""
    drifted = sorted((found for found in findings if found.drifted), key=lambda found: -abs(found.effect))
    pairs = [found for found in drifted if found.kind == "pair"]
    alone = list(dict.fromkeys(found.column for found in drifted if found.kind not in {"pair", "joint"}))
    said = []
    if alone:
        more = f" and {len(alone) - NAMED} more" if len(alone) > NAMED else ""
        said.append(f"Not as in training: {', '.join(map(called, alone[:NAMED]))}{more}. {ALONE}")
    for found in pairs:
        before, now = found.before.get("correlation", 0.0), found.now.get("correlation", 0.0)
        said.append(
            f"{called(found.column)} and {called(found.partner)} do not go together as in training (correlation"
            f" {before:.2f}, now {now:.2f}; 0 is none, 1 or -1 the closest). {ALONE}"
        )
    if not said and any(found.kind == "joint" for found in drifted):
        said.append(f"Columns are not combined as in training, though each of them looks the same. {ALONE}")
    return said


def worse_sentences(performance: Sequence[Finding]) -> list[str]:
    """Say where the model falls short of what it claims, beyond the loss over all rows."""
    said = []
    for found in performance:
        if not found.drifted:
            continue
        if found.slice:
            where = f"{called(found.column)} is {called(found.slice)}"
            said.append(f"It is worse where {where} (loss {found.effect:+.2f} a row there).")
        elif found.windows > 1:
            where = "its losses are above" if found.kind == "loss" else "its sure mistakes cost more than"
            said.append(
                f"Over the last {found.windows} windows, the worst left out, {where} what it claims"
                f" ({found.statistic:+.3f} a row)."
            )
        elif found.kind == "accuracy":
            said.append(f"It claims to be right more often than it is, by {found.effect:.1%} of the rows.")
        elif found.kind == "surprise":
            said.append("It is wrong where it was sure, and more often than it claims.")
        elif found.kind == "residual":
            often = "more" if found.effect > 0 else "less"
            said.append(
                f"The answer {called(found.column)} is true {often} often than it claims, by {abs(found.effect):.1%} of"
                " the rows."
            )
    more = len(said) - NAMED
    return [*said[:NAMED], f"{more} more parts of the data are worse too."] if more > 0 else said


def loss_sentence(numbers: dict[str, float | None], judged: str) -> str:
    """Say how often the model was right, now and in training, and its loss beyond what it expects of itself."""
    right, before = (
        "unknown" if share is None else f"{share:.1%}" for share in (numbers["accuracy"], numbers["reference_accuracy"])
    )
    excess, usual = (
        "none" if value is None else f"{value:+.3f}"
        for value in (numbers["excess_loss"], numbers["reference_excess_loss"])
    )
    return (
        f"The model {judged}: it is right in {right} of the rows whose truth is known, in training {before} (its loss"
        f" beyond what it claims: {excess} a row, in training {usual})."
    )


def number(value: float | None) -> str:
    """A number as pages show it."""
    return "none" if value is None else f"{value:.3f}"
