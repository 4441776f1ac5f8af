/* Rows of the list of runs are chosen: one, all, or with the shift key all between two. Without this script each is
   chosen by its own box. Listens at the document, because live updates replace the list. */
(() => {
    "use strict";

    const boxes = () => Array.from(document.querySelectorAll("#result_list input.jobs-select"));
    let last = null;
    let isShifted = false;

    function show() {
        const all = boxes();
        const chosen = all.filter((box) => box.checked);
        for (const box of all) {
            box.closest("tr").classList.toggle("selected", box.checked);
        }
        const toggle = document.getElementById("jobs-select-all");
        if (toggle) {
            toggle.checked = all.length > 0 && chosen.length === all.length;
        }
        const counter = document.querySelector(".jobs-counter");
        if (counter) {
            const number = new Intl.NumberFormat(document.documentElement.lang || undefined);
            counter.textContent = counter.dataset.text
                .replace("{chosen}", number.format(chosen.length))
                .replace("{all}", number.format(all.length));
        }
    }

    document.addEventListener("click", (event) => {
        isShifted = event.shiftKey;
    }, true);

    document.addEventListener("change", (event) => {
        const box = event.target;
        if (box.id === "jobs-select-all") {
            boxes().forEach((each) => {
                each.checked = box.checked;
            });
        } else if (box.classList.contains("jobs-select")) {
            const all = boxes();
            const ends = [all.indexOf(last), all.indexOf(box)].sort((one, other) => one - other);
            if (isShifted && ends[0] >= 0) {
                all.slice(ends[0], ends[1] + 1).forEach((each) => {
                    each.checked = box.checked;
                });
            }
            last = box;
        } else {
            return;
        }
        show();
    }, true);

    // Browsers offer what begins like the whole text: have it be what begins like the last term.
    function offer() {
        const box = document.getElementById("searchbar");
        const list = document.getElementById("jobs-prefixes");
        if (!box || !list) {
            return;
        }
        const terms = Array.from(list.options, (option) => option.value);
        box.addEventListener("input", () => {
            const [, before, last] = box.value.match(/^(.*\s|)(\S*)$/s);
            const fitting = terms.filter((term) => term.startsWith(last.toLowerCase()) && term !== last);
            list.replaceChildren(...fitting.map((term) => new Option("", before + term)));
        });
    }

    document.addEventListener("DOMContentLoaded", offer);
    document.addEventListener("django-jobs:refreshed", show);
    document.addEventListener("DOMContentLoaded", show);
})();
