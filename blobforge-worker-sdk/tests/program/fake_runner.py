"""A runner that speaks the protocol by hand, and breaks it as its job asks for."""

import json
import os
import signal
import subprocess
import sys
import time


def say(**message):
    os.write(1, (json.dumps(message) + "\n").encode())


tidy = None


def wait_for(order):
    for line in iter(sys.stdin.readline, ""):
        told = json.loads(line)
        if told["type"] == "shutdown" and tidy:
            time.sleep(0.05)
            open(tidy, "w").close()
        if told["type"] == order:
            return told
    sys.exit(0)


def main():
    start = sys.argv[1] if len(sys.argv) > 1 else "well"
    if start == "never":
        time.sleep(1000)
    if start == "dies":
        sys.exit("no coal in the cellar")
    if start == "once" and os.path.exists(sys.argv[2]):
        sys.exit("no coal in the cellar")
    if start == "once":
        open(sys.argv[2], "w").close()
    print("warming up, 20 %", flush=True)
    say(type="ready", protocol=7 if start == "later" else 1)
    jobs = 0
    hoard = []
    while True:
        job = wait_for("job")["job"]
        jobs += 1
        params = job["params"]
        does = params.get("does", "work")
        say(type="progress", done=jobs, stage="begin")
        if does == "tidy":
            global tidy
            tidy = params["file"]
        if does == "late":
            say(type="error", id=job["id"] + 1000, kind="cancelled", message="of another job")
        if does == "crash":
            sys.exit(3)
        if does == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if does == "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with open(params["pid"], "w") as file:
                print(os.getpid(), file=file)
            while True:
                say(type="heartbeat")
                say(type="progress", done=jobs, stage="begin")
                time.sleep(0.01)
        if does == "heed":
            with open(params["pid"], "w") as file:
                print(os.getpid(), file=file)
            reason = wait_for("cancel")["reason"]
            say(type="log", message=f"left because of {reason}")
            say(type="error", kind="cancelled", message="left")
            continue
        if does == "garbage":
            os.write(1, b"\x00\xff\xfe{{{\n[1, 2\n\"\n{\"type\": 7}\nLoading: 42 %\n")
        if does == "endless":
            for _ in range(16 * 1024):
                os.write(1, b"x" * 65536)
        if does == "malformed":
            say(type="progress", done="three")
        if does == "hog":
            while True:
                hoard.append(bytearray(os.urandom(1 << 20) * 8))
        if does == "grow":
            hoard.append(bytearray(os.urandom(1 << 20) * 64))
        if does == "breed":
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            say(type="result", result={"pid": os.getpid(), "child": child.pid})
            continue
        if does == "breed and crash":
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            say(type="log", message=f"child {child.pid}")
            sys.exit(3)
        if does == "steal":
            say(type="checkpoint", name="passwd", path="/etc/passwd")
            wait_for("checkpoint_kept")
        if does == "keep":
            place = os.path.join(job["scratch_dir"], "half")
            with open(place, "w") as file:
                file.write(f"half of attempt {job['attempt']}")
            say(type="checkpoint", name="half", path=place)
            wait_for("checkpoint_kept")
            sys.exit(3)
        if does == "fail":
            say(type="error", kind=params["kind"], message="as asked for")
            continue
        if does == "full":
            say(type="error", kind="disk_full", message="no room")
            continue
        kept = {}
        for checkpoint in job["checkpoints"]:
            with open(checkpoint["path"]) as file:
                kept[checkpoint["name"]] = file.read()
        with open(os.path.join(job["output_dir"], "out.txt"), "w") as file:
            file.write(job["source"] or "")
        result = {"pid": os.getpid(), "jobs": jobs, "losses": job["losses"], "kept": kept}
        say(type="result", result=result)
        if does == "work and die":
            sys.exit(0)


main()
