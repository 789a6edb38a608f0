// Hashes a file beside the page, piece by piece, so that neither waits for the other and no file is ever held whole.
import { sha256 } from "./sha2.js";

const PIECE = 4 * 1024 * 1024;

self.addEventListener("message", async ({ data: file }) => {
    try {
        const hasher = sha256.create();
        for (let at = 0; at < file.size; at += PIECE) {
            hasher.update(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
            self.postMessage({ done: Math.min(at + PIECE, file.size) });
        }
        const hash = [...hasher.digest()].map(byte => byte.toString(16).padStart(2, "0")).join("");
        self.postMessage({ hash });
    } catch (error) {
        self.postMessage({ error: String(error.message ?? error) });
    }
});
