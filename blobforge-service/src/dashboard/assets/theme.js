// Before anything is drawn: the theme that was chosen, so that no other one flashes by. It is one of the few scripts that
// a page waits for.
"use strict";
(() => {
    const KEY = "blobforge-theme";
    const root = document.documentElement;
    const apply = theme => {
        if (theme === "light" || theme === "dark") root.dataset.theme = theme;
        else delete root.dataset.theme;
    };
    let chosen = "system";
    // Storage is switched off in some browsers: the system's theme is then what there is.
    try { chosen = localStorage.getItem(KEY) ?? "system"; } catch { /* as above */ }
    apply(chosen);
    // No script runs in a document's frame: it is told by its address.
    const themed = address => {
        const url = new URL(address, location.href);
        url.searchParams.set("theme", chosen);
        return url.href;
    };
    const tell = () => {
        const choice = document.getElementById("theme");
        if (choice) choice.value = chosen;
        for (const frame of document.querySelectorAll("iframe[data-themed]")) {
            const told = new URL(frame.src).searchParams.get("theme") ?? "system";
            if (told !== chosen) frame.src = themed(frame.src);
        }
    };
    document.addEventListener("DOMContentLoaded", tell);
    document.addEventListener("htmx:after:swap", tell);
    document.addEventListener("change", event => {
        if (event.target.id !== "theme") return;
        chosen = event.target.value;
        apply(chosen);
        tell();
        try { localStorage.setItem(KEY, chosen); } catch { /* as above */ }
    });
    document.addEventListener("click", event => {
        const link = event.target.closest?.("a[href*='/preview']");
        if (link) link.href = themed(link.href);
    });
})();
