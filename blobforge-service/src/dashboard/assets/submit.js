// Files on their way in: hashed, announced, sent directly to where files are kept, in parts where they are large. What was
// sent is known to the service, so that a file which is dropped again goes on where it was.
"use strict";
(() => {
    const FILES_AT_ONCE = 2;
    const PARTS_AT_ONCE = 2;
    const TRIES = 5;
    const MOST = 1000;

    const place = document.getElementById("drop");
    if (!place) return;
    const waiting = [];
    const items = [];
    let busy = 0;

    const size = bytes => {
        const units = ["B", "kB", "MB", "GB", "TB"];
        let at = 0;
        while (bytes >= 1000 && at < units.length - 1) { bytes /= 1000; at += 1; }
        return `${bytes.toFixed(at > 0 && bytes < 100 ? 1 : 0)} ${units[at]}`;
    };
    const pause = ms => new Promise(done => setTimeout(done, ms));

    /// One file, as it is shown.
    class Item {
        constructor(file) {
            this.file = file;
            // As it was asked for when it was dropped.
            const tags = document.getElementById("job-tags").value.split(",").map(tag => tag.trim());
            this.wish = {
                type: document.getElementById("job-type").value,
                priority: document.getElementById("job-priority").value,
                tags: tags.filter(Boolean),
            };
            this.job = undefined;
            this.over = false;
            this.row = document.createElement("li");
            const line = document.createElement("div");
            line.className = "row between";
            this.name = document.createElement("a");
            this.name.className = "name grow";
            this.name.textContent = file.webkitRelativePath || file.name;
            this.state = document.createElement("span");
            this.state.className = "status";
            this.stop = document.createElement("button");
            this.stop.type = "button";
            this.stop.className = "tight";
            this.stop.textContent = "Stop";
            this.stop.setAttribute("aria-label", `Stop ${file.name}`);
            this.stop.addEventListener("click", () => this.stopping.abort());
            line.append(this.name, this.state, this.stop);
            this.bar = document.createElement("progress");
            this.bar.max = Math.max(file.size, 1);
            this.bar.value = 0;
            this.bar.setAttribute("aria-label", `Progress of ${file.name}`);
            this.note = document.createElement("div");
            this.note.className = "row small quiet";
            this.note.textContent = size(file.size);
            this.row.append(line, this.bar, this.note);
            document.getElementById("files").append(this.row);
        }

        /// A status with its icon and its word.
        is(word, kind, note) {
            const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
            svg.setAttribute("class", "icon");
            svg.setAttribute("aria-hidden", "true");
            const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
            use.setAttribute("href", `#i-${kind}`);
            svg.append(use);
            this.state.className = `status ${kind}`;
            this.state.replaceChildren(svg, word);
            if (note !== undefined) this.note.textContent = note;
            this.bar.hidden = !["hashing", "sending"].includes(word);
            this.stop.hidden = !["waiting", "hashing", "sending"].includes(word) || this.over;
            sum();
        }

        come(bytes, doing) {
            this.bar.value = bytes;
            this.note.textContent = `${doing} ${size(bytes)} of ${size(this.file.size)}`;
        }

        offer(text, act) {
            const button = document.createElement("button");
            button.type = "button";
            button.className = "tight";
            button.textContent = text;
            button.addEventListener("click", () => { button.remove(); act(); });
            this.note.append(" ", button);
        }

        link(text) {
            const link = document.createElement("a");
            link.href = `/jobs/${this.job}`;
            link.textContent = text;
            this.note.append(" ", link);
        }
    }

    function sum() {
        const over = items.filter(item => item.over).length;
        document.getElementById("sum").textContent = `${over} of ${items.length} submitted`;
    }

    /// What would come to the same the next time.
    const final = (message, more) => Object.assign(new Error(message), { final: true, ...more });
    const stopped = () => final("Stopped. What was sent is kept for a day.");

    function hash(item) {
        return new Promise((done, failed) => {
            const worker = new Worker("/assets/hash-worker.js", { type: "module" });
            const end = act => value => { worker.terminate(); act(value); };
            item.stopping.signal.addEventListener("abort", () => end(failed)(stopped()));
            worker.addEventListener("error", event => end(failed)(new Error(event.message || "the file cannot be hashed")));
            worker.addEventListener("message", ({ data }) => {
                if (data.error) end(failed)(new Error(`The file cannot be read: ${data.error}`));
                else if (data.hash) end(done)(data.hash);
                else item.come(data.done, "hashed");
            });
            worker.postMessage(item.file);
        });
    }

    /// Sends bytes to where they were asked for. fetch tells nothing of how far it is.
    function put({ url, headers }, bytes, signal, came) {
        return new Promise((done, failed) => {
            const request = new XMLHttpRequest();
            request.open("PUT", url);
            for (const [name, value] of Object.entries(headers ?? {})) request.setRequestHeader(name, value);
            request.upload.addEventListener("progress", event => came(event.loaded));
            request.addEventListener("load", () => {
                if (request.status >= 200 && request.status < 300) done(request.getResponseHeader("etag"));
                else failed(Object.assign(new Error(`The store answered ${request.status}.`), { status: request.status }));
            });
            request.addEventListener("error", async () => {
                // A browser that cannot read the file says no more than this.
                const isThere = await bytes.slice(0, 1).arrayBuffer().then(() => true, () => false);
                failed(isThere ? new Error("The connection broke.")
                    : final("The file has changed, or is gone, since it was dropped. Drop it again.", { gone: true }));
            });
            signal.addEventListener("abort", () => { request.abort(); failed(stopped()); });
            if (signal.aborted) failed(stopped());
            else request.send(bytes);
        });
    }

    /// Whether the same would be refused again: but an address that has run out is asked for anew.
    const isFinal = ({ final, status }) => final || (status >= 400 && status < 500 && ![408, 429].includes(status));

    /// Tries again what may go well the next time, each time a little later.
    async function patiently(act) {
        for (let tried = 1; ; tried += 1) {
            try {
                return await act(tried);
            } catch (error) {
                if (tried === TRIES || isFinal(error)) throw error;
                await pause(Math.min(500 * 2 ** tried, 8000));
            }
        }
    }

    /// What a store answers where an address is older than it may be.
    const RAN_OUT = 403;
    const ask = (job, parts) => blobforge.send("POST", "/api/files/upload-url", { job_id: job, ...(parts ? { parts } : {}) });

    async function sendWhole(item, upload) {
        await patiently(async tried => {
            const to = tried === 1 ? upload : await ask(item.job);
            try {
                await put(to, item.file, item.stopping.signal, bytes => item.come(bytes, "sent"));
            } catch (error) {
                throw error.status === RAN_OUT ? new Error(error.message) : error;
            }
        });
    }

    /// Sends the parts that are missing, some at once, and tells of each so that it need never be sent again.
    async function sendParts(item, upload) {
        let next = upload;
        let ranOut = 0;
        while (next.parts.length > 0) {
            const before = item.file.size - next.missing_parts * next.parts[0].size;
            const came = new Map();
            const tell = () => item.come(Math.max(0, before) + [...came.values()].reduce((a, b) => a + b, 0), "sent");
            const queue = [...next.parts];
            const sender = async () => {
                for (let part = queue.shift(); part; part = queue.shift()) {
                    const bytes = item.file.slice(part.offset, part.offset + part.size);
                    const tellPart = loaded => { came.set(part.number, loaded); tell(); };
                    const etag = await patiently(() => put(part, bytes, item.stopping.signal, tellPart));
                    if (!etag) throw new Error("The store did not say which part it has. Its CORS rules have to expose ETag.");
                    // Told at once: whoever closes the page now goes on after this part.
                    await patiently(() => ask(item.job, [{ number: part.number, etag }]));
                }
            };
            const senders = await Promise.allSettled(Array.from({ length: PARTS_AT_ONCE }, sender));
            const broken = senders.find(({ status }) => status === "rejected");
            if (broken && (broken.reason.status !== RAN_OUT || ++ranOut === TRIES)) throw broken.reason;
            next = await patiently(() => ask(item.job));
        }
    }

    async function handIn(item) {
        item.is("hashing", "running");
        item.hash ??= await hash(item);
        const source_hash = item.hash;
        const said = await blobforge.send("POST", "/api/jobs", {
            ...item.wish,
            source_hash,
            source_size: item.file.size,
            source_path: item.name.textContent,
        });
        item.job = said.job_id;
        item.name.href = `/jobs/${said.job_id}`;
        if (said.upload) {
            item.is("sending", "running");
            await (said.upload.parts ? sendParts(item, said.upload) : sendWhole(item, said.upload));
            const job = await blobforge.send("POST", `/api/jobs/${said.job_id}/uploaded`);
            item.over = true;
            // It may have ended before this reply came.
            show(item, item.heard ?? job.status, said.warning);
        } else {
            item.over = true;
            if (said.status === "completed") {
                item.is("already converted", "completed", `${size(item.file.size)}, `);
                item.link("open");
            } else if (said.existing) {
                item.is("already there", said.status === "failed" ? "failed" : "waiting", `${said.status} as job ${said.job_id}`);
                if (["failed", "cancelled"].includes(said.status)) {
                    item.offer("Retry", () => blobforge.act({
                        send: "POST", to: `/api/jobs/${said.job_id}/retry`, done: `Job ${said.job_id} waits again`,
                    }));
                }
            } else {
                show(item, said.status, said.warning);
            }
        }
    }

    const KINDS = { pending: "waiting", running: "running", completed: "completed", failed: "failed", cancelled: "cancelled",
        uploading: "uploading" };

    function show(item, status, warning) {
        item.status = status;
        item.is(status, KINDS[status] ?? "waiting", `${size(item.file.size)}, job ${item.job}${warning ? `: ${warning}` : ""}`);
        if (status === "completed") item.link("open");
    }

    async function work() {
        if (busy >= FILES_AT_ONCE) return;
        const item = waiting.shift();
        if (!item) return;
        busy += 1;
        try {
            await handIn(item);
        } catch (error) {
            stop(item, error);
        } finally {
            busy -= 1;
            work();
        }
    }

    function stop(item, { message, gone }) {
        item.is("stopped", "failed", message);
        if (!gone) item.offer("Go on", () => { take(item); });
    }

    function take(item) {
        item.stopping = new AbortController();
        item.stopping.signal.addEventListener("abort", () => {
            const at = waiting.indexOf(item);
            if (at < 0) return;
            waiting.splice(at, 1);
            stop(item, stopped());
        });
        item.is("waiting", "waiting", size(item.file.size));
        waiting.push(item);
        work();
    }

    function add(files) {
        const some = [...files].slice(0, MOST);
        if (files.length > MOST) blobforge.toast(`${MOST} files are taken at once. Drop the others afterwards.`, { bad: true });
        document.getElementById("sent").hidden = some.length === 0 && items.length === 0;
        for (const file of some) {
            const item = new Item(file);
            items.push(item);
            take(item);
        }
    }

    const choose = document.getElementById("choose");
    document.getElementById("choose-button").addEventListener("click", () => choose.click());
    choose.addEventListener("change", () => { add(choose.files); choose.value = ""; });
    for (const name of ["dragover", "dragenter"]) {
        document.addEventListener(name, event => { event.preventDefault(); place.classList.add("over"); });
    }
    document.addEventListener("dragleave", event => { if (!event.relatedTarget) place.classList.remove("over"); });
    document.addEventListener("drop", event => {
        event.preventDefault();
        place.classList.remove("over");
        add(event.dataTransfer.files);
    });
    document.addEventListener("blobforge:event", ({ detail: { id, status } }) => {
        for (const item of items) {
            if (item.job !== id || !status) continue;
            item.heard = status;
            if (item.over) show(item, status);
        }
    });
    // Nothing was heard while the page was hidden or the service away.
    document.addEventListener("blobforge:live", async () => {
        for (const item of items) {
            if (!item.over || ["completed", "failed", "cancelled"].includes(item.status)) continue;
            try {
                show(item, (await blobforge.send("GET", `/api/jobs/${item.job}`)).status);
            } catch { /* the next event says it */ }
        }
    });
    addEventListener("beforeunload", event => { if (busy > 0) event.preventDefault(); });
})();
