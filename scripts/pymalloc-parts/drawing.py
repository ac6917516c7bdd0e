"""The heap map: the folder beside the page where all processes leave their snapshots, and the page that is made of them.

Owns: the folder FILE.html.partial, which is locked for as long as somebody collects in it. What must hold: it is there before anything is started,
so that a page which cannot be written is told first; it stays below `ROOM`; and it goes when the page is written, or a line says that it stays.
"""

import fcntl
import glob
import os
import re
import subprocess
import sys
import time

from basics import HEAPMAP, OWN_FAILURE, Refusal, say

# Bytes of snapshots that are kept; where there are more, every second one goes.
ROOM = 1 << 28
# Seconds that another collector is given to be done with the folder, whose command has just ended.
PATIENCE = 2
# The ending of the folder's name, behind that of the page.
PARTIAL = ".partial"


def prepare(page, every):
    """Makes the folder. What the collector is to know, and the settings that let processes write there."""
    page = os.path.abspath(page)
    folder = page + PARTIAL
    if re.search(",|%p", page):
        raise Refusal(OWN_FAILURE, f"{page}: a setting cannot name a path with a comma or a %p in it")
    if os.path.exists(page) and not os.path.isfile(page):
        raise Refusal(OWN_FAILURE, f"{page}: cannot be written: {'a folder' if os.path.isdir(page) else 'not a file'}")
    try:
        lock = take_folder(folder)
        probe(folder)
    except OSError as error:
        raise Refusal(OWN_FAILURE, f"{page}: cannot be written: {error.strerror}") from None
    settings = [f"heapmap={folder}/%p.jsonl", f"heapmap_every={round(every * 1000)}"]
    return {"page": page, "folder": folder, "lock": lock}, settings


def take_folder(folder):
    """Makes the folder, or takes over the one that a killed collector has left; gives the descriptor that locks it."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > end:
                raise Refusal(OWN_FAILURE, f"{folder}: processes of another `pymalloc run` still leave snapshots there") from None
            time.sleep(0.01)
    if not os.path.exists(folder):  # that one was done just now
        os.close(lock)
        return take_folder(folder)
    others = [name for name in os.listdir(folder) if not name.endswith(".jsonl")]
    if others:
        raise Refusal(OWN_FAILURE, f"{folder}: in the way, with {others[0]} in it")
    left = snapshots(folder)
    if left:
        say(f"the snapshots that an earlier run has left in {folder} are replaced")
    for path in left:
        os.unlink(path)
    return lock


def probe(folder):
    """Raises if the disk takes nothing more."""
    path = os.path.join(folder, "probe.jsonl")
    try:
        with open(path, "wb") as file:
            file.write(bytes(1 << 16))
    finally:
        os.unlink(path)


def give_up(folder):
    """Takes an empty folder away: nothing was started after all."""
    try:
        os.rmdir(folder)
    except OSError:
        pass


def snapshots(folder):
    return sorted(glob.glob(glob.escape(folder) + "/*.jsonl"))


def size_of(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def keep_room(folder):
    """Leaves out every second snapshot when they have become too many for the disk."""
    while sum(map(size_of, snapshots(folder))) > ROOM:
        if not any([thin(path) for path in snapshots(folder)]):
            return


def thin(path):
    """Takes every second line out of a file to which another process appends. The library locks the file while it writes. Whether there were
    any."""
    with open(path, "rb") as lines, open(path, "r+b") as left:
        try:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # the next look comes soon
        number = -1
        for number, line in enumerate(lines):
            if number % 2 == 0:
                left.write(line)
        left.truncate()
        return number > 0


def has_whole_line(path):
    with open(path, "rb") as file:
        return file.readline().endswith(b"\n")


def draw(heap_map, environment):
    """Makes the page; what there is to say."""
    # One that a process was killed in is cut short, and may be all that its file has.
    drawn = [path for path in snapshots(heap_map["folder"]) if has_whole_line(path)]
    if not drawn:
        return "there is no heap map: the command ended before its first snapshot"
    command = [sys.executable, "-I", "-S", HEAPMAP, *drawn, "-o", heap_map["page"]]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
    except OSError as error:
        done = subprocess.CompletedProcess(command, error.errno)
    if done.returncode == 0:
        return f"the heap map is in {heap_map['page']}"
    heap_map["kept"] = True
    return f"the heap map is not written; its snapshots are kept in {heap_map['folder']}"


def finish(heap_map):
    """Takes the folder away, unless its snapshots are needed."""
    if heap_map.get("kept"):
        return
    for path in snapshots(heap_map["folder"]):
        os.unlink(path)
    give_up(heap_map["folder"])
