// The keyboard: `/` searches, `j` and `k` move through a list, `x` selects, Enter opens, `?` says so.
"use strict";
(() => {
    const rows = () => [...document.querySelectorAll("[data-rows] [data-row]")];
    const types = element => element.matches?.("input:not([type=checkbox]), select, textarea, [contenteditable]");

    function showKeys() {
        document.getElementById("keys-on").checked = !areOff();
        document.getElementById("keys").showModal();
    }

    function move(by) {
        const all = rows();
        if (all.length === 0) return;
        const at = all.findIndex(row => row.contains(document.activeElement));
        const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
        next.querySelector("a[href]")?.focus();
        next.scrollIntoView({ block: "nearest" });
    }

    // Who speaks to the browser, or hits keys by chance, can switch single keys off.
    const areOff = () => localStorage.getItem("keys") === "off";

    document.addEventListener("keydown", event => {
        if (areOff()) return;
        if (event.ctrlKey || event.metaKey || event.altKey || types(event.target)) return;
        if (document.querySelector("dialog[open]")) return;
        const keys = {
            "/": () => document.getElementById("search")?.focus(),
            "j": () => move(1),
            "k": () => move(-1),
            "x": () => document.activeElement.closest("[data-row]")?.querySelector("input[type=checkbox]")?.click(),
            "?": showKeys,
        };
        const wanted = keys[event.key];
        if (!wanted) return;
        event.preventDefault();
        wanted();
    });
    document.addEventListener("change", ({ target }) => {
        if (target.id === "keys-on") localStorage.setItem("keys", target.checked ? "on" : "off");
    });
    // On a narrow screen the navigation begins where one is.
    document.addEventListener("DOMContentLoaded", () => {
        document.querySelector(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    document.addEventListener("click", event => {
        if (event.target.closest("[data-keys]")) showKeys();
    });
})();
