"""Counts of a server, in the text format of Prometheus."""

from collections import Counter
from collections.abc import Mapping
from itertools import accumulate

EDGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)  # seconds


class RequestMetrics:
    """Requests by kind and status, and how long they took."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.within: dict[str, list[int]] = {}

    def count(self, kind: str, status: int, seconds: float) -> None:
        """One request."""
        self.requests[kind, status] += 1
        self.seconds[kind] += seconds  # type: ignore[assignment]
        buckets = self.within.setdefault(kind, [0] * (len(EDGES) + 1))
        buckets[sum(edge < seconds for edge in EDGES)] += 1

    def text(self, unseen: Mapping[str, int], batches: int) -> str:
        """What a scrape gives."""
        lines = ["# TYPE fmlab_requests_total counter"]
        lines += [f'fmlab_requests_total{{kind="{k}",status="{s}"}} {n}' for (k, s), n in sorted(self.requests.items())]
        lines += ["# TYPE fmlab_batches_total counter", f"fmlab_batches_total {batches}"]
        lines += ["# TYPE fmlab_unseen_values_total counter"]
        lines += [f'fmlab_unseen_values_total{{field="{_escaped(f)}"}} {n}' for f, n in sorted(unseen.items())]
        lines += ["# TYPE fmlab_request_seconds histogram"]
        for kind, buckets in sorted(self.within.items()):
            edges = [*map(str, EDGES), "+Inf"]
            for edge, count in zip(edges, accumulate(buckets), strict=True):
                lines.append(f'fmlab_request_seconds_bucket{{kind="{kind}",le="{edge}"}} {count}')
            lines.append(f'fmlab_request_seconds_sum{{kind="{kind}"}} {self.seconds[kind]:.6f}')
            lines.append(f'fmlab_request_seconds_count{{kind="{kind}"}} {sum(buckets)}')
        return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
