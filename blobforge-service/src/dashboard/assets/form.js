// Forms that send to the same HTTP interface as programs do, and show what is shown once. In a page:
//
//   <form data-form data-send="POST" data-to="…">   sends its fields as JSON; `a.b` is the field `b` of the object `a`
//   data-form="changes"                             sends only what was changed; a field that was emptied becomes null
//   data-done="Token {name} is made"                what is said when it is done
//   data-shows="made"                               the element that then shows the reply, and nothing before
//   data-local                                      on a field: it chooses what is shown, and is not sent
//   data-many                                       on boxes of the same name: they become a list
//   data-unit="86400"                               on a number: how many of the interface's units one of it is
//   data-whole="limits.starts"                      on a fieldset: its fields are said all together, or not at all
//   data-fill="export TOKEN={token}"                what an element says, with fields of the reply in it
//   data-fill-copy="{token}"                        the same, for a button that copies
//   data-variant="linux text"                       only shown while these are chosen in the form
//   data-forget="made"                              a button that hides it and forgets what it showed
"use strict";
(() => {
    const fields = form => [...form.elements].filter(field => field.name && !("local" in field.dataset));

    function value(field) {
        if (field.value === "") return null;
        if (field.type !== "number") return field.value;
        // Beyond a millionth it is only how the machine counts.
        return Math.round(Number(field.value) * Number(field.dataset.unit ?? 1) * 1e6) / 1e6;
    }

    function put(body, path, said) {
        const names = path.split(".");
        const last = names.pop();
        let into = body;
        for (const name of names) into = into[name] ??= {};
        into[last] = said;
    }

    /// Everything that is filled in.
    function everything(form) {
        const body = {};
        for (const field of fields(form)) {
            if ("many" in field.dataset) {
                body[field.name] ??= [];
                if (field.checked) body[field.name].push(field.value);
            } else if (value(field) !== null) put(body, field.name, value(field));
        }
        return body;
    }

    /// What somebody changed, and with it what has to be said together.
    function changes(form) {
        const body = {};
        const whole = field => field.closest("[data-whole]");
        for (const field of fields(form).filter(field => field.value !== field.defaultValue)) {
            const group = whole(field);
            if (!group) {
                put(body, field.name, value(field));
                continue;
            }
            const together = fields(form).filter(other => whole(other) === group && value(other) !== null);
            put(body, group.dataset.whole, together.length > 0 ? {} : null);
            for (const other of together) put(body, other.name, value(other));
        }
        return body;
    }

    const filled = (text, reply) => text.replace(/\{(\w+)\}/g, (all, name) => name in reply ? String(reply[name] ?? "") : all);

    function show(place, reply) {
        for (const element of place.querySelectorAll("[data-fill]")) element.textContent = filled(element.dataset.fill, reply);
        for (const element of place.querySelectorAll("[data-fill-copy]")) element.dataset.copy = filled(element.dataset.fillCopy, reply);
        place.hidden = false;
        place.scrollIntoView({ block: "nearest" });
        place.focus({ preventScroll: true });
    }

    function forget(place) {
        place.hidden = true;
        for (const element of place.querySelectorAll("[data-fill]")) element.textContent = "";
        for (const element of place.querySelectorAll("[data-fill-copy]")) element.dataset.copy = "";
    }

    function choose() {
        const chosen = new Set([...document.querySelectorAll("[data-local]:checked")].map(field => field.value));
        for (const variant of document.querySelectorAll("[data-variant]")) {
            variant.hidden = !variant.dataset.variant.split(" ").every(word => chosen.has(word));
        }
    }

    async function submit(form) {
        const only = form.dataset.form === "changes";
        const body = only ? changes(form) : everything(form);
        if (only && Object.keys(body).length === 0) {
            blobforge.toast("Nothing was changed.");
            return;
        }
        const button = form.querySelector("button.main");
        button.disabled = true;
        try {
            const reply = await blobforge.send(form.dataset.send, form.dataset.to, body);
            const place = document.getElementById(form.dataset.shows ?? "");
            if (place) show(place, reply);
            blobforge.toast(filled(form.dataset.done ?? "Done", reply));
            // From here on this is how things are.
            if (only) for (const field of fields(form)) field.defaultValue = field.value;
            else form.reset();
            choose();
            blobforge.changed();
        } catch (error) {
            blobforge.toast(error.message, { bad: true });
        } finally {
            button.disabled = false;
        }
    }

    document.addEventListener("submit", event => {
        if (!event.target.matches("form[data-form]")) return;
        event.preventDefault();
        submit(event.target);
    });
    document.addEventListener("change", event => { if (event.target.matches("[data-local]")) choose(); });
    document.addEventListener("click", event => {
        const button = event.target.closest("[data-forget]");
        if (button) forget(document.getElementById(button.dataset.forget));
    });
    document.addEventListener("DOMContentLoaded", choose);
})();
