"""Metrics equal scikit-learn's, and cope with what it does not."""

import io

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from mlops.core.evaluation import CLIP, Metrics, confusion_png, contributions, evaluate, losses, markdown

CLASSES = ("no", "maybe", "yes")


def sample(rows: int, classes: tuple[str, ...], seed: int = 0) -> tuple[list[str], NDArray[np.float64]]:
    """Return labels and probabilities that know something of them."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, len(classes), rows)
    scores = random.normal(size=(rows, len(classes))).round(1) + np.eye(len(classes))[truth]
    shares = np.exp(scores)
    return [classes[code] for code in truth], shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [("no", "yes"), CLASSES])
def test_metrics_equal_scikit_learns(classes: tuple[str, ...]) -> None:
    from sklearn import metrics as reference

    labels, shares = sample(500, classes)
    found = evaluate(labels, shares, classes)
    predicted = [classes[code] for code in shares.argmax(axis=1)]
    codes = [classes.index(label) for label in labels]
    assert found.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found.log_loss == pytest.approx(reference.log_loss(codes, shares))
    auc = reference.roc_auc_score(codes, shares[:, 1] if len(classes) == 2 else shares, multi_class="ovr")
    assert found.roc_auc == pytest.approx(auc)
    assert np.array(found.confusion).tolist() == reference.confusion_matrix(labels, predicted, labels=classes).tolist()
    expected = reference.precision_recall_fscore_support(labels, predicted, labels=classes)
    for position, name in enumerate(classes):
        assert msgspec.structs.astuple(found.per_class[name]) == pytest.approx([row[position] for row in expected])


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "roc_auc"])
@pytest.mark.parametrize("classes", [("no", "yes"), CLASSES])
def test_contributions_average_to_the_metric(metric: str, classes: tuple[str, ...]) -> None:
    labels, shares = sample(300, classes)
    values = contributions(metric, labels, shares, classes)
    assert values is not None
    assert values.mean() == pytest.approx(getattr(evaluate(labels, shares, classes), metric))


def test_contributions_to_auc_give_its_sampling_variance() -> None:
    spread, estimated = [], []
    for seed in range(300):
        labels, shares = sample(200, ("no", "yes"), seed)
        values = contributions("roc_auc", labels, shares, ("no", "yes"))
        assert values is not None
        spread.append(values.mean())
        estimated.append(values.std(ddof=1) / np.sqrt(len(values)))
    assert np.mean(estimated) == pytest.approx(np.std(spread), rel=0.15)


def test_sure_mistakes_cost_a_bounded_loss() -> None:
    found = losses(["no", "yes"], np.array([[1.0, 0.0], [1.0, 0.0]]), ("no", "yes"))
    assert found.tolist() == pytest.approx([0.0, -np.log(CLIP)])


def test_auc_is_undefined_for_one_class_and_skips_absent_ones() -> None:
    labels, shares = sample(60, CLASSES)
    one = evaluate(["no"] * 60, shares, CLASSES)
    assert one.roc_auc is None
    assert one.scalars == {"accuracy": one.accuracy, "log_loss": one.log_loss, "holdout_rows": 60.0}
    two = [label if label != "yes" else "no" for label in labels]
    assert evaluate(two, shares, CLASSES).roc_auc is not None


def test_classes_that_are_never_predicted_have_zero_precision() -> None:
    found = evaluate(["no", "yes"], np.array([[0.9, 0.1], [0.8, 0.2]]), ("no", "yes")).per_class["yes"]
    assert (found.precision, found.recall, found.f1, found.support) == (0, 0, 0, 1)


def test_not_a_number_shows() -> None:
    labels, shares = sample(50, ("no", "yes"))
    shares[3] = np.nan
    found = evaluate(labels, shares, ("no", "yes"))
    assert np.isnan(found.log_loss)
    assert found.roc_auc is not None
    assert np.isnan(found.roc_auc)


@pytest.mark.parametrize(
    ("labels", "rows", "message"),
    [(["no", "?"], 2, r"label '\?' is none of no, maybe, yes"), (["no"], 2, "1 labels"), ([], 0, "0 labels")],
)
def test_wrong_input_is_refused(labels: list[str], rows: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(labels, np.full((rows, 3), 1 / 3), CLASSES)


def test_metrics_survive_json() -> None:
    labels, shares = sample(50, CLASSES)
    found = evaluate(labels, shares, CLASSES)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Metrics) == found


def test_picture_and_table() -> None:
    from PIL import Image

    labels, shares = sample(50, CLASSES)
    found = evaluate(labels, shares, CLASSES)
    picture = Image.open(io.BytesIO(confusion_png(found, CLASSES)))
    assert picture.format == "PNG"
    assert min(picture.size) > 300
    table = markdown(found, CLASSES)
    assert f"| 50 | {found.accuracy:.4f} |" in table
    assert table.count("\n| yes |") == 1
