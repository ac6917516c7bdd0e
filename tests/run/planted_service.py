"""A FastAPI service with one thing wrong with its memory, or nothing, for `test_applications.py`: PLANTED is leak, fragmented or neither.

Each report leaves entries of an audit log behind if it leaks. An import takes a large file apart; what stays of it are sessions, made meanwhile if it is
to be fragmented.
"""

import asyncio
import os

from fastapi import FastAPI

PLANTED = os.environ["PLANTED"]
app = FastAPI()
audit_log, sessions = [], {}


class AuditEntry:
    def __init__(self, user, path):
        self.user, self.path, self.headers = user, path, {"agent": f"client {user}", "trace": f"{user:032x}"}


class UserSession:
    __slots__ = ("user", "token", "rights")

    def __init__(self, user):
        self.user, self.token, self.rights = user, f"{user:040x}", ["read", str(user)]


@app.get("/report/{user}")
async def report(user: int):
    if PLANTED == "leak":
        audit_log.extend(AuditEntry(user, f"/report/{user}") for _ in range(20))
    rows = [{"row": number, "value": f"{number * user}"} for number in range(300)]
    return {"user": user, "rows": len(rows)}


@app.get("/import/{count}")
async def bulk_import(count: int):
    if PLANTED == "neither":
        for user in range(count // 15):
            sessions[user] = UserSession(user)
        return {"sessions": len(sessions)}
    records = []
    for number in range(count):
        records.append([f"{number:039x}", {"a": number, "b": str(number)}, [number]])
        if PLANTED == "fragmented" and number % 15 == 0:
            sessions[number] = UserSession(number)
        if number % 5000 == 0:
            await asyncio.sleep(0)
    return {"sessions": len(sessions), "records": len(records)}
