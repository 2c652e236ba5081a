"""`GET /metrics`: what the front door sees, and the fleet's state when it is asked, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from splitplace.records.fleet_status import FleetStatus

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class HttpMetrics:
    """Of one front door. Every label has few values: routes as they are written, models and tokens by their names."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "splitplace_http_requests",
            "Requests that have ended.",
            ("route", "method", "status", "token"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "splitplace_http_request_seconds",
            "From the receipt of a request to the last byte of its answer.",
            ("route",),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.under_way = Gauge("splitplace_http_requests_under_way", "Requests now.", registry=self.registry)
        self.bytes_in = Counter("splitplace_http_request_bytes", "Of bodies that came in.", registry=self.registry)
        self.bytes_out = Counter("splitplace_http_response_bytes", "Of bodies that went out.", registry=self.registry)
        self.hang_ups = Counter(
            "splitplace_http_hang_ups", "Requests whose client left before the answer.", registry=self.registry
        )
        self.answers = Counter(
            "splitplace_answers",
            "Tasks that were answered, by what answered.",
            ("model", "split"),
            registry=self.registry,
        )
        self._tasks = Gauge(
            "splitplace_tasks", "Tasks of the fleet by where they are.", ("state",), registry=self.registry
        )
        self._up = Gauge("splitplace_device_up", "1 where the device is up.", ("device",), registry=self.registry)
        self._busy = Gauge(
            "splitplace_device_busy_share", "Share of the last moments.", ("device",), registry=self.registry
        )
        self._memory = Gauge(
            "splitplace_device_memory_used_bytes", "Of fragments on it.", ("device",), registry=self.registry
        )

    def text(self, status: FleetStatus | None) -> bytes:
        """Everything, as it is scraped; without the fleet's part where the fleet does not answer."""
        for gauge in (self._tasks, self._up, self._busy, self._memory):
            gauge.clear()
        if status is not None:
            for state in ("waiting", "running", "answered", "failed", "cancelled"):
                self._tasks.labels(state).set(getattr(status.tasks, state))
            for device in status.devices:
                self._up.labels(device.name).set(device.up)
                self._busy.labels(device.name).set(device.busy_share)
                self._memory.labels(device.name).set(device.memory_used_bytes)
        return generate_latest(self.registry)
