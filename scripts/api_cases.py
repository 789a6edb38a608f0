"""Hooks for schemathesis: gives some of the cases of every operation what they need to succeed.

Drawn requests alone never name a job that exists, hold a lease, or know a worker. So every fifth case of an operation is
made a good one: what it needs is made first, by the same API. What came of every case is counted, and at the end every
operation must have answered one with success.
"""

import atexit
import collections
import hashlib
import json
import os
import sys
import urllib.error
import urllib.request

import schemathesis

BASE = os.environ["BLOBFORGE_SERVER_URL"]
TOKEN = os.environ.get("BLOBFORGE_API_TOKEN", "")
REPORT = os.environ["API_CASES_REPORT"]
LETTER = b"Dear Margaret, the mill sent its first load of paper."

counts = collections.Counter()
succeeded = set()
made_good = set()
drawn = 0


def ask(method, path, body=None, raw=None):
    data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
    request = urllib.request.Request(BASE + path if path.startswith("/") else path, data=data, method=method)
    request.add_header("Authorization", f"Bearer {TOKEN}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=20) as reply:
        text = reply.read()
    return json.loads(text) if text[:1] in (b"{", b"[") else {}


def fresh(prefix):
    global drawn
    drawn += 1
    return f"{prefix}-{drawn}"


def job(**fields):
    return ask("POST", "/api/jobs", {"type": "cases", "source": "none", "dedup": False, **fields})["job_id"]


def uploading():
    content = fresh("letter").encode() + LETTER
    digest = hashlib.sha256(content).hexdigest()
    made = ask("POST", "/api/jobs", {"type": "cases", "source_hash": digest, "source_size": len(content)})
    return made, content


def worker():
    name = fresh("worker")
    ask("POST", "/api/workers/register", {"id": name, "type": name, "protocol": 1, "instance": name})
    return name


def held(source=False):
    name = worker()
    if source:
        content = fresh("letter").encode() + LETTER
        digest = hashlib.sha256(content).hexdigest()
        made = ask("POST", "/api/jobs", {"type": name, "source_hash": digest, "source_size": len(content)})
        url = made["upload"]["url"]
        ask("PUT", url, raw=content)
        ask("POST", f"/api/jobs/{made['job_id']}/uploaded", {})
    else:
        ask("POST", "/api/jobs", {"type": name, "source": "none", "dedup": False})
    claim = ask("POST", "/api/jobs/claim", {"worker_id": name, "job_type": name})
    return name, claim["job"]["id"], claim["lease"]


def completed():
    _, number, lease = held()
    url = ask("POST", f"/api/files/{number}/outputs/url", {"lease": lease, "name": "text.md"})["url"]
    ask("PUT", url, raw=b"# Letter")
    ask("POST", f"/api/jobs/{number}/complete", {"lease": lease, "outputs": [{"name": "text.md"}]})
    return number


def failed():
    _, number, lease = held()
    ask("POST", f"/api/jobs/{number}/fail", {"lease": lease, "error": "no", "retryable": False})
    return number


def webhook():
    return ask("POST", "/api/webhooks", {"url": "https://hooks.example.net/done"})["id"]


def bound_worker():
    name = fresh("bound")
    ask("POST", "/api/admin/workers", {"id": name})
    return name


def by_lease(extra=None, source=False):
    def make():
        _, number, lease = held(source)
        return {"path": {"id": number, "job_id": number}, "body": {"lease": lease, **(extra or {})}}

    return make


def of_job(make_job=job, body=None):
    return lambda: {"path": {"id": make_job(), "job_id": None}, "body": body}


def output_path():
    return {"path": {"id": completed(), "name": "text.md"}}


def file_path():
    return {"path": {"job_id": completed(), "type": "output"}, "query": {"name": "text.md"}}


def sent():
    made, content = uploading()
    ask("PUT", made["upload"]["url"], raw=content)
    return {"path": {"id": made["job_id"]}, "body": {}}


def beat():
    name, number, lease = held()
    gauges = {
        **{f"memory_{what}_bytes": 1 for what in ("used", "total")},
        **{f"disk_{what}_bytes": 1 for what in ("free", "total")},
        "cpu_percent": 12.5,
        "gpus": [{"name": "NVIDIA H100"}],
    }
    condition = {"suspended_until": "2126-03-01T22:00:00Z", "trouble": None, "gauges": gauges}
    return {"path": {"id": name}, "body": {"leases": [{"job_id": number, "lease": lease}], "condition": condition}}


def of_worker(body=None, make=worker):
    return lambda: {"path": {"id": make()}, "body": body}


GOOD = {
    "POST /api/jobs": lambda: {"body": {"type": "cases", "source": "none", "dedup": False}},
    "POST /api/jobs/batch": lambda: {"body": {"jobs": [{"type": "cases", "source": "none", "dedup": False}]}},
    "PUT /api/jobs/upload": lambda: {"query": {"type": "cases", "name": "letter.pdf"}, "body": LETTER},
    "POST /api/jobs/{id}/uploaded": sent,
    "POST /api/jobs/bulk": lambda: {"body": {"action": "cancel", "ids": [job()]}},
    "POST /api/jobs/lookup": lambda: {"body": {"source_hashes": ["0123abcd"]}},
    "GET /api/jobs": lambda: {"query": {}},
    "GET /api/jobs/{id}": of_job(),
    "DELETE /api/jobs/{id}": of_job(completed),
    "GET /api/jobs/{id}/history": of_job(),
    "GET /api/jobs/{id}/logs": of_job(),
    "GET /api/jobs/{id}/outputs/{name}": output_path,
    "GET /api/jobs/{id}/outputs.zip": of_job(completed),
    "POST /api/jobs/{id}/retry": of_job(failed, {}),
    "POST /api/jobs/{id}/cancel": of_job(job, {}),
    "PATCH /api/jobs/{id}/priority": of_job(job, {"priority": 2}),
    "POST /api/jobs/claim": lambda: {"body": {"worker_id": worker(), "job_type": "cases-none"}},
    "POST /api/jobs/{id}/complete": by_lease(),
    "POST /api/jobs/{id}/fail": by_lease({"error": "it broke"}),
    "POST /api/jobs/{id}/release": by_lease(),
    "POST /api/jobs/{id}/snooze": by_lease({"seconds": 60}),
    "POST /api/jobs/{id}/progress": by_lease({"progress": {"done": 1, "total": 2}}),
    "POST /api/jobs/{id}/logs": by_lease({"log_tail": "page 1"}),
    "POST /api/files/upload-url": lambda: {"body": {"job_id": uploading()[0]["job_id"]}},
    "GET /api/files/{job_id}/{type}/url": file_path,
    "POST /api/files/{job_id}/outputs/url": by_lease({"name": "text.md"}),
    "POST /api/workers/register": lambda: {
        "body": {"id": fresh("w"), "type": "cases", "protocol": 1, "instance": "cases"}
    },
    "POST /api/workers/{id}/heartbeat": beat,
    "POST /api/workers/{id}/unregister": of_worker({}),
    "POST /api/workers/{id}/drain": of_worker({}),
    "POST /api/workers/{id}/resume": of_worker({}),
    "DELETE /api/workers/{id}": of_worker(),
    "GET /api/workers/{id}": of_worker(),
    "GET /api/workers": lambda: {"query": {}},
    "GET /api/types/{type}": lambda: {"path": {"type": "cases"}},
    "PATCH /api/types/{type}": lambda: {"path": {"type": "patched"}, "body": {"paused": False}},
    "GET /api/failures": lambda: {"query": {}},
    "POST /api/admin/tokens": lambda: {"body": {"name": "cases", "scopes": ["submit"]}},
    "DELETE /api/admin/tokens/{id}": lambda: {
        "path": {"id": ask("POST", "/api/admin/tokens", {"name": "gone", "scopes": ["submit"]})["id"]}
    },
    "GET /api/admin/tokens": lambda: {"query": {}},
    "GET /api/admin/users": lambda: {"query": {}},
    "DELETE /api/admin/users/{id}/sessions": lambda: {
        "path": {"id": ask("POST", "/api/admin/tokens", {"name": "out", "scopes": ["submit"]})["id"]}
    },
    "GET /api/admin/audit": lambda: {"query": {}},
    "POST /api/admin/workers": lambda: {"body": {"id": fresh("bound")}},
    "POST /api/admin/workers/{id}/regenerate": of_worker({}, bound_worker),
    "POST /api/admin/workers/{id}/enable": of_worker({}, bound_worker),
    "POST /api/admin/workers/{id}/disable": of_worker({}, bound_worker),
    "GET /api/webhooks": lambda: {"query": {}},
    "POST /api/webhooks": lambda: {"body": {"url": "https://hooks.example.net/done"}},
    "DELETE /api/webhooks/{id}": lambda: {"path": {"id": webhook()}},
    "GET /api/webhooks/{id}/deliveries": lambda: {"path": {"id": webhook()}, "query": {}},
}


def checkpoint():
    _, number, lease = held()
    asked = {"lease": lease, "name": "page", "kind": "checkpoint"}
    url = ask("POST", f"/api/files/{number}/outputs/url", asked)["url"]
    stored = ask("PUT", url, raw=LETTER)
    body = {"lease": lease, "name": "page", "size": stored["size"], "sha256": stored["sha256"]}
    return {"path": {"id": number}, "body": body}


def verified():
    _, number, lease = held(source=True)
    return {"path": {"id": number}, "body": {"lease": lease, "sha256": ask("GET", f"/api/jobs/{number}")["source_hash"]}}


def redelivery():
    made = job(webhook="https://hooks.example.net/done")
    ask("POST", f"/api/jobs/{made}/cancel", {})
    for _ in range(2000):
        deliveries = ask("GET", "/api/webhooks/jobs/deliveries?cursor=")
        if deliveries["items"]:
            break
    return {"path": {"id": "jobs"}, "body": {"delivery_id": deliveries["items"][0]["id"]}}


GOOD["POST /api/jobs/{id}/checkpoint"] = checkpoint
GOOD["POST /api/jobs/{id}/source-verified"] = verified
GOOD["POST /api/webhooks/{id}/redeliver"] = redelivery


@schemathesis.hook
def before_call(context, case, kwargs):
    label = case.operation.label
    counts[label] += 1
    make = GOOD.get(label)
    if not TOKEN or make is None or counts[label] % 5 != 1 or not label.startswith(case.method.upper() + " "):
        return
    good = make()
    path = {name: value for name, value in good.get("path", {}).items() if name in (case.path_parameters or {})}
    case.path_parameters = path
    case.query = good.get("query", {})
    case.headers = {"Authorization": f"Bearer {TOKEN}"}
    case.cookies = {}
    if good.get("body") is not None:
        case.body = good["body"]
        case.media_type = "application/octet-stream" if isinstance(case.body, bytes) else "application/json"
    made_good.add(case.id)


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code < 400:
        succeeded.add(case.operation.label)
    elif case.id in made_good:
        print(f"a good case failed: {case.operation.label}: {response.status_code} {response.text[:300]}", file=sys.stderr)


@atexit.register
def report():
    if counts:
        with open(REPORT, "w") as file:
            never = sorted(set(counts) - succeeded)
            json.dump({"cases": sum(counts.values()), "operations": len(counts), "never": never}, file)
