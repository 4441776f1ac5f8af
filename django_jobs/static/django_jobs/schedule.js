/* While a schedule is filled in, the page says in words and times what it comes to: the server is asked, as by
   "Preview". Without this script that button does. */
(() => {
    "use strict";

    const form = document.querySelector("form.jobs-form");
    const section = document.querySelector(".jobs-preview");
    if (!form || !section) {
        return;
    }
    let timer = null;
    let asked = 0;

    async function look() {
        const number = ++asked;
        const data = new FormData(form);
        data.append("_preview", "1");
        // Files and secrets have no part in it.
        for (const field of form.querySelectorAll("[type=password], [type=file]")) {
            data.delete(field.name);
        }
        try {
            const response = await fetch(location.href, {method: "POST", body: data, credentials: "same-origin"});
            if (!response.ok) {
                return;
            }
            const page = new DOMParser().parseFromString(await response.text(), "text/html");
            const found = page.querySelector(".jobs-preview");
            // An answer to what was typed before is late.
            if (found && number === asked) {
                section.replaceChildren(...found.childNodes);
            }
        } catch {
            // No connection: the button says so.
        }
    }

    form.addEventListener("input", (event) => {
        if (event.target.name && !event.target.name.startsWith("argument-")) {
            clearTimeout(timer);
            timer = setTimeout(look, 400);
        }
    });
})();
