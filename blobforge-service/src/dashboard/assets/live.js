// Keeps a page as things are: hears the events of the service and asks for the page again, of which htmx then changes
// what is different. Nothing moves under the pointer or the focus: see `hold`.
"use strict";
(() => {
    // Events can come by the thousand; a page is asked for this often at most, in milliseconds.
    const EVERY = 1500;
    const SOON = 120;
    const EVENTS = ["job_created", "job_updated", "job_completed", "job_failed", "job_deleted", "worker_online",
        "worker_offline", "stats_updated", "resync"];
    let source;
    let timer;
    let last = 0;
    let refreshing = false;

    const page = () => document.querySelector("[data-live]");

    function tell(state) {
        const mark = document.getElementById("live-mark");
        if (!mark || mark.dataset.state === state) return;
        mark.dataset.state = state;
        mark.querySelector("span").textContent = state;
        document.getElementById("offline").hidden = state !== "reconnecting";
    }

    /// Has the page asked for again soon; many calls are answered by one request.
    function refresh() {
        if (timer || !page() || document.hidden) return;
        timer = setTimeout(ask, Math.max(SOON, last + EVERY - Date.now()));
    }

    function ask() {
        timer = undefined;
        last = Date.now();
        refreshing = true;
        htmx.trigger(page(), "live");
    }

    function listen() {
        if (source || !page()) return;
        source = new EventSource("/api/events");
        source.addEventListener("open", () => {
            tell("live");
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
            refresh();
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

    document.addEventListener("htmx:before:swap", event => {
        const { ctx, tasks } = event.detail;
        // Whoever has been logged out is sent to log in, and gets no login form within a page.
        if (ctx.response?.raw?.redirected && new URL(ctx.response.raw.url).pathname === "/auth/login") {
            event.preventDefault();
            location.assign("/auth/login");
            return;
        }
        if (ctx.response && ctx.response.status >= 500) {
            event.preventDefault();
            return;
        }
        if (refreshing) for (const task of tasks) if (task.fragment) hold(task.fragment);
    });
    document.addEventListener("htmx:finally:request", () => { refreshing = false; });
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
