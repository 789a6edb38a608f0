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
        choice.addEventListener("change", () => {
            apply(choice.value);
            try { localStorage.setItem(KEY, choice.value); } catch { /* as above */ }
        });
    });
})();
