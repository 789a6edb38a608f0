// Keeps "3 min ago" true while a page stays open; what it says is what the service says (words.rs).
"use strict";
(() => {
    const MINUTE = 60, HOUR = 3600, DAY = 86400;

    function about(seconds) {
        if (seconds < MINUTE) return `${Math.max(0, Math.floor(seconds))} s`;
        if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min`;
        if (seconds < 2 * DAY) return `${Math.floor(seconds / HOUR)} h`;
        return `${Math.floor(seconds / DAY)} days`;
    }

    function words(seconds) {
        if (seconds < -5) return `in ${about(-seconds)}`;
        return seconds < 5 ? "just now" : `${about(seconds)} ago`;
    }

    // The service's clock is the one that counts: how far this machine's is ahead of it.
    let ahead = 0;

    function compare() {
        const now = Date.parse(document.getElementById("main")?.dataset.now);
        if (now) ahead = Date.now() - now;
    }

    function renew() {
        if (document.hidden) return;
        for (const time of document.querySelectorAll("time[data-ago]")) {
            const text = words((Date.now() - ahead - Date.parse(time.dateTime)) / 1000);
            if (time.textContent !== text) time.textContent = text;
        }
    }

    document.addEventListener("DOMContentLoaded", compare);
    document.addEventListener("htmx:after:swap", compare);
    setInterval(renew, 5000);
    document.addEventListener("visibilitychange", renew);
})();
