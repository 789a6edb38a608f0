#!/usr/bin/env python3
"""A small stand-in for the three model servers of marker, so that all of marker itself runs without weights and GPU.

It sees pages as rows of ink. A block is what white space surrounds; what is colourful is a picture, what has rules from
side to side is a table, a single tall line is a heading, and everything else is text. The vision model "reads" a block by
telling its place and a sum of its pixels, so that the same page always gives the same text.

    stand_in.py [--port PORT] [--host HOST] [options of llama-server, which are ignored]

    POST /v1/infer             layout (items are pictures) or the judge of texts (items are texts)
    POST /v1/chat/completions  the vision model
    GET  /health, /v1/models   as all three have them
    GET  /stand-in             what was asked so far
    POST /stand-in             how to answer from now on, such as {"chat": "500"}; see `TRICKS`
"""

import argparse
import base64
import hashlib
import io
import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

#: White space that parts two blocks, in lines of a page of 794 pixels' width.
GAP = 9
#: What a line of body text does not reach, in the same measure.
TALL = 15
#: How a server may answer. "hang" never does, "oom" as one whose card is full, "down" is no healthy server, "die" ends it.
TRICKS = ("ok", "500", "hang", "oom", "garbage", "empty", "down", "die")
LABELS = {"Image": "Picture", "Section-Header": "SectionHeader"}


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.tricks = {"chat": "ok", "infer": "ok"}
        self.counts = {"asked": 0, "pages": 0, "texts": 0, "chats": 0}
        self.never = threading.Event()

    def count(self, what, by=1):
        with self.lock:
            self.counts[what] += by


STATE = State()


def runs(marked):
    """Where a row of truths is true, as pairs of beginning and end."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], marked.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def blocks(picture):
    """The blocks of a page, from top to bottom, with their boxes in pixels."""
    pixels = np.asarray(picture.convert("RGB")).astype(np.int16)
    ink = pixels.min(axis=2) < 225
    scale = pixels.shape[1] / 794
    found, rows = [], runs(ink.any(axis=1))
    while rows:
        top, bottom = rows.pop(0)
        lines = [bottom - top]
        while rows and rows[0][0] - bottom < GAP * scale:
            lines.append(rows[0][1] - rows[0][0])
            bottom = rows.pop(0)[1]
        columns = np.flatnonzero(ink[top:bottom].any(axis=0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        label = kind(pixels[top:bottom, left:right], ink[top:bottom, left:right], lines, scale)
        found.append((label, [left, top, right, bottom]))
    return found


def kind(pixels, ink, lines, scale):
    colourful = (pixels.max(axis=2) - pixels.min(axis=2) > 40).mean()
    rules = len(runs(ink.mean(axis=1) > 0.95))
    if colourful > 0.3:
        return "Image"
    if rules >= 3:
        return "Table"
    if len(lines) == 1 and lines[0] >= TALL * scale:
        return "Section-Header"
    return "Text"


def layout(item):
    picture = Image.open(io.BytesIO(base64.b64decode(item)))
    boxes = [
        {
            "polygon": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]],
            "label": LABELS.get(label, label),
            "raw_label": label,
            "position": place,
            "confidence": 0.99,
            "count": 0,
        }
        for place, (label, (x0, y0, x1, y1)) in enumerate(blocks(picture))
    ]
    return {"bboxes": boxes, "image_bbox": [0, 0, *picture.size], "error": False}


def judged(text):
    bad = text.count("\ufffd") > len(text) / 4
    return {"label": "bad" if bad else "good", "score": 0.99 if bad else 0.01}


def read(request):
    """What the vision model says to a picture and a question."""
    asked = request["messages"][0]["content"]
    content = base64.b64decode(asked[0]["image_url"]["url"].split(",", 1)[1])
    picture, question = Image.open(io.BytesIO(content)), asked[1]["text"]
    found = blocks(picture)
    mark = hashlib.sha256(np.asarray(picture.convert("L")).tobytes()).hexdigest()[:8]
    if question.startswith("Output the layout"):
        return json.dumps([{"label": label, "bbox": place(box, picture), "count": 100} for label, box in found])
    if question.startswith("OCR this block"):
        if any(label == "Table" for label, _ in found):
            return f"<table><tr><th>read</th><th>by</th></tr><tr><td>stand-in</td><td>{mark}</td></tr></table>"
        return f"<p>block {mark}</p>"
    told = [
        f'<div data-bbox="{place(box, picture)}" data-label="{label}">{said(label, number, mark)}</div>'
        for number, (label, box) in enumerate(found)
    ]
    return "".join(told)


def said(label, number, mark):
    text = f"block {number} of scan {mark}"
    return f"<h2>{text}</h2>" if label == "Section-Header" else f"<p>{text}</p>"


def place(box, picture):
    width, height = picture.size
    return " ".join(str(int(at / of * 1000)) for at, of in zip(box, (width, height, width, height)))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        if self.path == "/stand-in":
            return self.answer(200, {**STATE.counts, **STATE.tricks, "pid": os.getpid()})
        if "down" in STATE.tricks.values():
            return self.answer(503, {"status": "loading"})
        if self.path == "/health":
            return self.answer(200, {"status": "ok"})
        return self.answer(200, {"data": [{"id": name} for name in self.server.models]})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/stand-in":
            assert set(request.values()) <= set(TRICKS), request
            STATE.tricks.update(request)
            return self.answer(200, STATE.tricks)
        chats = self.path.endswith("/chat/completions")
        trick = STATE.tricks["chat" if chats else "infer"]
        STATE.count("asked")
        if trick == "500":
            return self.answer(500, {"error": "the stand-in was told to fail"})
        if trick == "oom":
            return self.answer(500, {"error": "CUDA out of memory. Tried to allocate 2.00 GiB"})
        if trick == "die":
            os._exit(1)
        if trick == "hang":
            return STATE.never.wait()
        return self.answer(200, self.chat(request, trick) if chats else self.infer(request))

    def infer(self, request):
        items = request["items"]
        pictures = [item.startswith("iVBOR") for item in items]
        STATE.count("pages", sum(pictures))
        STATE.count("texts", len(items) - sum(pictures))
        return {"results": [layout(item) if is_one else judged(item) for item, is_one in zip(items, pictures)]}

    def chat(self, request, trick):
        STATE.count("chats")
        text = {"garbage": "}{ no markup <<", "empty": ""}.get(trick)
        text = read(request) if text is None else text
        return {
            "id": "stand-in",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--alias")
    options, _ = options.parse_known_args()
    server = Server((options.host, options.port), Handler)
    server.models = [options.alias] if options.alias else []
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
