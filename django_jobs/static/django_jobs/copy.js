/* Buttons that copy a text: their own, or that of the element whose id they name. Without this script they stay
   hidden, and texts can be selected. Listens at the document, because live updates replace parts of it. */
(() => {
    "use strict";

    function show() {
        document.querySelectorAll("[data-jobs-copy], [data-jobs-copy-from]").forEach((button) => {
            button.hidden = false;
        });
    }

    async function copy(text) {
        if (navigator.clipboard && window.isSecureContext) {
            await navigator.clipboard.writeText(text);
            return;
        }
        // Pages without TLS have no clipboard, but what is selected can be copied.
        const area = document.createElement("textarea");
        area.value = text;
        document.body.append(area);
        area.select();
        const isDone = document.execCommand("copy");
        area.remove();
        if (!isDone) {
            throw new Error("the browser copies nothing here");
        }
    }

    document.addEventListener("click", async (event) => {
        const button = event.target.closest("[data-jobs-copy], [data-jobs-copy-from]");
        if (!button) {
            return;
        }
        const from = document.getElementById(button.dataset.jobsCopyFrom || "");
        try {
            await copy(from ? from.textContent : button.dataset.jobsCopy);
        } catch {
            return;
        }
        const words = button.textContent;
        button.textContent = button.dataset.jobsCopied;
        setTimeout(() => {
            button.textContent = words;
        }, 1500);
    });
    document.addEventListener("django-jobs:refreshed", show);
    document.addEventListener("DOMContentLoaded", show);
})();
