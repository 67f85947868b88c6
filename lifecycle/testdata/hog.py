#!/usr/bin/env python3
"""A child with frames that uses memory in the ways that its jobs ask for; hog_test.go has the same in Go.

  grow N        keeps N MiB more, from now on
  spike N       takes N MiB, tells so, gives them back when the file in its body is there
  hog N         tells that it begins, takes N MiB in small steps and never ends
  hog child N   the same in a child of its own; `hog session N` in a session of its own, `hog daemon N` there and
                without a parent
  until cancelled, echo, hang, wait for file   as any child
With HOG_BASELINE=N it begins with N MiB, with HOG_FORKS=F it shares them with F forked processes.
"""

import json
import os
import subprocess
import sys
import threading
import time

MIB = 1 << 20
lock = threading.Lock()
kept = []


def take(mib):
    block = bytearray(mib * MIB)
    for page in range(0, len(block), 4096):
        block[page] = 1
    return block


def hog(mib):
    for _ in range(mib // 4):
        kept.append(take(4))
        time.sleep(0.002)
    time.sleep(1000)


if len(sys.argv) > 1:
    print("hog", os.getpid(), flush=True)
    hog(int(sys.argv[1]))

orders = os.fdopen(3, "rb", buffering=0)
answers = os.fdopen(4, "wb", buffering=0)

def say(frame):
    with lock:
        answers.write(json.dumps(frame).encode() + b"\n")


def done(run, text=""):
    with lock:
        answers.write(b'{"done":%d,"len":%d}\n%s' % (run, len(text), text.encode()))


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.002)


def act(job, body, cancelled):
    run, words = job["run"], job["kind"].split()
    mib = int(words[-1]) if words[-1].isdigit() else 0
    if job["kind"] == "echo":
        done(run, body)
    elif words[0] == "grow":
        kept.append(take(mib))
        done(run, str(os.getpid()))
    elif words[0] == "spike":
        block = take(mib)
        say({"progress": run, "note": "up"})
        wait_for(body)
        del block
        done(run, str(os.getpid()))
    elif job["kind"] == "until cancelled":
        say({"progress": run, "note": "started"})
        cancelled.wait()
        say({"fail": run, "error": "cancelled", "retry": True})
    elif job["kind"] == "wait for file":
        say({"progress": run, "note": "started"})
        wait_for(body)
        done(run)
    elif words[0] == "hog":
        say({"progress": run, "note": "started"})
        if len(words) == 2:
            hog(mib)
        else:
            command = [sys.executable, __file__, str(mib)]
            if words[1] == "daemon":
                command = ["sh", "-c", '"$0" "$@" &'] + command
            subprocess.run(command, start_new_session=words[1] != "child")
            time.sleep(1000)
    else:
        say({"progress": run, "note": "started"})
        time.sleep(1000)


if "HOG_BASELINE" in os.environ:
    kept.append(take(int(os.environ["HOG_BASELINE"])))
for _ in range(int(os.environ.get("HOG_FORKS", "0"))):
    if os.fork() == 0:
        total = sum(block[page] for block in kept for page in range(0, len(block), 4096))  # touch, so that it is resident
        while True:
            time.sleep(1000)
say({"ready": True, "concurrency": 8})

cancels = {}
for line in iter(orders.readline, b""):
    frame = json.loads(line)
    if "stop" in frame:
        break
    if "cancel" in frame:
        cancels[frame["cancel"]].set()
        continue
    body = b""
    while len(body) < frame["len"]:
        body += orders.read(frame["len"] - len(body))
    cancels[frame["run"]] = threading.Event()
    threading.Thread(target=act, args=(frame, body.decode(), cancels[frame["run"]])).start()
