/* Keeps pages up to date: parts of admin pages (`data-live-part`), and `<django-jobs-progress>` of any page.

   It listens to a socket where the page names one, and asks at intervals where none answers. It rests while
   nobody looks at the page. */
(() => {
    "use strict";

    const TAG = "django-jobs-progress";
    if (!window.customElements || customElements.get(TAG)) {
        // Loaded a second time, by a second tag of one page.
        return;
    }

    // Between two pings, and until a socket that says nothing is given up. Milliseconds, as all below.
    const PING = 30000;
    const SILENCE = 75000;
    const CONNECT = 5000;
    const ANSWER = 20000;
    const LONGEST_WAIT = 60000;
    // Between two refreshes of a page: at least, when much happens, and when nothing does.
    const REFRESH = 1000;
    const SECOND_REFRESH = 250;
    const BUSY_REFRESH = 5000;
    const IDLE_REFRESH = 30000;
    // How long a button that appears cannot be pressed: it may have come under the pointer.
    const APPEARING = 1000;
    const PAUSED = "django-jobs-live-paused";

    // Browsers that lost a server together do not come back together.
    const jitter = (wait) => wait * (0.75 + Math.random() / 2);

    /* One thing to be told of: by a socket, or by asking. */
    class Line {
        constructor(options) {
            Object.assign(this, { socketUrl: "", hello: null, shortest: 2000, longest: 3000 }, options);
            this.isStarted = false;
            this.socketFailures = 0;
            this.look = () => (document.hidden ? this.rest() : this.go());
        }

        start() {
            if (this.isStarted) {
                return;
            }
            this.isStarted = true;
            document.addEventListener("visibilitychange", this.look);
            window.addEventListener("online", this.look);
            this.look();
        }

        stop() {
            this.isStarted = false;
            document.removeEventListener("visibilitychange", this.look);
            window.removeEventListener("online", this.look);
            this.rest();
        }

        rest() {
            clearTimeout(this.askTimer);
            clearTimeout(this.connectTimer);
            clearInterval(this.pingTimer);
            const { socket, request } = this;
            this.socket = this.request = null;
            socket?.close();
            request?.abort();
        }

        go() {
            this.rest();
            this.failures = 0;
            this.wait = this.shortest;
            if (this.socketUrl) {
                this.connect();
            } else {
                this.ask();
            }
        }

        connect() {
            const url = new URL(this.socketUrl, window.location.href);
            url.protocol = url.protocol.replace("http", "ws");
            const socket = new WebSocket(url);
            this.socket = socket;
            // Its close counts as a failure, below.
            const giveUp = setTimeout(() => socket.close(), CONNECT);
            let heardAt = Date.now();
            socket.onopen = () => {
                clearTimeout(giveUp);
                if (this.hello) {
                    socket.send(JSON.stringify(this.hello));
                }
                this.pingTimer = setInterval(() => {
                    if (Date.now() - heardAt > SILENCE) {
                        socket.close();
                    } else {
                        socket.send('{"ping": true}');
                    }
                }, PING);
            };
            socket.onmessage = (event) => {
                if (this.socket !== socket) {
                    return;
                }
                heardAt = Date.now();
                const message = JSON.parse(event.data);
                if (!message.pong) {
                    this.socketFailures = 0;
                    clearTimeout(this.askTimer);
                    this.request?.abort();
                    this.request = null;
                    this.onState("live");
                    this.onMessage(message);
                }
            };
            socket.onclose = () => {
                clearTimeout(giveUp);
                if (this.socket !== socket) {
                    return;
                }
                this.socket = null;
                clearInterval(this.pingTimer);
                this.socketFailures += 1;
                const wait = Math.min(LONGEST_WAIT, 1000 * 2 ** this.socketFailures);
                this.connectTimer = setTimeout(() => this.connect(), jitter(wait));
                // Which also finds out whether the page may still ask.
                this.ask();
            };
        }

        async ask() {
            clearTimeout(this.askTimer);
            const request = new AbortController();
            this.request = request;
            const late = setTimeout(() => request.abort(), ANSWER);
            let verdict;
            try {
                verdict = await this.poll(request.signal);
            } catch {
                verdict = { failed: true };
            }
            clearTimeout(late);
            if (this.request !== request) {
                return;
            }
            this.settle(verdict);
        }

        /* Act on how a request went: `{stop: state}`, `{failed: true}` or `{changed: boolean}`. */
        settle(verdict) {
            if (verdict.stop) {
                this.stop();
                this.onState(verdict.stop);
                return;
            }
            if (verdict.failed) {
                this.failures += 1;
                this.wait = Math.min(LONGEST_WAIT, this.longest * 2 ** (this.failures - 1));
                this.onState("offline");
            } else {
                this.failures = 0;
                this.wait = verdict.changed ? this.shortest : Math.min(this.longest, this.wait * 1.25);
                this.onState("polling");
            }
            clearTimeout(this.askTimer);
            this.askTimer = setTimeout(() => this.ask(), jitter(this.wait));
        }
    }

    /* Return why a page must not ask any more, or an empty string. */
    function reasonToStop(response) {
        if (response.type === "opaqueredirect" || response.status === 401 || response.status === 403) {
            return "forbidden";
        }
        return response.status === 404 || response.status === 410 ? "gone" : "";
    }

    const get = (url, more) =>
        fetch(url, { cache: "no-store", credentials: "same-origin", redirect: "manual", ...more });

    /* Make one node like another of the same name, touching no more than differs: focus, scrolling, what was
       opened or typed stay. */
    function morph(old, fresh) {
        if (old.nodeType !== Node.ELEMENT_NODE) {
            if (old.data !== fresh.data) {
                old.data = fresh.data;
            }
            return;
        }
        if (old.hasAttribute("data-live-keep")) {
            return;
        }
        for (const { name, value } of Array.from(fresh.attributes)) {
            if (old.getAttribute(name) !== value && !isThePersons(old, name)) {
                old.setAttribute(name, value);
            }
        }
        for (const { name } of Array.from(old.attributes)) {
            if (!fresh.hasAttribute(name) && !isThePersons(old, name)) {
                old.removeAttribute(name);
            }
        }
        morphChildren(old, fresh);
    }

    const isThePersons = (element, name) =>
        (name === "open" && /^(DETAILS|DIALOG)$/.test(element.nodeName)) ||
        name === "checked" ||
        // A chart that is read with keys would lose the focus.
        (name === "tabindex" && element.hasAttribute("data-keys"));

    /* What a node is told by among its siblings; rows of lists by what they are chosen with, or link to. */
    function keyOf(node) {
        if (node.nodeType !== Node.ELEMENT_NODE) {
            return "";
        }
        let key = node.id || node.dataset.liveKey || "";
        if (!key && node.nodeName === "TR") {
            key =
                node.querySelector("input.action-select")?.value ||
                node.querySelector("th a[href], td a[href]")?.getAttribute("href") ||
                "";
        }
        return key && `${node.nodeName} ${key}`;
    }

    /* Keep a person from pressing what was something else a moment ago. */
    function hold(node) {
        if (node.nodeType !== Node.ELEMENT_NODE) {
            return;
        }
        const isHeld = { opacity: 0.4, pointerEvents: "none" };
        for (const button of node.matches("button") ? [node] : node.querySelectorAll("button")) {
            // No attribute or class: the next refresh would take it away.
            button.animate([isHeld, isHeld], APPEARING);
        }
    }

    function morphChildren(old, fresh) {
        const wanted = Array.from(fresh.childNodes);
        const wantedKeys = new Set(wanted.map(keyOf));
        const keyed = new Map();
        const keys = new Map();
        for (const child of Array.from(old.childNodes)) {
            const key = keyOf(child);
            keys.set(child, key);
            if (key && !wantedKeys.has(key)) {
                child.remove();
            } else if (key) {
                keyed.set(key, child);
            }
        }
        let cursor = old.firstChild;
        for (const next of wanted) {
            const key = keyOf(next);
            let same = keyed.get(key);
            if (key) {
                keyed.delete(key);
            } else {
                same = cursor;
                while (same && (keys.get(same) || same.nodeName !== next.nodeName)) {
                    same = same.nextSibling;
                }
            }
            if (!same) {
                hold(old.insertBefore(document.importNode(next, true), cursor));
                continue;
            }
            if (same === cursor) {
                cursor = cursor.nextSibling;
            } else {
                old.insertBefore(same, cursor);
            }
            morph(same, next);
        }
        while (cursor) {
            const gone = cursor;
            cursor = cursor.nextSibling;
            gone.remove();
        }
    }

    /* The boxes of a list's rows, as there are at present. */
    const rowBoxes = () => Array.from(document.querySelectorAll("#result_list :is(.action-select, .jobs-select)"));
    const isAnyChosen = () => rowBoxes().some((box) => box.checked);

    /* Stock admin's script knows only the boxes that there were when the page was loaded: have it ask. */
    const { Actions } = window;
    let hasActions = false;
    if (Actions) {
        const boxes = {
            forEach: (act) => rowBoxes().forEach(act),
            get length() {
                return rowBoxes().length;
            },
            [Symbol.iterator]: () => rowBoxes()[Symbol.iterator](),
        };
        window.Actions = (_found, options) => {
            hasActions = true;
            Actions(boxes, options);
        };
    }

    /* After a refresh, for which nothing is chosen. */
    function countRows() {
        const counter = document.querySelector("span.action-counter");
        if (!Actions || !counter || !document.getElementById("action-toggle")) {
            return;
        }
        if (!hasActions) {
            // The list was empty.
            window.Actions();
        }
        const count = rowBoxes().length;
        const words = "%(sel)s of %(cnt)s selected";
        counter.dataset.actionsIcnt = count;
        counter.textContent = interpolate(ngettext(words, words, 0), { sel: 0, cnt: count }, true);
    }

    function newsOf(parts) {
        return Array.from(parts, (part) => part.dataset.liveNews || "").filter(Boolean).join(" ");
    }

    /* An admin page, told of changes, that fetches its parts again. */
    class Page {
        constructor(box) {
            this.box = box;
            this.text = box.querySelector(".django-jobs-live-text");
            this.news = box.querySelector(".django-jobs-live-news");
            this.lastNews = newsOf(document.querySelectorAll("[data-live-part]"));
            this.toggle = box.querySelector(".django-jobs-live-toggle");
            this.known = {};
            this.gap = REFRESH;
            this.nextAt = 0;
            this.line = new Line({
                socketUrl: box.dataset.liveSocket || "",
                hello: { watch: [box.dataset.liveWatch] },
                poll: (signal) => this.poll(signal),
                onMessage: (message) => this.compare(message.states),
                onState: (state) => this.show(state),
            });
            this.toggle.addEventListener("click", () => this.pause(!this.isPaused));
            // Rows are chosen by a box, and all of them or none by boxes and links.
            for (const name of ["change", "click", "visibilitychange"]) {
                document.addEventListener(name, () => this.follow());
            }
            box.hidden = false;
            const panel = box.closest("[data-jobs-panel]");
            panel?.addEventListener("click", (event) => {
                const button = event.target.closest("button[formaction]");
                if (button) {
                    event.preventDefault();
                    press(this, button, panel);
                }
            });
            setInterval(() => this.isLive() && this.refreshSoon(), jitter(IDLE_REFRESH));
            this.pause(recall() === "1");
        }

        isLive() {
            return this.line.isStarted && !document.hidden;
        }

        pause(isPaused) {
            this.isPaused = isPaused;
            remember(isPaused ? "1" : "0");
            this.toggle.textContent = isPaused ? this.box.dataset.textResume : this.box.dataset.textPause;
            clearTimeout(this.timer);
            this.timer = 0;
            if (isPaused) {
                this.line.stop();
                this.show("paused");
            } else {
                // What happened meanwhile is seen with the first answer.
                this.known = {};
                this.show("starting");
                this.line.start();
            }
        }

        /* Rest while rows are chosen, which might be gone with the next refresh, or nobody looks. */
        follow() {
            if (this.isWaiting && !isAnyChosen()) {
                this.isWaiting = false;
                this.refreshSoon();
            }
            this.show(this.state);
        }

        show(state) {
            this.state = state;
            if (/^(live|polling)$/.test(state) && isAnyChosen()) {
                state = "chosen";
            }
            if (this.box.dataset.state !== state || !this.text.textContent) {
                this.box.dataset.state = state;
                const name = `text${state[0].toUpperCase()}${state.slice(1)}`;
                this.text.textContent = this.box.dataset[name];
                this.toggle.hidden = state === "gone" || state === "forbidden";
            }
        }

        async poll(signal) {
            const url = new URL(this.box.dataset.liveUrl, window.location.href);
            url.searchParams.set("watch", this.box.dataset.liveWatch);
            const response = await get(url, { signal });
            const stop = reasonToStop(response);
            if (stop || !response.ok) {
                return stop ? { stop } : { failed: true };
            }
            return { changed: this.compare((await response.json()).states) };
        }

        compare(states) {
            const hasChanged = Object.keys(states).some((topic) => this.known[topic] !== states[topic]);
            Object.assign(this.known, states);
            if (hasChanged) {
                this.refreshSoon();
            }
            return hasChanged;
        }

        refreshSoon() {
            if (this.isRefreshing) {
                this.isDueAgain = true;
            } else if (!this.timer) {
                this.timer = setTimeout(() => this.refresh(), Math.max(0, this.nextAt - Date.now()));
            }
        }

        async refresh() {
            this.timer = 0;
            if (this.mustWait()) {
                return;
            }
            this.isRefreshing = true;
            const beganAt = Date.now();
            // Soon after the last one: the more happens, the seldomer each page is fetched.
            const isBusy = beganAt - this.nextAt < REFRESH;
            // Two may follow each other immediately: the first may have come just before what matters.
            this.gap = isBusy ? Math.min(BUSY_REFRESH, Math.max(REFRESH, this.gap * 1.2)) : SECOND_REFRESH;
            try {
                await this.fetchParts();
            } catch {
                this.isDueAgain = true;
                this.gap = Math.min(LONGEST_WAIT, Math.max(BUSY_REFRESH, this.gap * 2));
            }
            this.isRefreshing = false;
            const took = Date.now() - beganAt;
            // A server that is slow is asked less.
            this.nextAt = beganAt + Math.max(this.gap, isBusy ? took * 4 : took);
            if (this.isDueAgain) {
                this.isDueAgain = false;
                this.refreshSoon();
            }
        }

        mustWait() {
            this.isWaiting = !this.isLive() || isAnyChosen();
            return this.isWaiting;
        }

        /* Fetch the page once, and make each of its parts like the one that came. */
        async fetchParts() {
            const parts = Array.from(document.querySelectorAll("[data-live-part]"));
            const url = new URL(this.box.dataset.liveSource || "", window.location.href);
            url.hash = "";
            const response = await get(url, { signal: AbortSignal.timeout(ANSWER) });
            const stop = reasonToStop(response);
            if (stop) {
                this.line.settle({ stop });
                return;
            }
            if (!response.ok) {
                throw new Error(`${response.status} from ${url}`);
            }
            const text = await response.text();
            if (!this.mustWait()) {
                this.replace(parts, text);
            }
        }

        replace(parts, text) {
            const fresh = new DOMParser().parseFromString(text, "text/html");
            const focused = document.activeElement;
            for (const part of parts) {
                const name = CSS.escape(part.dataset.livePart);
                const found = fresh.querySelector(`[data-live-part="${name}"]`);
                if (found) {
                    morph(part, found);
                }
            }
            if (focused !== document.activeElement && focused?.isConnected) {
                focused.focus({ preventScroll: true });
            }
            countRows();
            this.announce(parts);
            document.dispatchEvent(new CustomEvent("django-jobs:refreshed"));
        }

        announce(parts) {
            const news = newsOf(parts);
            if (news && news !== this.lastNews) {
                this.news.textContent = news;
            }
            this.lastNews = news;
        }
    }

    /* Press a button of an object's panel without leaving the page, whose form may have been filled in. */
    async function press(page, button, panel) {
        const token = button.form?.querySelector("input[name=csrfmiddlewaretoken]")?.value || "";
        const body = new URLSearchParams({ csrfmiddlewaretoken: token, live: "1", [button.name]: button.value });
        button.disabled = true;
        try {
            const url = panel.dataset.jobsPanel;
            const response = await get(url, { method: "POST", body, signal: AbortSignal.timeout(ANSWER) });
            if (!response.ok) {
                throw new Error(`${response.status} from ${url}`);
            }
            page.replace(Array.from(panel.querySelectorAll("[data-live-part]")), await response.text());
        } catch {
            page.show(navigator.onLine ? "forbidden" : "offline");
        }
        button.disabled = false;
    }

    function recall() {
        try {
            return sessionStorage.getItem(PAUSED);
        } catch {
            return null; // Browsers can be told to keep nothing.
        }
    }

    function remember(value) {
        try {
            sessionStorage.setItem(PAUSED, value);
        } catch {
            // As above.
        }
    }

    /* `<django-jobs-progress>`: one job, as the template tag renders it. Its events bubble; their `detail` is
       the state as the address gives it. */
    class JobProgress extends HTMLElement {
        connectedCallback() {
            if ("over" in this.dataset) {
                return;
            }
            this.wasFinished = "finished" in this.dataset;
            this.tag = "";
            this.line = new Line({
                socketUrl: this.dataset.socket || "",
                shortest: 1000,
                longest: 3000,
                poll: (signal) => this.poll(signal),
                onMessage: (state) => this.show(state),
                onState: (state) => this.note(state),
            });
            this.line.start();
        }

        disconnectedCallback() {
            this.line?.stop();
        }

        async poll(signal) {
            const headers = this.tag ? { "If-None-Match": this.tag } : {};
            const response = await get(this.dataset.url, { signal, headers });
            if (response.status === 304) {
                return { changed: false };
            }
            const stop = reasonToStop(response);
            if (stop || !response.ok) {
                return stop ? { stop } : { failed: true };
            }
            this.tag = response.headers.get("ETag") || "";
            this.show(await response.json());
            return { changed: true };
        }

        /* Say what the connection does, where a person should know. */
        note(state) {
            const word = { offline: this.dataset.wordOffline, forbidden: this.dataset.wordGone }[state] || "";
            this.dataset.connection = state;
            this.put(".django-jobs-left", state === "gone" ? this.dataset.wordGone : word);
        }

        show(state) {
            this.state = state;
            this.dataset.status = state.status;
            this.put(".django-jobs-status", this.getAttribute(`data-word-${state.status}`) || state.status);
            this.put(".django-jobs-message", state.message);
            const number = new Intl.NumberFormat(document.documentElement.lang || undefined);
            const counts = [state.done, state.total].filter((n) => typeof n === "number");
            this.put(".django-jobs-count", counts.map((n) => number.format(n)).join(" / "));
            const bar = this.querySelector(".django-jobs-bar");
            if (bar) {
                if (state.percent === null) {
                    bar.removeAttribute("value");
                } else {
                    bar.value = state.percent;
                }
                const isUnknown = state.percent === null && state.status !== "running";
                bar.hidden = state.finished ? !state.succeeded : isUnknown;
            }
            const left = state.eta_seconds === null ? "" : this.dataset.wordLeft || "";
            this.put(".django-jobs-left", left.replace("%s", duration(state.eta_seconds)));
            this.dispatchEvent(new CustomEvent("django-jobs:progress", { bubbles: true, detail: state }));
            if (state.over) {
                this.line.stop();
            }
            const isNews = state.finished && !this.wasFinished;
            this.wasFinished = state.finished;
            this.toggleAttribute("data-finished", state.finished);
            if (isNews) {
                this.dispatchEvent(new CustomEvent("django-jobs:finished", { bubbles: true, detail: state }));
            }
        }

        put(selector, text) {
            const element = this.querySelector(selector);
            if (element && element.textContent !== text) {
                element.textContent = text;
            }
        }
    }

    /* Say how long something takes, in the page's language: 12 s, 3 min, 2 h. */
    function duration(seconds) {
        const [value, unit] =
            seconds < 90 ? [seconds, "second"] : seconds < 5400 ? [seconds / 60, "minute"] : [seconds / 3600, "hour"];
        const style = { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 0 };
        return new Intl.NumberFormat(document.documentElement.lang || undefined, style).format(Math.ceil(value));
    }

    customElements.define(TAG, JobProgress);

    const begin = () => document.querySelectorAll(".django-jobs-live").forEach((box) => new Page(box));
    if (document.readyState === "loading") {
        document.addEventListener("DOMContentLoaded", begin);
    } else {
        begin();
    }
})();
