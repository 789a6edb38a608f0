"""A handler made with the helper that `blobforge worker --print-python-helper` prints."""

import os
import sys
import time

from blobforge_runner import BadInput, Encrypted, JobError, handler


@handler
def convert(job):
    does = job.params.get("does", "work")
    print("printed by", does)
    os.system("echo echoed")
    if does == "damaged":
        raise BadInput("It is torn.")
    if does == "locked":
        raise Encrypted("It needs a password.", details={"page": 1})
    if does == "jam":
        raise ZeroDivisionError("it jams")
    if does == "starve":
        raise MemoryError()
    if does == "own":
        raise JobError("Not now.", kind="gpu_busy")
    if does == "long result":
        return "x" * 70_000
    if does == "strange result":
        return {1, 2}
    if does == "no number":
        return {"score": float("nan")}
    if does == "half a character":
        job.log("\U0001f600" * 8000)
        raise OSError("b\udcffd.pdf")
    if does == "strange details":
        raise JobError("It jams.", kind="paper_jam", details={1, 2})
    if does == "wait":
        open(job.params["pid"], "w").write(f"{os.getpid()}\n")
        job.progress(1, 3, "wait")
        while True:
            job.check()
            time.sleep(0.01)
    if does == "keep":
        if "half" not in job.checkpoints:
            job.checkpoint("half", "the first half, ")
            os._exit(1)
        job.output("whole.txt").write_text(job.checkpoints["half"].read_text() + "the second half")
        return {"losses": job.losses}
    words = job.source.read_text().split()
    for number, _ in enumerate(words):
        job.progress(number + 1, len(words), "count")
    job.log(f"{len(words)} words")
    job.output("deep/words.txt").write_text("\n".join(words))
    print("not for the worker", file=sys.stderr)
    return {"words": len(words), "pid": os.getpid()}
