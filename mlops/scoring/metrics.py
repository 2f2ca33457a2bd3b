"""Counters of one scoring service in the Prometheus text format."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the latency histograms, in seconds."""


class Histogram:
    """Latencies by bucket, and their sum in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        """Count answers that took so long each."""
        self._counts[bisect_left(BUCKETS, seconds)] += count
        self._seconds += seconds * count

    def lines(self, name: str, labels: str) -> list[str]:
        """Its samples; ``labels`` as they stand between the braces."""
        total, lines = 0, []
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], self._counts, strict=True):
            total += count
            lines.append(f'{_PREFIX}{name}_bucket{{{labels},le="{bound}"}} {total}')
        lines.append(f"{_PREFIX}{name}_sum{{{labels}}} {self._seconds:.6f}")
        return [*lines, f"{_PREFIX}{name}_count{{{labels}}} {total}"]


class Metrics:
    """Requests by path and status, and answers of ``/score`` by role and version; used by the event loop only."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._latency = Histogram()
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._answer_latency: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count one answer to a known path."""
        self._requests[path, status] += 1
        if path == "/score":
            self._latency.observe(seconds)

    def answered(self, role: str, version: str, status: int, seconds: float, count: int = 1) -> None:
        """Count what a model answered to ``/score``: ``count`` requests together, in seconds from body to answer."""
        self._answers[role, version, status] += count
        self._answer_latency[role, version].observe(seconds, count)

    def render(
        self,
        labels: Mapping[str, str],
        gauges: Mapping[str, float],
        counters: Mapping[str, float],
        shadow: Mapping[tuple[str, str], int],
    ) -> bytes:
        """Write all metrics, each with these labels; names are without their common prefix.

        ``shadow`` holds rows by version and result.
        """
        common = _labels(labels)
        lines = [_type("requests_total", "counter")]
        for (path, status), count in sorted(self._requests.items()):
            lines.append(f'{_PREFIX}requests_total{{{common},path="{path}",status="{status}"}} {count}')
        lines += [_type("request_seconds", "histogram"), *self._latency.lines("request_seconds", common)]
        lines.append(_type("answers_total", "counter"))
        for (role, version, status), count in sorted(self._answers.items()):
            own = _labels({"role": role, "version": version, "status": status})
            lines.append(f"{_PREFIX}answers_total{{{common},{own}}} {count}")
        lines.append(_type("answer_seconds", "histogram"))
        for (role, version), histogram in sorted(self._answer_latency.items()):
            lines += histogram.lines("answer_seconds", f"{common},{_labels({'role': role, 'version': version})}")
        lines.append(_type("shadow_total", "counter"))
        for (version, result), rows in sorted(shadow.items()):
            lines.append(f"{_PREFIX}shadow_total{{{common},{_labels({'version': version, 'result': result})}}} {rows}")
        for kind, values in (("gauge", gauges), ("counter", counters)):
            for name, value in values.items():
                lines += [_type(name, kind), f"{_PREFIX}{name}{{{common}}} {value:.15g}"]
        return "\n".join([*lines, ""]).encode()


_PREFIX = "mlops_scoring_"
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def _labels(labels: Mapping[str, object]) -> str:
    return ",".join(f'{name}="{str(value).translate(_ESCAPES)}"' for name, value in labels.items())


def _type(name: str, kind: str) -> str:
    return f"# TYPE {_PREFIX}{name} {kind}"
