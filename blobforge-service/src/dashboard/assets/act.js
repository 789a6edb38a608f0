// What buttons do: they send to the same HTTP interface as programs do, with the page's CSRF token, say what came of it,
// and offer to undo it where that can be done. In a page:
//
//   data-send="POST" data-to="/api/jobs/7/retry"    the method and where to
//   data-body='{"priority": 2}'                     what is said, if anything
//   data-field="priority"                           on a <select>: the field that its value goes into
//   data-done="Job 7 waits again"                   what is said when it is done; {field} stands for one of the reply
//   data-undo='{"send": "POST", "to": "…", "body": {}, "done": "…"}'
//   data-confirm="Delete job 7 and its files"       asks first, in these words
//   data-then="/jobs"                               goes there afterwards
"use strict";
const blobforge = (() => {
    const STAYS = 8000;
    const LAST = "blobforge-last-done";
    const csrf = () => document.querySelector("meta[name=csrf-token]")?.content ?? "";

    /// The page's CSRF token, as it is now: somebody may have logged in again in another tab.
    async function renew() {
        const reply = await fetch("/api/auth/info", { headers: { "Accept": "application/json" } });
        const { csrf_token: token } = reply.ok ? await reply.json() : {};
        if (token) document.querySelector("meta[name=csrf-token]").content = token;
        return Boolean(token);
    }

    /// Sends a request to the service; the reply as JSON. Throws what the service says is wrong.
    async function send(method, to, body, again = true) {
        const headers = { "X-CSRF-Token": csrf(), "Accept": "application/json" };
        if (body !== undefined) headers["Content-Type"] = "application/json";
        const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
        let reply;
        try {
            reply = await fetch(to, options);
        } catch {
            throw new Error("The service cannot be reached. Nothing was changed, as far as this page knows.");
        }
        const text = await reply.text();
        let said;
        try { said = text ? JSON.parse(text) : {}; } catch { said = {}; }
        if (!reply.ok && said.code === "csrf" && again && await renew()) return send(method, to, body, false);
        if (!reply.ok) throw Object.assign(new Error([said.detail ?? `${reply.status} ${reply.statusText}`, said.hint].filter(Boolean).join(". ")), { status: reply.status });
        return said;
    }

    /// Says something at the edge of the page, for a while.
    function toast(text, { bad = false, undo } = {}) {
        const place = document.getElementById("toasts");
        const note = document.createElement("div");
        note.className = bad ? "toast bad" : "toast";
        const words = document.createElement("span");
        words.textContent = text;
        note.append(words);
        if (undo) {
            const button = document.createElement("button");
            button.type = "button";
            button.className = "plain";
            button.textContent = "Undo";
            button.addEventListener("click", () => { note.remove(); undo(); });
            note.append(button);
        }
        const close = document.createElement("button");
        close.type = "button";
        close.className = "plain";
        close.setAttribute("aria-label", "Dismiss");
        close.textContent = "×";
        close.addEventListener("click", () => note.remove());
        note.append(close);
        place.append(note);
        while (place.children.length > 4) place.firstElementChild.remove();
        let timer;
        const leave = () => { timer = setTimeout(() => note.remove(), bad ? 2 * STAYS : STAYS); };
        note.addEventListener("pointerenter", () => clearTimeout(timer));
        note.addEventListener("pointerleave", leave);
        note.addEventListener("focusin", () => clearTimeout(timer));
        leave();
    }

    /// Asks in a dialog; whether it was confirmed.
    function confirm(question, verb) {
        const dialog = document.getElementById("confirm");
        dialog.querySelector("p").textContent = question;
        dialog.querySelector("[value=yes]").textContent = verb;
        dialog.returnValue = "";
        dialog.showModal();
        return new Promise(answer => {
            dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"), { once: true });
        });
    }

    /// The same for many jobs, in as many steps as that takes; the sums over all of them. `heard` is told them on the way.
    async function bulk(body, heard = () => {}) {
        const sum = { matched: 0, done: 0, refused: {} };
        let { cursor } = body;
        try {
            do {
                const step = await send("POST", "/api/jobs/bulk", cursor ? { ...body, cursor } : body);
                sum.matched += step.matched;
                sum.done += step.done;
                for (const [code, { jobs: number }] of Object.entries(step.refused)) {
                    sum.refused[code] = (sum.refused[code] ?? 0) + number;
                }
                heard(sum);
                cursor = step.next_cursor;
            } while (cursor);
        } catch (error) {
            if (sum.done === 0 || body.dry_run) throw error;
            throw new Error(`${error.message} ${sum.done} were done before.`);
        }
        return sum;
    }

    const changed = () => document.dispatchEvent(new Event("blobforge:changed"));
    const filled = (text, reply) => text.replace(/\{(\w+)\}/g, (_, field) => String(reply[field] ?? ""));

    async function act({ send: method, to, body, done, undo, then }) {
        try {
            const isBulk = to === "/api/jobs/bulk";
            const reply = isBulk ? await bulk(body) : await send(method, to, body);
            const text = isBulk && reply.done === 0 ? "Nothing to do: no job is like that any more" : filled(done ?? "Done", reply);
            if (then) {
                // Said where one comes to.
                try { sessionStorage.setItem(LAST, text); } catch { /* Then it is not said. */ }
                location.assign(then);
            } else {
                toast(text, { undo: undo && (() => act(undo)) });
                changed();
            }
            return true;
        } catch (error) {
            toast(error.message, { bad: true });
            return false;
        }
    }

    function wish(element) {
        const { send: method, to, body, done, undo, then } = element.dataset;
        return { send: method, to, done, then, body: body && JSON.parse(body), undo: undo && JSON.parse(undo) };
    }

    document.addEventListener("click", async event => {
        const button = event.target.closest("button[data-send]");
        if (button) {
            const { confirm: question, verb } = button.dataset;
            if (question && !await confirm(question, verb ?? button.textContent.trim())) return;
            button.disabled = true;
            await act(wish(button));
            button.disabled = false;
        }
        const copy = event.target.closest("[data-copy]");
        if (copy) {
            try {
                await navigator.clipboard.writeText(copy.dataset.copy);
                toast("Copied");
            } catch {
                toast("The browser does not let this page copy. Select the text, and copy it by hand.", { bad: true });
            }
        }
    });
    // An address says only what was said.
    document.addEventListener("formdata", event => {
        if (!event.target.matches("form[data-brief]")) return;
        for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
    });
    document.addEventListener("change", async event => {
        const select = event.target.closest("select[data-send]");
        if (!select) return;
        const before = select.dataset.value;
        const wanted = wish(select);
        wanted.body = { [select.dataset.field]: select.value };
        wanted.undo = { ...wanted, body: { [select.dataset.field]: before }, undo: undefined, done: "As it was before" };
        if (!await act(wanted)) select.value = before;
    });
    // A choice that somebody made hides what the page says of it since.
    document.addEventListener("htmx:after:swap", () => {
        for (const select of document.querySelectorAll("select[data-value]")) {
            if (select !== document.activeElement) select.value = select.dataset.value;
        }
    });
    document.addEventListener("DOMContentLoaded", () => {
        try {
            const said = sessionStorage.getItem(LAST);
            sessionStorage.removeItem(LAST);
            if (said) toast(said);
        } catch { /* As above. */ }
    });
    return { act, bulk, changed, confirm, send, toast };
})();
