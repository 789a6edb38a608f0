// Keeps a page as things are: hears the events of the service and asks for the page again, of which htmx then changes
// what is different. Nothing moves under the pointer or the focus: see `hold`.
"use strict";
(() => {
    // Events can come by the thousand; a page is asked for this often at most, in milliseconds.
    const EVERY = 1500;
    // Not all open pages at the same instant.
    const soon = () => 120 + Math.random() * 400;
    // Whoever has touched nothing for so long does not work in a list any more, wherever the pointer was left.
    const HELD = 20000;
    const EVENTS = ["job_created", "job_updated", "job_completed", "job_failed", "job_deleted", "worker_online",
        "worker_offline", "stats_updated", "resync"];
    let source;
    let timer;
    let last = 0;
    let touched = Date.now();
    let state = "";

    const page = () => document.querySelector("[data-live]");

    function tell(now) {
        state = now;
        const mark = document.getElementById("live-mark");
        if (!mark || !state || mark.dataset.state === state) return;
        mark.dataset.state = state;
        mark.querySelector("span").textContent = state;
        document.getElementById("offline").hidden = state !== "reconnecting";
    }

    /// Has the page asked for again soon; many calls are answered by one request.
    function refresh() {
        if (timer || !page() || document.hidden) return;
        timer = setTimeout(ask, Math.max(soon(), last + EVERY - Date.now()));
    }

    function ask() {
        timer = undefined;
        last = Date.now();
        const live = page();
        if (live) htmx.trigger(live, "live");
    }

    function listen() {
        if (source || document.hidden || !document.querySelector("#main[data-listens]")) return;
        source = new EventSource("/api/events");
        source.addEventListener("open", () => {
            tell("live");
            // Nobody has told what happened while nobody listened.
            refresh();
            document.dispatchEvent(new Event("blobforge:live"));
        });
        source.addEventListener("error", () => {
            tell("reconnecting");
            // A browser gives up where it is refused; somebody may have logged out.
            if (source.readyState === EventSource.CLOSED) {
                source = undefined;
                setTimeout(listen, 5000);
                refresh();
            }
        });
        for (const name of EVENTS) source.addEventListener(name, event => {
            document.dispatchEvent(new CustomEvent("blobforge:event", { detail: JSON.parse(event.data) }));
            // The numbers follow upon what was told already, and are shown on one page alone.
            if (name !== "stats_updated" || location.pathname === "/") refresh();
        });
    }

    /// A page that nobody looks at hears nothing, and holds no connection.
    function attend() {
        if (document.hidden) {
            source?.close();
            source = undefined;
        } else {
            listen();
            refresh();
        }
    }

    /// While somebody points into a list or works in it with the keyboard, its rows are renewed but neither come, go nor
    /// move; how many wait is said beside it.
    function hold(fragment) {
        if (Date.now() - touched > HELD) return;
        for (const held of document.querySelectorAll("[data-hold]:hover, [data-hold]:focus-within")) {
            const fresh = fragment.querySelector(`#${CSS.escape(held.id)}`);
            if (!fresh) continue;
            const rows = new Map([...fresh.children].map(row => [row.id, row]));
            const kept = [...held.children].map(row => rows.get(row.id) ?? row.cloneNode(true));
            const fewer = kept.filter(row => !rows.has(row.id)).length;
            const more = rows.size - (kept.length - fewer);
            fresh.replaceChildren(...kept);
            const note = fragment.querySelector(`[data-held-by="${CSS.escape(held.id)}"]`);
            if (note && fewer + more > 0) {
                note.textContent = `${fewer + more} ${fewer + more === 1 ? "change waits" : "changes wait"}`;
                note.hidden = false;
            }
        }
    }

    const isLive = ctx => ctx.sourceElement === page();

    // What comes too late for the page as it is now, or is no page, changes nothing.
    document.addEventListener("htmx:before:response", event => {
        const { ctx } = event.detail;
        const asked = new URL(ctx.request.action, location.href);
        if (isLive(ctx) && asked.pathname + asked.search !== location.pathname + location.search) {
            event.preventDefault();
            refresh();
            return;
        }
        const { status } = ctx.response;
        // Who has to log in again is led there by the reply.
        if (status < 400 || status === 401) return;
        event.preventDefault();
        // What the page was about is gone: the page itself says so.
        if (isLive(ctx) && status === 404) location.reload();
        else if (!isLive(ctx)) blobforge.toast(`The list could not be shown: the service answers ${status}.`, { bad: true });
    });
    document.addEventListener("htmx:before:swap", event => {
        const { ctx, tasks } = event.detail;
        if (isLive(ctx)) for (const task of tasks) if (task.fragment) hold(task.fragment);
    });
    // The browser's Back brings a page that knows nothing of this.
    document.addEventListener("htmx:after:swap", () => {
        tell(state);
        listen();
    });
    for (const touch of ["pointermove", "pointerdown", "keydown"]) {
        document.addEventListener(touch, () => { touched = Date.now(); }, { passive: true });
    }
    setInterval(() => {
        const waits = document.querySelector("[data-held-by]:not([hidden])");
        if (waits && Date.now() - touched > HELD) refresh();
    }, 5000);
    for (const leaves of ["pointerout", "focusout"]) {
        document.addEventListener(leaves, event => {
            const held = event.target.closest?.("[data-hold]");
            const note = held && document.querySelector(`[data-held-by="${CSS.escape(held.id)}"]`);
            if (note && !note.hidden && !held.contains(event.relatedTarget)) refresh();
        });
    }
    document.addEventListener("visibilitychange", attend);
    document.addEventListener("blobforge:changed", refresh);
    document.addEventListener("DOMContentLoaded", attend);
})();
