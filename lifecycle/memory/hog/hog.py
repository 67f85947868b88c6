#!/usr/bin/env python3
"""The child of package hog in Python: hog.go says what it can do."""

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


def tell(*words):
    with lock:  # or the words of two threads mix
        print(*words, flush=True)


def say(frame):
    with lock:
        answers.write(json.dumps(frame).encode() + b"\n")


def done(job, text=""):
    tell("ends", job["entity"])
    with lock:
        answers.write(b'{"done":%d,"len":%d}\n%s' % (job["run"], len(text), text.encode()))


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.002)


def act(job, body):
    run, kind = job["run"], job["kind"]
    if os.environ.get("HOG_ORDERS") == "body":
        kind, _, body = body.partition("\n")
    words = kind.split()
    mib = int(words[-1]) if words[-1].isdigit() else 0
    tell("begins", job["entity"])
    if words[0] == "echo":
        done(job, body)
    elif words[0] == "pid":
        done(job, str(os.getpid()))
    elif words[0] == "grow":
        kept.append(take(mib))
        done(job, str(os.getpid()))
    elif words[0] == "spike":
        block = take(mib)
        say({"progress": run, "note": "up"})
        wait_for(body)
        del block
        done(job, str(os.getpid()))
    elif words[0] == "spawn":
        kept.append(take(mib))
        say({"progress": run, "note": "up"})
        while not os.path.exists(body):
            subprocess.run(["true"])
        done(job, str(os.getpid()))
    elif words[0] == "wait":
        say({"progress": run, "note": "started"})
        wait_for(body)
        done(job)
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

for line in iter(orders.readline, b""):
    frame = json.loads(line)
    if "stop" in frame:
        break
    if "cancel" in frame:
        continue
    body = b""
    while len(body) < frame["len"]:
        body += orders.read(frame["len"] - len(body))
    threading.Thread(target=act, args=(frame, body.decode())).start()
