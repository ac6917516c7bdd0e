"""A FastAPI service with a leak, with fragmentation and with neither: `why` gives the right verdict, and `types`, `pins` and `diff` name the planted type."""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
import unittest
import urllib.request

import installed
import looking

PYTHON = os.path.join(installed.TARGET, "venv/bin/python")
IS_THERE = os.path.exists(os.path.join(installed.TARGET, "venv/with-metrics"))
RECORDS = 150000


@unittest.skipUnless(IS_THERE, "not installed: fastapi and uvicorn in target/venv")
class Service(looking.Test):
    def setUp(self):
        super().setUp()
        with socket.socket() as any_socket:
            any_socket.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{any_socket.getsockname()[1]}"

    def asked(self, path):
        with urllib.request.urlopen(self.address + path, timeout=installed.LIMIT) as answer:
            return json.load(answer)

    def serving(self, planted):
        """The service, warm, and with requests that go on until the test ends."""
        port = self.address.rpartition(":")[2]
        command = [self.program, "--", PYTHON, "-B", "-m", "uvicorn", "--log-level", "warning", "--port", port, "planted_service:app"]
        process = subprocess.Popen(command, cwd=looking.HERE, env={**os.environ, "PLANTED": planted})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

        def answers():
            with contextlib.suppress(OSError):
                return self.asked("/report/1")

        self.wait_for(answers)
        if planted != "leak":
            self.asked(f"/import/{RECORDS}")
        ended = threading.Event()

        def ask():
            number = 0
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    self.asked(f"/report/{number % 100}")
                number += 1
                time.sleep(0.005)

        asking = threading.Thread(target=ask)
        asking.start()
        self.addCleanup(asking.join)
        self.addCleanup(ended.set)
        time.sleep(2)
        return process.pid

    def seen(self, planted, verdict):
        """What is said of such a service: the types, the pins, and what two snapshots differ by."""
        pid = self.serving(planted)
        self.told("snapshot", pid, "-o", self.path("before"))
        why = json.loads(self.told("why", "--for", 5, "--json", pid))
        self.assertEqual(why["verdict"], verdict, why["parts"])
        self.told("snapshot", pid, "-o", self.path("after"))
        types = {row["name"]: row for row in json.loads(self.told("types", "--json", pid))["types"]}
        pins = json.loads(self.told("pins", "--json", pid))["pins"]
        return types, pins, json.loads(self.told("diff", "--json", self.path("before"), self.path("after")))

    def test_leak(self):
        types, _, difference = self.seen("leak", "growing")
        self.assertGreater(types["planted_service.AuditEntry"]["objects"], 1000)
        self.assertIn("planted_service.AuditEntry", [row["name"] for row in difference["types"][:5]])
        self.assertGreater(difference["growth_bytes"], 4 * abs(difference["fragmentation_bytes"]))

    def test_fragmentation(self):
        types, pins, difference = self.seen("fragmented", "fragmented")
        self.assertEqual(types["planted_service.UserSession"]["objects"], RECORDS // 15)
        self.assertIn("planted_service.UserSession", pins["groups"][0]["types"])
        self.assertGreater(pins["all"]["returnable_bytes"], 10 * pins["all"]["live_bytes"])
        self.assertLess(abs(difference["growth_bytes"]), 2 << 20)

    def test_neither(self):
        types, pins, difference = self.seen("neither", "in use")
        self.assertEqual(types["planted_service.UserSession"]["objects"], RECORDS // 15)
        self.assertLess(pins["all"]["returnable_bytes"], 8 << 20)
        self.assertLess(abs(difference["growth_bytes"]), 2 << 20)


if __name__ == "__main__":
    unittest.main()
