"""A service in CPython under bursts of load, then in quiet: `service.py BURSTS REQUESTS IDLE`.

HTTP with a thread for each connection, JSON, and a cache of what was parsed. When a burst is over the cache expires, but for the
entries of one customer in a hundred, who stays logged in. Owns: the server, and the client that loads it: this file again, as a
process of its own on CPython's own allocator, one for each burst.
What must hold: a burst is so many requests, not so much time, so that all allocators serve the same.
"""

import http.client
import http.server
import json
import os
import random
import subprocess
import sys
import threading
import time

import meter

CONNECTIONS = 8
# Orders in one request: about 35 KB of JSON, and 200 KB once it is parsed.
ORDERS = 100
# Different bodies that a client sends in turns.
BODIES = 16
WARM_UP = 20


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # the head and the body of an answer in one packet

    def do_POST(self):
        orders = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.cache[int(self.path[1:])] = orders
        totals = [sum(line["price"] * line["quantity"] for line in order["lines"]) for order in orders]
        body = json.dumps({"orders": len(orders), "totals": totals}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = CONNECTIONS

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cache = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.idle_threads = threading.active_count()

    def burst(self, first, requests):
        """Requests that are numbered from the first on, by a client process; over when their threads have ended."""
        plain = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "PYTHONMALLOC")}
        client = [sys.executable, os.path.abspath(__file__), "--client", *map(str, (self.server_port, first, requests))]
        ended = subprocess.run(client, env=plain).returncode
        while threading.active_count() > self.idle_threads:
            time.sleep(0.001)
        if ended != 0 or not self.cache.keys() >= set(range(first, first + requests)):
            sys.exit("service.py: not all requests of a burst were served")

    def expire(self):
        self.cache = {number: orders for number, orders in self.cache.items() if number % 100 == 0}


def serve():
    bursts, requests, idle = meter.arguments("BURSTS REQUESTS IDLE", int, int, float)
    server = Server()
    server.burst(1, WARM_UP)
    server.expire()
    figures = meter.begin()
    figures["peak"], seconds = 0, 0.0
    for number in range(bursts):
        start = time.perf_counter()
        server.burst(1000 * (number + 1), requests)
        figures["peak"] = max(figures["peak"], meter.resident())
        server.expire()
        seconds += time.perf_counter() - start
    meter.end(figures, idle, server.cache.values())
    meter.report(figures, seconds)


def orders(draw):
    return [
        {
            "id": draw.randrange(1 << 31),
            "customer": "customer %d" % draw.randrange(1 << 31),
            "lines": [
                {"article": "article %d" % draw.randrange(9999), "quantity": draw.randrange(1, 9), "price": draw.random() * 100}
                for _ in range(4)
            ],
            "note": "n" * draw.randrange(100),
        }
        for _ in range(ORDERS)
    ]


def send(port, numbers, bodies):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for number in numbers:
        connection.request("POST", f"/{number}", bodies[number % BODIES])
        with connection.getresponse() as response:
            response.read()
    connection.close()


def client(port, first, requests):
    draw = random.Random(1)
    bodies = [json.dumps(orders(draw)).encode() for _ in range(BODIES)]
    numbers = [range(first + i, first + requests, CONNECTIONS) for i in range(CONNECTIONS)]
    threads = [threading.Thread(target=send, args=(port, mine, bodies)) for mine in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        client(*map(int, sys.argv[2:]))
    else:
        serve()
