"""A web service with a cache that grows, and what loads it: the program in the README's heap map.

It needs FastAPI and uvicorn (`pip install fastapi uvicorn`). In one terminal, beside this file:

    pymalloc run --heapmap service.html --every 0.25 -- python3 -m uvicorn service:app --port 8123

and in another one: `python3 service.py 8123 12000`. Of the items it asks for it lets the service forget all but every hundredth.
"""

import http.client
import random
import sys
import threading

CLIENTS = 4


def ask(port, numbers):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for number in numbers:
        connection.request("GET", f"/item/{number}")
        connection.getresponse().read()


def load(port, count):
    clients = [threading.Thread(target=ask, args=(port, range(first, count, CLIENTS))) for first in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/forget")
    print(connection.getresponse().read().decode(), "items are left")


if __name__ == "__main__":
    load(int(sys.argv[1]), int(sys.argv[2]))
else:
    from fastapi import FastAPI

    app = FastAPI()
    cache = {}

    @app.get("/item/{number}")
    def item(number: int):
        if number not in cache:
            tags = [f"tag {tag}" for tag in range(20)]
            cache[number] = {"name": f"item {number}", "tags": tags, "text": "x" * random.randint(50, 2000)}
        return cache[number]

    @app.post("/forget")
    def forget():
        for number in list(cache):
            if number % 100:
                del cache[number]
        return len(cache)
