/* Charts are read step by step: with the pointer, or with arrow keys once a chart has the focus. Without this script
   the browser shows the same words after a while, and a table has the numbers. Listens at the document, because live
   updates replace charts. */
(() => {
    "use strict";

    const KEYS = new Set(["ArrowLeft", "ArrowRight", "Home", "End"]);
    let readout = null;
    // The chart that is read, and which of its steps; by index, since a live update draws the steps again.
    let plot = null;
    let index = -1;

    const stepsOf = (chart) => Array.from(chart.querySelectorAll(".jobs-column"));

    // The browser would show the same words again, above these.
    function wordsOf(step) {
        const title = step.querySelector("title");
        if (title) {
            step.dataset.words = title.textContent;
            title.remove();
        }
        return (step.dataset.words || "").split("\n").map((line) => line.trim()).filter(Boolean);
    }

    function show() {
        const steps = plot && plot.isConnected ? stepsOf(plot) : [];
        const step = steps[index];
        document.querySelectorAll(".jobs-column-read").forEach((each) => each.classList.remove("jobs-column-read"));
        if (!step) {
            hide();
            return;
        }
        step.classList.add("jobs-column-read");
        if (!readout) {
            readout = document.createElement("div");
            readout.className = "jobs-readout";
            readout.setAttribute("role", "status");
            document.body.append(readout);
        }
        readout.replaceChildren(...lines(wordsOf(step)));
        readout.hidden = false;
        place(step.getBoundingClientRect(), plot.getBoundingClientRect());
    }

    function lines([when, ...values]) {
        const legend = plot.closest("[data-live-part], section, figure");
        const keys = legend ? Array.from(legend.querySelectorAll(".jobs-legend .jobs-key")) : [];
        const first = document.createElement("p");
        const strong = document.createElement("strong");
        strong.textContent = when || "";
        first.append(strong);
        const others = values.map((value, at) => {
            const line = document.createElement("p");
            if (keys[at]) {
                line.append(keys[at].cloneNode(), " ");
            }
            line.append(value);
            return line;
        });
        return [first, ...others];
    }

    // Beside the step, and within the window.
    function place(step, chart) {
        const box = readout.getBoundingClientRect();
        const isLeft = step.right + box.width + 8 > document.documentElement.clientWidth;
        const left = isLeft ? Math.max(4, step.left - box.width - 8) : step.right + 8;
        readout.style.left = `${left + window.scrollX}px`;
        readout.style.top = `${Math.max(4, chart.top) + window.scrollY}px`;
    }

    function hide() {
        plot = null;
        index = -1;
        document.querySelectorAll(".jobs-column-read").forEach((each) => each.classList.remove("jobs-column-read"));
        if (readout) {
            readout.hidden = true;
        }
    }

    function read(chart, at) {
        if (chart !== plot || at !== index) {
            [plot, index] = [chart, at];
            show();
        }
    }

    document.addEventListener("pointermove", (event) => {
        const step = event.target.closest && event.target.closest(".jobs-plot .jobs-column");
        if (step) {
            const chart = step.closest(".jobs-plot");
            read(chart, stepsOf(chart).indexOf(step));
        } else if (plot && document.activeElement !== plot) {
            hide();
        }
    });

    document.addEventListener("keydown", (event) => {
        const chart = event.target;
        if (!chart.matches || !chart.matches(".jobs-plot")) {
            return;
        }
        const steps = stepsOf(chart);
        const at = chart === plot ? index : -1;
        if (KEYS.has(event.key)) {
            event.preventDefault();
            const last = steps.length - 1;
            // Who comes to a chart wants to know of now.
            const next = { ArrowLeft: at < 0 ? last : at - 1, ArrowRight: at < 0 ? last : at + 1, Home: 0, End: last };
            read(chart, Math.min(last, Math.max(0, next[event.key])));
        } else if (event.key === "Enter" && steps[at]) {
            const link = steps[at].querySelector("a");
            if (link) {
                window.location.assign(link.getAttribute("href"));
            }
        } else if (event.key === "Escape") {
            hide();
        }
    });

    document.addEventListener("focusout", (event) => {
        if (event.target === plot) {
            hide();
        }
    });

    // A chart that can be read with keys can have the focus, and says so.
    function offer() {
        document.querySelectorAll(".jobs-plot[data-keys]").forEach((chart) => {
            chart.setAttribute("tabindex", "0");
            if (!chart.getAttribute("aria-label").includes(chart.dataset.keys)) {
                chart.setAttribute("aria-label", `${chart.getAttribute("aria-label")} ${chart.dataset.keys}`);
            }
        });
    }

    document.addEventListener("django-jobs:refreshed", () => {
        offer();
        if (plot) {
            show();
        }
    });
    document.addEventListener("DOMContentLoaded", offer);
})();
