"""A server of sorts with one thing wrong with its memory, or nothing, for `test_census.py`. It works until it is killed.

    leak          each request leaves 20 sessions behind
    fragmented    it has dropped most of what it had, but for one session in twelve that was made meanwhile
    neither       it has many sessions, and always the same

SIGUSR1 makes it free all sessions, SIGUSR2 makes it copy them and free the originals. Both tell "done". With
each word that it tells it has given back all that can be given back.
"""

import ctypes
import signal
import sys
import time


class Session:
    __slots__ = ("user", "data", "begun", "ended")

    def __init__(self, number):
        self.user = f"user {number}"
        self.data = [number] * 20


    def copied(self):
        copy = Session(0)
        copy.user = (self.user + " ")[:-1]
        copy.data = [int(str(number)) for number in self.data[:1]] * len(self.data)
        return copy


class Chunk:
    __slots__ = ("first", "second", "third", "fourth")


def answer():
    return len([{"number": number, "text": str(number)} for number in range(200)])


def drop(*_):
    sessions.clear()
    told("done")


def copy(*_):
    sessions[:] = [session.copied() for session in sessions]
    told("done")


def told(word):
    ctypes.CDLL(None).malloc_trim(0)
    print(word, flush=True)


what, sessions = sys.argv[1], []
signal.signal(signal.SIGUSR1, drop)
signal.signal(signal.SIGUSR2, copy)
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
told("ready")
while True:
    answer()
    if what == "leak":
        sessions += [Session(number) for number in range(20)]
    time.sleep(0.005)
