"""A model server that has no model: it is well, and says what it is called. With `--fails` it ends with its last words."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, name = int(sys.argv[1]), sys.argv[2]
if "--fails" in sys.argv:
    sys.exit("the card is on fire")


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        content = json.dumps({"data": [{"id": name}], "pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
