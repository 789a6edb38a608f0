// Jobs that are selected, and the same done to all of them: those whose boxes are ticked, or all that match the filters,
// also on other pages. What would happen is asked first wherever more is changed than can be seen.
"use strict";
(() => {
    const WORDS = {
        retry: ["Retry", "wait again"],
        cancel: ["Cancel", "were cancelled"],
        priority: ["Change the priority of", "have another priority"],
        delete: ["Delete", "were deleted, with their files"],
    };
    let all = false;
    // The filters for which all were chosen: under others it would be others.
    let allOf = "";
    let busy = false;

    const boxes = () => [...document.querySelectorAll("[data-select]")];
    const ticked = () => boxes().filter(box => box.checked).map(box => Number(box.value));
    const jobs = number => number === 1 ? "1 job" : `${number} jobs`;

    function show() {
        const bar = document.getElementById("chosen");
        if (!bar) return;
        const number = ticked().length;
        if (number === 0 || allOf !== bar.dataset.filter) all = false;
        bar.hidden = number === 0;
        for (const button of bar.querySelectorAll("button, select")) button.disabled = busy;
        if (busy) return;
        document.getElementById("chosen-text").textContent = all ? "All that match are selected" : `${number} selected`;
        const head = document.querySelector("[data-select-all]");
        if (!head) return;
        head.checked = number > 0 && number === boxes().length;
        head.indeterminate = number > 0 && !head.checked;
    }

    const left = ({ refused }) => {
        const why = Object.entries(refused).map(([code, number]) => `${number} ${code.replaceAll("_", " ")}`);
        return why.length > 0 ? ` Left as they are: ${why.join(", ")}.` : "";
    };

    async function bulk(action, priority) {
        const filter = document.getElementById("chosen").dataset.filter;
        const which = all ? filter ? { filter: JSON.parse(filter) } : { everything: true } : { ids: ticked() };
        const body = { action, ...which, ...(priority ? { priority } : {}) };
        const [verb, done] = WORDS[action];
        const tell = text => { document.getElementById("chosen-text").textContent = text; };
        busy = true;
        show();
        try {
            if (all) {
                // What comes in after the question was not asked about.
                const page = await blobforge.send("GET", "/api/jobs?limit=1");
                const [newest] = page.items ?? page.jobs ?? [];
                if (newest) body.cursor = String(newest.id + 1);
            }
            if (all || action === "delete" || action === "cancel") {
                const would = await blobforge.bulk({ ...body, dry_run: true }, sum => tell(`Counting: ${sum.done}`));
                if (would.done === 0) {
                    blobforge.toast(`Nothing to do.${left(would)}`, { bad: true });
                    return;
                }
                const question = `${verb} ${jobs(would.done)}?${left(would)}`;
                if (!await blobforge.confirm(question, `${verb.split(" ")[0]} ${would.done}`)) return;
            }
            const did = await blobforge.bulk(body, sum => tell(`${sum.done} done`));
            blobforge.toast(`${jobs(did.done)} ${done}.${left(did)}`, { bad: did.done === 0 });
            busy = false;
            none();
        } catch (error) {
            blobforge.toast(error.message, { bad: true });
        } finally {
            busy = false;
            show();
            blobforge.changed();
        }
    }

    function none() {
        all = false;
        for (const box of boxes()) box.checked = false;
        show();
    }

    document.addEventListener("change", event => {
        if (event.target.matches("[data-select-all]")) {
            for (const box of boxes()) box.checked = event.target.checked;
        }
        if (event.target.matches("select[data-bulk]") && event.target.value) {
            bulk("priority", event.target.value);
            event.target.value = "";
        }
        if (event.target.matches("[data-select], [data-select-all]")) {
            all = false;
            show();
        }
    });
    document.addEventListener("click", event => {
        const button = event.target.closest("button[data-bulk], [data-all-matching], [data-none]");
        if (!button) return;
        if (button.matches("[data-none]")) return none();
        if (button.matches("[data-all-matching]")) {
            for (const box of boxes()) box.checked = true;
            all = true;
            allOf = document.getElementById("chosen").dataset.filter;
            return show();
        }
        return bulk(button.dataset.bulk);
    });
    document.addEventListener("htmx:after:swap", show);
    document.addEventListener("DOMContentLoaded", show);
})();
