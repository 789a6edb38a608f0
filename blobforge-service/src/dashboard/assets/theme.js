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
    document.addEventListener("DOMContentLoaded", () => {
        const choice = document.getElementById("theme");
        if (!choice) return;
        choice.value = chosen;
        // No script runs in a document's frame: it is told by its address.
        const tell = () => {
            for (const frame of document.querySelectorAll("iframe[data-themed]")) {
                const address = new URL(frame.src);
                if ((address.searchParams.get("theme") ?? "system") === choice.value) continue;
                address.searchParams.set("theme", choice.value);
                frame.src = address;
            }
        };
        tell();
        choice.addEventListener("change", () => {
            apply(choice.value);
            tell();
            try { localStorage.setItem(KEY, choice.value); } catch { /* as above */ }
        });
    });
})();
