// Jobs that are selected, and the same done to all of them: those whose boxes are ticked, or all that match the filters,
// also on other pages. What would happen is asked first wherever more is changed than can be seen.
"use strict";
(() => {
    const WORDS = {
        retry: ["Retry", "wait again"],
        cancel: ["Cancel", "were called off"],
        priority: ["Change the priority of", "have another priority"],
        delete: ["Delete", "were deleted, with their files"],
    };
    let all = false;

    const boxes = () => [...document.querySelectorAll("[data-select]")];
    const ticked = () => boxes().filter(box => box.checked).map(box => Number(box.value));
    const jobs = number => number === 1 ? "1 job" : `${number} jobs`;

    function show() {
        const bar = document.getElementById("chosen");
        if (!bar) return;
        const number = ticked().length;
        if (number === 0) all = false;
        bar.hidden = number === 0;
        document.getElementById("chosen-text").textContent = all ? "All that match are selected" : `${number} selected`;
        const head = document.querySelector("[data-select-all]");
        if (!head) return;
        head.checked = number > 0 && number === boxes().length;
        head.indeterminate = number > 0 && !head.checked;
    }

    /// Does it, or says what it would do; the sums over all its steps.
    async function run(body) {
        const sum = { matched: 0, done: 0, refused: {} };
        let cursor;
        do {
            const step = await blobforge.send("POST", "/api/jobs/bulk", cursor ? { ...body, cursor } : body);
            sum.matched += step.matched;
            sum.done += step.done;
            for (const [code, { jobs: number }] of Object.entries(step.refused)) {
                sum.refused[code] = (sum.refused[code] ?? 0) + number;
            }
            cursor = step.next_cursor;
        } while (cursor);
        return sum;
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
        try {
            if (all || action === "delete" || action === "cancel") {
                const would = await run({ ...body, dry_run: true });
                if (would.done === 0) {
                    blobforge.toast(`Nothing to do.${left(would)}`, { bad: true });
                    return;
                }
                const question = `${verb} ${jobs(would.done)}?${left(would)}`;
                if (!await blobforge.confirm(question, `${verb.split(" ")[0]} ${would.done}`)) return;
            }
            const did = await run(body);
            blobforge.toast(`${jobs(did.done)} ${done}.${left(did)}`, { bad: did.done === 0 });
            none();
            blobforge.changed();
        } catch (error) {
            blobforge.toast(error.message, { bad: true });
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
            return show();
        }
        return bulk(button.dataset.bulk);
    });
    document.addEventListener("htmx:after:swap", show);
    document.addEventListener("DOMContentLoaded", show);
})();
