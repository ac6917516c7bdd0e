"""The figures of this process for prometheus_client and OpenTelemetry, by their own libraries: what `pymalloc.metrics` registers.

Owns: the list of what is told. What must hold: nothing of this is imported by `import pymalloc`, and it costs nothing until it is asked; the names are those that `pymalloc exporter` uses.
"""

import threading
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import pymalloc

# Seconds for which figures serve: OpenTelemetry asks for each metric by itself.
FRESH = 0.5


class Metric(NamedTuple):
    name: str
    meaning: str
    # The way to it in `pymalloc.stats()`.
    path: str
    is_counter: bool = False

    def of(self, figures: Dict[str, Any]) -> float:
        value: Any = figures
        for name in self.path.split("."):
            value = value[name]
        return float(value)


METRICS = [
    Metric("resident", "Resident memory of the process", "resident"),
    Metric("in_use", "Blocks that the program has", "bytes_in_use"),
    Metric("free", "Freed blocks that may be resident", "bytes_free"),
    Metric("retained", "What may stay resident since it was given back too early before", "retained_bytes"),
    Metric("purged", "Pages in pools that were given back and are not in use again", "pages.purged_bytes"),
    Metric("budget_used", "What may be resident without a block in use", "budget.used_bytes"),
    Metric("budget", "How much that may be", "budget.bytes"),
    Metric("purged_slots", "Free slots whose pages were given back", "slots.purged", True),
    Metric("arenas_mapped", "Arenas mapped", "arenas.mapped", True),
    Metric("arenas_unmapped", "Arenas unmapped", "arenas.unmapped", True),
    Metric("remote_frees", "Blocks freed by threads that did not own their pool", "remote_frees", True),
]
BY_CLASS = ("class_in_use", "Blocks that the program has, by size class")


def in_use_by_class(figures: Dict[str, Any]) -> Iterator[Any]:
    """Of each size class its name and its bytes in use; of larger blocks too."""
    for row in figures["classes"]:
        yield str(row["size"]), float(row["size"] * row["in_use"])
    yield "large", float(figures["large"]["bytes"] + figures["mappings"]["bytes"])


class PrometheusCollector:
    """What prometheus_client asks at each scrape."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        figures = pymalloc.stats()
        for metric in METRICS:
            if metric.is_counter:
                yield CounterMetricFamily(f"pymalloc_{metric.name}", metric.meaning, value=metric.of(figures))
            else:
                yield GaugeMetricFamily(f"pymalloc_{metric.name}_bytes", metric.meaning, value=metric.of(figures), unit="bytes")
        name, meaning = BY_CLASS
        family = GaugeMetricFamily(f"pymalloc_{name}_bytes", meaning, labels=["class"], unit="bytes")
        for size_class, value in in_use_by_class(figures):
            family.add_metric([size_class], value)
        yield family


class _Figures:
    """The latest figures, counted anew when they are too old."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.figures: Dict[str, Any] = {}
        self.counted: Optional[float] = None

    def now(self) -> Dict[str, Any]:
        with self.lock:
            if self.counted is None or time.monotonic() - self.counted > FRESH:
                self.figures = pymalloc.stats()
                self.counted = time.monotonic()
            return self.figures


def register_prometheus(registry: Any) -> PrometheusCollector:
    import prometheus_client

    collector = PrometheusCollector()
    (prometheus_client.REGISTRY if registry is None else registry).register(collector)
    return collector


def register_opentelemetry(meter: Any) -> List[Any]:
    from opentelemetry.metrics import CallbackOptions, Observation

    latest = _Figures()

    def observing(metric: Metric) -> Any:
        def observe(_: CallbackOptions) -> List[Observation]:
            return [Observation(metric.of(latest.now()))]

        return observe

    def by_class(_: CallbackOptions) -> List[Observation]:
        return [Observation(value, {"class": size_class}) for size_class, value in in_use_by_class(latest.now())]

    made = []
    for metric in METRICS:
        make = meter.create_observable_counter if metric.is_counter else meter.create_observable_gauge
        unit = "1" if metric.is_counter else "By"
        made.append(make(f"pymalloc.{metric.name}", callbacks=[observing(metric)], unit=unit, description=metric.meaning))
    name, meaning = BY_CLASS
    made.append(meter.create_observable_gauge(f"pymalloc.{name}", callbacks=[by_class], unit="By", description=meaning))
    return made
