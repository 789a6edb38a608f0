"""Write a BlobForge worker in Python: one function, one decorator, the standard library alone.

    from blobforge_runner import handler

    @handler
    def convert(job):
        text = job.source.read_text()
        job.progress(1, 2, "count")
        job.output("words.txt").write_text(str(len(text.split())))
        return {"words": len(text.split())}

Run it with `blobforge worker --type word-count --runner -- python3 convert.py`, and try it without a service with
`blobforge worker --once letter.txt --type word-count --runner -- python3 convert.py`.

What is printed goes to the job's log. An exception fails the attempt, which is tried again; raise `BadInput`,
`Encrypted` or any `JobError` to say more. `Cancelled` is raised in `progress`, `checkpoint` and `check` when the job is
to be left. The protocol, version 1, is described in docs/runner-protocol.md of BlobForge.
"""

import errno
import json
import os
import pathlib
import queue
import sys
import threading
import traceback

__all__ = ["BadInput", "Cancelled", "Encrypted", "Job", "JobError", "handler", "serve"]

PROTOCOL = 1
HEARTBEAT_SECONDS = 10
#: In characters, each of which is up to twelve bytes on its line.
MESSAGE_MAX = 3000
#: The longest line that the worker takes.
LINE_BYTES_MAX = 65_536


class JobError(Exception):
    """Why a job is not done. Without `retryable` its kind decides whether another run makes sense."""

    kind = "handler_error"

    def __init__(self, message, kind=None, retryable=None, details=None):
        super().__init__(message)
        self.kind = kind or self.kind
        self.retryable = retryable
        self.details = details


class BadInput(JobError):
    """The source cannot be worked on, now or later."""

    kind = "bad_input"


class Encrypted(JobError):
    """The source needs a password."""

    kind = "encrypted"


class Cancelled(JobError):
    """The job is to be left. Let it pass."""

    kind = "cancelled"


class Job:
    """A job under way."""

    def __init__(self, told, say):
        self.id = told["id"]
        self.type = told["type"]
        self.attempt = told["attempt"]
        self.failures = told["failures"]
        #: How many runs were killed or lost since a checkpoint advanced: from 1 on, take smaller steps.
        self.losses = told["losses"]
        self.params = told["params"]
        self.tags = told["tags"]
        self.metadata = told["metadata"]
        #: The source, or None.
        self.source = pathlib.Path(told["source"]) if told["source"] else None
        self.source_label = told["source_label"]
        self.output_dir = pathlib.Path(told["output_dir"])
        self.scratch_dir = pathlib.Path(told["scratch_dir"])
        #: What earlier attempts kept, by name.
        self.checkpoints = {kept["name"]: pathlib.Path(kept["path"]) for kept in told["checkpoints"]}
        self._say = say
        self._cancelled = threading.Event()
        self._kept = queue.Queue()

    def progress(self, done, total=None, stage=None, message=None, steps=None):
        """Say how far the work is; only what advances keeps the job from being stopped as stuck. `steps` is a count of
        whatever the work consists of, for work of which `done` says too little."""
        self.check()
        stage, message = (_short(text, 200) for text in (stage, message))
        said = {"done": done, "total": total, "stage": stage, "message": message, "steps": steps}
        self._say({"type": "progress", **{name: value for name, value in said.items() if value is not None}})

    def log(self, message):
        """Write a line to the job's log."""
        self._say({"type": "log", "message": _short(message, MESSAGE_MAX)})

    def output(self, name):
        """The path of an output, whose folder is there: write to it."""
        path = self.output_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def checkpoint(self, name, content):
        """Keep bytes, text or a file (a path) for the next attempt, in case this one does not end well. Returns once it
        survives whatever happens."""
        self.check()
        path = content
        if not isinstance(content, os.PathLike):
            path = self.scratch_dir / "checkpoint.tmp"
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self._say({"type": "checkpoint", "name": name, "path": os.path.abspath(path)})
        self._kept.get()
        self.check()

    @property
    def cancelled(self):
        """Whether the job is to be left."""
        return self._cancelled.is_set()

    def check(self):
        """Raise `Cancelled` if the job is to be left."""
        if self._cancelled.is_set():
            raise Cancelled("the job was called off")

    def _cancel(self):
        self._cancelled.set()
        self._kept.put(None)


def handler(function):
    """Serve jobs with this function, which returns a small result or None. Does not return."""
    if function.__module__ == "__main__":
        serve(function)
    return function


def serve(function):
    """Serve jobs with this function until the worker says that it is enough."""
    _Runner(function).run()


class _Runner:
    def __init__(self, function):
        self._function = function
        # Nobody but us may write to the real standard output: what libraries print goes to standard error.
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        os.dup2(2, 1)
        sys.stdout.reconfigure(line_buffering=True)
        # Nor may a child read our orders.
        self._orders = os.fdopen(os.dup(0), "r", encoding="utf-8")
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        self._speaking = threading.Lock()
        self._jobs = queue.Queue()
        self._current = None

    def run(self):
        threading.Thread(target=self._listen, daemon=True).start()
        self._say({"type": "ready", "protocol": PROTOCOL})
        while (job := self._jobs.get()) is not None:
            self._answer(job)

    def _listen(self):
        try:
            for line in self._orders:
                order = json.loads(line)
                if order.get("type") == "shutdown":
                    break
                self._take(order)
        finally:
            # The end of the orders, and one that makes no sense, are the end of the worker for us.
            if self._current is not None:
                self._current._cancel()
            self._jobs.put(None)

    def _take(self, order):
        kind = order.get("type")
        if kind == "job":
            self._current = Job(order["job"], self._say)
            self._jobs.put(self._current)
        elif kind == "cancel" and self._current is not None:
            self._current._cancel()
        elif kind == "checkpoint_kept" and self._current is not None:
            self._current._kept.put(order["name"])

    def _answer(self, job):
        done = threading.Event()
        pulse = threading.Thread(target=self._beat, args=(done,), daemon=True)
        pulse.start()
        try:
            answer = _result(self._function(job))
        except JobError as error:
            answer = _error(error.kind, str(error), error.retryable, error.details)
        except MemoryError as error:
            answer = _error("host_oom", f"out of memory: {error}")
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            answer = _error("disk_full" if full else "handler_error", _said(error))
        except Exception as error:
            traceback.print_exc()
            answer = _error("handler_error", _said(error))
        finally:
            done.set()
            pulse.join()
        sys.stdout.flush()
        sys.stderr.flush()
        self._say({**answer, "id": job.id})

    def _beat(self, done):
        while not done.wait(HEARTBEAT_SECONDS):
            self._say({"type": "heartbeat"})

    def _say(self, message):
        with self._speaking:
            self._out.write(_line(message))
            self._out.flush()


def _result(result):
    answer = {"type": "result", "result": result}
    # With some room for what goes along; what is no JSON fails here, and not when it is said.
    size = len(_line(answer)) + 100
    if size >= LINE_BYTES_MAX:
        raise JobError(f"the result has {size} bytes: write it to an output", "result_too_large", retryable=False)
    return answer


def _line(message):
    """One line of ASCII, which every JSON reader takes: no NaN, and no half of a character."""
    text = json.dumps(message, allow_nan=False)
    return text.encode("ascii").decode("ascii") + "\n" if "\\ud" not in text else _whole(message)


def _whole(message):
    text = json.dumps(message, allow_nan=False, ensure_ascii=False)
    return json.dumps(json.loads(text.encode("utf-8", "replace"))) + "\n"


def _short(text, most):
    return None if text is None else str(text)[:most]


def _said(error):
    return f"{type(error).__name__}: {error}"


def _error(kind, message, retryable=None, details=None):
    error = {"type": "error", "kind": kind, "message": _short(message, MESSAGE_MAX)}
    if retryable is not None:
        error["retryable"] = retryable
    try:
        if details is not None and len(_line(details)) < LINE_BYTES_MAX / 4:
            error["details"] = details
    except (TypeError, ValueError):
        error["details"] = _short(details, 1000)
    return error
