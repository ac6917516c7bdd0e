"""Metrics: what `pymalloc exporter` serves, read by the official parser; what `pymalloc.metrics` registers; the alerts and the dashboard in metrics/."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import unittest
import urllib.request

import installed
import looking

METRICS = os.path.join(installed.ROOT, "metrics")
PYTHON = os.path.join(installed.TARGET, "venv/bin/python")
HAS_CLIENT = os.path.exists(os.path.join(installed.TARGET, "venv/with-metrics"))
NEEDS_CLIENT = unittest.skipUnless(HAS_CLIENT, "not installed: prometheus_client and opentelemetry in target/venv")
# Reads OpenMetrics with the official parser; writes [name, labels, value] of all samples, by metric with its type.
PARSER = """
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = text_string_to_metric_families(sys.stdin.read())
print(json.dumps({family.name: [family.type, [[s.name, s.labels, s.value] for s in family.samples]] for family in families}))
"""
MIB = 1 << 20


def parsed(text):
    done = subprocess.run([PYTHON, "-c", PARSER], input=text, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


@NEEDS_CLIENT
class Exporter(looking.Test):
    def exporter(self, *arguments):
        """Starts it; gives its address and the process."""
        command = [self.path("bin/pymalloc"), "exporter", "--listen", "127.0.0.1:0", *map(str, arguments)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        line = process.stderr.readline()
        found = re.fullmatch(r"pymalloc-watch: serving (http://127\.0\.0\.1:\d+/metrics)\n", line)
        self.assertTrue(found, line)
        return found[1], process

    def asked(self, url):
        with urllib.request.urlopen(url, timeout=installed.LIMIT) as answer:
            self.assertEqual(answer.headers["Content-Type"], "application/openmetrics-text; version=1.0.0; charset=utf-8")
            return parsed(answer.read().decode())

    def of(self, families, name, pid, **labels):
        kind, samples = families[f"pymalloc_{name}"]
        wanted = {"pid": str(pid), **labels}
        (value,) = [sample[2] for sample in samples if wanted.items() <= sample[1].items()]
        return value

    def test_what_is_served(self):
        process, _ = self.started(looking.found()[-1], looking.PLANTED, "fragmented")
        url, _ = self.exporter(process.pid)
        families = self.asked(url)
        told = json.loads(self.told("pins", "--json", process.pid))
        for name, value in (("page_floor_bytes", told["page_floor_bytes"]), ("returnable_bytes", told["pins"]["all"]["returnable_bytes"])):
            seen = self.of(families, name, process.pid)
            self.assertLess(abs(seen - value), value / 50, name)
        parts = sum(self.of(families, f"{name}_bytes", process.pid) for name in ("page_floor", "free", "files", "other"))
        resident = self.of(families, "resident_bytes", process.pid)
        self.assertLess(abs(parts - resident), resident / 20)
        self.assertGreaterEqual(self.of(families, "peak_resident_bytes", process.pid), resident)
        pinned = sum(value for _, labels, value in families["pymalloc_class_pinned_bytes"][1])
        # Shares of a page are rounded down.
        self.assertLess(abs(pinned - self.of(families, "pinned_bytes", process.pid)), MIB)
        self.assertGreater(self.of(families, "class_pinned_bytes", process.pid, **{"class": "64"}), 60 * MIB)
        self.assertIn("planted.py fragmented", families["pymalloc_process"][1][0][1]["command"])
        kinds = {family: kind for family, (kind, _) in families.items()}
        self.assertEqual({kinds[name] for name in kinds if name.endswith("_bytes")}, {"gauge"})
        self.assertEqual((kinds["pymalloc_page_faults"], kinds["pymalloc_process"]), ("counter", "info"))
        # Growth is seen without a new count of all blocks.
        process.kill()
        process.wait()
        self.assertNotIn("pymalloc_resident_bytes", self.asked(url))

    def test_all_with_their_roles(self):
        program = "import os, sys, time\nchild = os.fork()\nprint(child, flush=True) if child else None\ntime.sleep(99)"
        parent, line = self.started(looking.found()[-1], "-c", program)
        url, _ = self.exporter("--all")
        try:
            families = self.asked(url)
            roles = {int(labels["pid"]): labels["role"] for _, labels, _ in families["pymalloc_resident_bytes"][1]}
            self.assertEqual((roles[parent.pid], roles[int(line)]), ("main", "worker"))
            self.assertNotIn(os.getpid(), roles)
            later, _ = self.started(looking.found()[-1], "-c", "import time\nprint(flush=True)\ntime.sleep(99)")
            self.of(self.asked(url), "resident_bytes", later.pid)
        finally:
            os.kill(int(line), 9)

    def test_what_else_is_asked(self):
        process, _ = self.started(looking.found()[-1], looking.PLANTED, "neither")
        url, _ = self.exporter(process.pid)
        port = int(url.split(":")[2].split("/")[0])
        for method, path, status in (("GET", "/", 200), ("GET", "/other", 404), ("HEAD", "/metrics", 200), ("POST", "/metrics", 405), ("GET", "/metrics?x=1", 200)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=installed.LIMIT)
            connection.request(method, path)
            self.assertEqual(connection.getresponse().status, status, (method, path))
            connection.close()
        # What is no request, and a client that never ends its own, hold nobody up.
        waiting = socket.create_connection(("127.0.0.1", port))
        waiting.sendall(b"GET /metrics HT")
        with socket.create_connection(("127.0.0.1", port)) as broken:
            broken.sendall(b"\0\xff\x1b" * 1000 + b"\r\n\r\n")
        self.assertIn("pymalloc_resident_bytes", self.asked(url))
        waiting.close()

    def test_mistakes(self):
        for arguments, status, words in (
            (["exporter"], 2, "Their PIDs are missing, or --all"),
            (["exporter", "--all", 1], 2, "either PIDs or --all"),
            (["exporter", "--all", "--listen", "nowhere"], 2, "no address to listen at"),
            (["exporter", 2000000000], 1, "there is no process 2000000000"),
        ):
            done = self.command(*arguments)
            self.assertEqual((done.returncode, done.stdout), (status, ""))
            self.assertRegex(done.stderr, rf"\Apymalloc-watch: .*{words}.*\n\Z")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            done = self.command("exporter", "--all", "--listen", f":{taken.getsockname()[1]}")
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, r"\Apymalloc-watch: 127\.0\.0\.1:\d+: .*in use.*\n\Z")

    def test_what_the_dashboard_and_the_alerts_ask_for(self):
        process, _ = self.started(looking.found()[-1], looking.PLANTED, "neither")
        families = self.asked(self.exporter(process.pid)[0])
        served = {sample[0] for _, samples in families.values() for sample in samples} | {"pymalloc_limit_bytes"}
        with open(os.path.join(METRICS, "dashboard.json"), encoding="utf-8") as file:
            board = json.load(file)
        asked = {target["expr"] for panel in board["panels"] for target in panel["targets"]}
        self.assertGreater(len(asked), 15)
        with open(os.path.join(METRICS, "alerts.yml"), encoding="utf-8") as file:
            asked |= {line for line in file if not line.strip().startswith(("-", "#", "description"))}
        names = {name for text in asked for name in re.findall(r"\bpymalloc_\w+", text)}
        self.assertLessEqual(names, served)
        self.assertEqual(len({panel["id"] for panel in board["panels"]}), len(board["panels"]))


class Alerts(unittest.TestCase):
    @unittest.skipUnless(shutil.which("promtool"), "promtool is not here")
    def test_by_promtool(self):
        for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts-test.yml"]):
            done = subprocess.run(["promtool", *arguments], cwd=METRICS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual(done.returncode, 0, done.stdout)


FROM_INSIDE = """
import json, sys
import pymalloc
sys.modules["before"] = [name for name in sys.modules if name.startswith(("prometheus", "opentelemetry"))]
assert sys.modules["before"] == []
import prometheus_client
from prometheus_client.openmetrics.exposition import generate_latest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
registry = prometheus_client.CollectorRegistry()
pymalloc.metrics()
pymalloc.metrics(registry=registry)
reader = InMemoryMetricReader()
pymalloc.metrics(meter=MeterProvider([reader]).get_meter("test"))
kept = [bytes(1000) for _ in range(10000)]
assert "pymalloc_in_use_bytes" in generate_latest(prometheus_client.REGISTRY).decode()
(resource,) = reader.get_metrics_data().resource_metrics
(scope,) = resource.scope_metrics
observed = {metric.name: [point.value for point in metric.data.data_points] for metric in scope.metrics}
print(json.dumps([generate_latest(registry).decode(), observed, pymalloc.stats()]))
"""


@NEEDS_CLIENT
class Inside(installed.Test):
    def test_both_libraries_tell_the_same(self):
        shown = self.output(PYTHON, "-c", FROM_INSIDE, env={**os.environ, "PYTHONPATH": installed.MODULE, "PYTHONDONTWRITEBYTECODE": "1"})
        text, observed, figures = json.loads(shown)
        families = parsed(text)
        in_use = families["pymalloc_in_use_bytes"][1][0][2]
        self.assertGreater(in_use, 10 * MIB)
        for value in (in_use, observed["pymalloc.in_use"][0]):
            self.assertLess(abs(value - figures["bytes_in_use"]), figures["bytes_in_use"] / 10)
        self.assertEqual(families["pymalloc_arenas_mapped"][0], "counter")
        by_class = sum(sample[2] for sample in families["pymalloc_class_in_use_bytes"][1])
        self.assertLess(abs(by_class - in_use), in_use / 50)
        self.assertLess(abs(sum(observed["pymalloc.class_in_use"]) - in_use), in_use / 10)
        self.assertEqual({name.split(".")[1] for name in observed}, {re.sub(r"\Apymalloc_|_bytes\Z", "", name) for name in families})

    def test_without_the_library(self):
        program = "import pymalloc\ntry: pymalloc.metrics()\nexcept pymalloc.NotLoaded: print('told')"
        done = subprocess.run([PYTHON, "-c", program], env={**os.environ, "PYTHONPATH": installed.MODULE}, stdout=subprocess.PIPE, text=True, check=True)
        self.assertEqual(done.stdout, "told\n")


if __name__ == "__main__":
    unittest.main()
