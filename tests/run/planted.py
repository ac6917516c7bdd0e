"""A server of sorts with one thing wrong with its memory, or nothing, for `test_census.py`. It works until it is killed.

    leak          each request leaves 20 sessions behind
    fragmented    it has dropped most of what it had, but for one session in twelve that was made meanwhile
    neither       it has many sessions, and always the same
"""

import sys
import time


class Session:
    __slots__ = ("user", "data", "begun", "ended")

    def __init__(self, number):
        self.user = f"user {number}"
        self.data = [number] * 20


class Chunk:
    __slots__ = ("first", "second", "third", "fourth")


def answer():
    return len([{"number": number, "text": str(number)} for number in range(200)])


what, sessions = sys.argv[1], []
if what == "fragmented":
    burst = []
    for number in range(400000):
        burst.append([Chunk() for _ in range(3)])
        if number % 12 == 0:
            sessions.append(Session(number))
    del burst
elif what == "neither":
    sessions = [Session(number) for number in range(50000)]
answer()
print("ready", flush=True)
while True:
    answer()
    if what == "leak":
        sessions += [Session(number) for number in range(20)]
    time.sleep(0.005)
