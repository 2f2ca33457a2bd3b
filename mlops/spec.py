"""ModelSpec: the typed form of ``deployments/models/<model>.yaml``."""

import hashlib
import re
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec

from mlops.core.schema import Schema


class SpecError(ValueError):
    """A model spec is missing or cannot be used."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the spec: immutable, and a misspelt key is an error."""


class Candidate(_Part, frozen=True):
    """One estimator to try: its short name, kind and scikit-learn parameters."""

    name: str
    estimator: Literal["decision_tree", "random_forest", "hist_gradient_boosting", "logistic_regression", "voting"]
    params: dict[str, Any] = {}
    members: tuple[str, ...] = ()
    """For ``voting``: names of the candidates whose probabilities are averaged."""


class Split(_Part, frozen=True):
    """How rows are held out: at random with a seed, or the latest by event time."""

    method: Literal["random", "time"]
    test: float
    """Share of the rows held out, between 0 and 1."""
    seed: int = 0


class Training(_Part, frozen=True):
    """What to train on and what to try."""

    metric: Literal["accuracy", "log_loss", "roc_auc"]
    """The best candidate has the best holdout value of this."""
    split: Split
    candidates: tuple[Candidate, ...]
    window_days: int | None = None
    """Train on the rows of the latest days of event time; none: on all rows."""


class Gates(_Part, frozen=True):
    """What a challenger must pass; ``min_*`` and ``max_*`` bound its holdout metrics."""

    min_rows: int = 30
    """Holdout rows below which no comparison is made."""
    min_accuracy: float | None = None
    min_roc_auc: float | None = None
    max_log_loss: float | None = None
    margin: float = 0.0
    """How much worse than the champion the challenger's metric may be."""
    min_onnx_agreement: float = 0.999
    """Share of holdout rows on which the served form must answer as the trained one."""


class Golden(_Part, frozen=True):
    """A record with a known answer, asked in every smoke test."""

    record: dict[str, Any]
    expect: str | None = None
    """The class expected; none: any class of the target."""


Policy = Literal["required", "automatic"]


class Approval(_Part, frozen=True):
    """Who lets a version into an environment: ``required`` asks a person, ``automatic`` lets its gates decide."""

    uat: Policy = "automatic"
    prod: Policy = "required"
    hours: float = 72.0
    """An approval that nobody gave within this time is refused."""


class Shadow(_Part, frozen=True):
    """How long PROD asks the challenger beside the champion; whichever bound is reached first ends it."""

    seconds: float = 60.0
    """0: no shadow, neither alone nor beside the canary."""
    requests: int = 0
    """Compared rows; 0: time alone counts."""


class Canary(_Part, frozen=True):
    """How PROD's requests move to the challenger."""

    steps: tuple[float, ...] = (0.1, 0.5)
    """Rising shares of the requests; after the last one the challenger answers all. Empty: at once."""
    min_seconds: float = 60.0
    """Each step lasts at least so long,"""
    min_requests: int = 50
    """and until the canary has answered so many requests,"""
    max_seconds: float = 600.0
    """but no longer than this."""
    quiet: Literal["continue", "roll_back"] = "continue"
    """What follows when ``max_seconds`` are over before ``min_requests``, as in an idle service."""


class Tolerances(_Part, frozen=True):
    """How much worse than the champion's the challenger's answers may be."""

    errors: float = 0.01
    """Error rate above the champion's own."""
    latency: float = 2.0
    """95th percentile of the answer time, as a multiple of the champion's own."""
    latency_ms: float = 25.0
    """A percentile that is higher by less than this is never too high."""
    disagreement: float = 0.2
    """Share of requests with another class than the champion's; for classes by frequency, total variation."""


class Release(_Part, frozen=True):
    """How a challenger reaches production."""

    approval: Approval = Approval()
    latency_ms: float = 250.0
    """Upper bound for one record: the median in the smoke test, the canary's 95th percentile."""
    golden: tuple[Golden, ...] = ()
    shadow: Shadow = Shadow()
    canary: Canary = Canary()
    tolerances: Tolerances = Tolerances()


class Drift(_Part, frozen=True):
    """The policy of the drift verdict."""

    window_days: float = 1.0
    """Length of a window, in days of event time (of request time without a time column)."""
    window_rows: int | None = None
    """Rows of a window, in the order in which they were answered; then ``window_days`` and ``start`` do not count."""
    start: datetime | None = None
    """A moment at which a window begins; unless given they begin on Mondays, 00:00 UTC."""
    min_rows: int = 100
    """Rows, and labelled rows, below which a window is ``wait``."""
    false_alarm_rate: float = 0.01
    """Error budget of one window over all its tests: the chance of anything but ok or wait on unchanged data."""
    max_excess_loss: float = 0.02
    """Log loss above the reference's, after calibration, that is worth a retrain (nats a row)."""
    min_history: int = 20
    """Past windows from which on thresholds come from them, so that seasons do not alarm."""
    label_delay_days: float = 0.0
    """Labels of a window count once its end is so many days ago; earlier ones may be a biased choice."""
    label_patience_days: float = 7.0
    """So many days longer a window waits for labels that its verdict lacks; then the verdict stands without them."""
    min_label_share: float = 0.0
    """Share of a window's rows that must be labelled before its labels count."""
    new_values: Literal["incident", "investigate"] = "incident"
    """What values never seen in training mean: broken codes, or a world that gains values as it goes on."""
    agree: int = 2
    """So many of the last ``of`` windows must be worse before the verdict is ``retrain``."""
    of: int = 3
    cooldown_windows: int = 2
    """Windows after a retrain verdict in which no other one is given."""
    refresh_windows: int = 2
    """Windows without a training after which a fresh model is tried although nothing alarmed; half as many once
    that paid (at least ``cooldown_windows``), twice as many when it did not. 0: only alarms retrain."""


class ModelSpec(_Part, frozen=True):
    """All that differs between models."""

    name: str
    description: str
    data: Schema
    training: Training
    gates: Gates = Gates()
    release: Release = Release()
    drift: Drift = Drift()
    serving_format: Literal["onnx", "joblib"] = "onnx"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", self.name):
            raise ValueError(f"name {self.name!r}: use lower-case letters, digits and dashes, 40 at most")
        if not 0 < self.training.split.test < 1:
            raise ValueError(f"training.split.test is {self.training.split.test}; it must lie between 0 and 1")
        if self.training.split.method == "time" and self.data.time is None:
            raise ValueError("training.split.method is 'time', but data declares no column of type time")
        if self.training.window_days is not None and self.data.time is None:
            raise ValueError("training.window_days is set, but data declares no column of type time")
        _check_rollout(self.release)
        if self.drift.window_days <= 0 or (self.drift.window_rows is not None and self.drift.window_rows < 1):
            raise ValueError("drift.window_days and drift.window_rows must be above 0")
        names = [candidate.name for candidate in self.training.candidates]
        if not names or len(set(names)) != len(names):
            raise ValueError("training.candidates needs one or more candidates with different names")
        for candidate in self.training.candidates:
            if unknown := sorted(set(candidate.members) - set(names)):
                raise ValueError(f"candidate {candidate.name!r} has unknown members: {', '.join(unknown)}")

    @property
    def digest(self) -> str:
        """SHA-256 of the spec's canonical JSON."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


def _check_rollout(release: Release) -> None:
    shadow, canary = release.shadow, release.canary
    if shadow.requests and not shadow.seconds:
        raise ValueError("release.shadow.requests is set without seconds: an idle service would wait for ever")
    if not all(low < high for low, high in pairwise((0, *canary.steps, 1))):
        raise ValueError(f"release.canary.steps are {list(canary.steps)}; they must rise, between 0 and 1")
    if canary.min_seconds > canary.max_seconds:
        raise ValueError(f"release.canary.min_seconds is above max_seconds ({canary.max_seconds:g})")


def parse(text: bytes, source: str = "spec") -> ModelSpec:
    """Parse a spec from YAML.

    Raises:
        SpecError: the text is not YAML or not a spec; the message names the source and the field.
    """
    try:
        return msgspec.yaml.decode(text, type=ModelSpec)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise SpecError(f"{source}: {error}") from None


def load(models_dir: Path, model: str) -> ModelSpec:
    """Read the spec of one model.

    Raises:
        SpecError: there is no such spec (the message lists those there are), it is invalid,
            or its name differs from its file's.
    """
    file = models_dir / f"{model}.yaml"
    if not file.is_file():
        raise SpecError(
            f"no spec for model {model!r} in {models_dir}; there are: {', '.join(names(models_dir)) or 'none'}"
        )
    spec = parse(file.read_bytes(), str(file))
    if spec.name != model:
        raise SpecError(f"{file}: name is {spec.name!r}; it must equal the file's name")
    return spec


def names(models_dir: Path) -> list[str]:
    """List the models that have a spec, sorted."""
    return sorted(file.stem for file in models_dir.glob("*.yaml"))
