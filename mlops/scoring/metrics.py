"""Counters of one scoring service in the Prometheus text format."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the latency histogram, in seconds."""


class Metrics:
    """Requests by path and status, and the latency of ``/score``; used by the event loop only."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._latencies = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count one answer to a known path."""
        self._requests[path, status] += 1
        if path == "/score":
            self._latencies[bisect_left(BUCKETS, seconds)] += 1
            self._seconds += seconds

    def render(self, labels: Mapping[str, str], gauges: Mapping[str, float], counters: Mapping[str, float]) -> bytes:
        """Write all metrics, each with these labels; names are without their common prefix."""
        common = ",".join(f'{name}="{value}"' for name, value in labels.items())
        lines = [_type("requests_total", "counter")]
        for (path, status), count in sorted(self._requests.items()):
            lines.append(f'{_PREFIX}requests_total{{{common},path="{path}",status="{status}"}} {count}')
        lines += self._histogram(common)
        for kind, values in (("gauge", gauges), ("counter", counters)):
            for name, value in values.items():
                lines += [_type(name, kind), f"{_PREFIX}{name}{{{common}}} {value:g}"]
        return "\n".join([*lines, ""]).encode()

    def _histogram(self, common: str) -> list[str]:
        name, total, lines = "request_seconds", 0, [_type("request_seconds", "histogram")]
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], self._latencies, strict=True):
            total += count
            lines.append(f'{_PREFIX}{name}_bucket{{{common},le="{bound}"}} {total}')
        lines.append(f"{_PREFIX}{name}_sum{{{common}}} {self._seconds:.6f}")
        return [*lines, f"{_PREFIX}{name}_count{{{common}}} {total}"]


_PREFIX = "mlops_scoring_"


def _type(name: str, kind: str) -> str:
    return f"# TYPE {_PREFIX}{name} {kind}"
