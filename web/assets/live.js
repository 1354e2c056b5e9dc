"use strict";
// Live updates. Every page is whole without this file; with it, pages follow what happens.
(() => {
  const AGO_EVERY = 30000;
  const SETTLE = 400;
  const MAX_LINES = 20000;
  let sources = [];
  let timer = 0;
  let busy = false;

  const follow = (url, handlers) => {
    const source = new EventSource(url);
    for (const [name, handler] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handler(event, source));
    }
    sources.push(source);
  };

  // The same rules as in src/pages/log.rs.
  const APP_LINE = /^(\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)\.\d{3}Z) (\S+) (out|err) ?(.*)$/;
  const shown = (line) => {
    const span = document.createElement("span");
    const app = APP_LINE.exec(line);
    if (app) {
      const head = document.createElement("span");
      head.className = "t";
      head.title = app[1];
      head.textContent = app[2] + " " + app[3];
      span.className = "l " + (app[4] === "err" ? "err" : "plain");
      span.append(head, " " + app[5] + "\n");
      return span;
    }
    let kind = "plain";
    if (line.startsWith("=====>")) kind = "done";
    else if (line.startsWith("----->")) kind = "step";
    else if (line.startsWith(" !") || line.startsWith("!!")) kind = "fail";
    span.className = "l " + kind;
    span.textContent = line + "\n";
    return span;
  };

  const isAtEnd = (pre) => pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;

  const append = (term, text) => {
    const pre = term.querySelector("pre");
    const atEnd = isAtEnd(pre);
    const lines = document.createDocumentFragment();
    for (const line of text.split("\n")) lines.append(shown(line));
    pre.append(lines);
    while (pre.childElementCount > MAX_LINES) pre.firstElementChild.remove();
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  };

  const followLog = (term) => {
    const url = "/-/stream/" + encodeURIComponent(term.dataset.stream);
    follow(url + "?from=" + term.dataset.from, {
      message: (event) => {
        append(term, event.data);
        term.dataset.from = event.lastEventId;
      },
      end: (event, source) => {
        source.close();
        delete term.dataset.stream;
        soon();
      },
    });
  };

  const followNames = (main) => {
    const encoded = main.dataset.watch.split(" ").filter(Boolean);
    const prefixes = encoded.map(decodeURIComponent);
    const below = (path) =>
      prefixes.some(
        (p) => p === "/" || path === p || path.startsWith(p + "/") || p.startsWith(path + "/"),
      );
    const path = encoded.length === 1 ? encoded[0] : "/";
    follow(path + "?watch&since=" + main.dataset.seq, {
      change: (event) => {
        if (below(JSON.parse(event.data).path)) soon();
      },
      compacted: (event, source) => {
        source.close();
        soon();
      },
    });
  };

  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, SETTLE);
  };

  // Fetches the page anew and puts its content in place; a live log keeps its lines, and what a
  // person unfolded stays so.
  const refresh = async () => {
    // What a person is writing is not taken away.
    if (busy || document.querySelector("textarea:focus, details[open] .edit")) return soon();
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.getElementById("main");
      const main = document.getElementById("main");
      // Elements forget how far they are scrolled when they leave the document.
      const logs = [...main.querySelectorAll(".term pre")].map((pre) => ({
        top: pre.scrollTop,
        end: isAtEnd(pre),
      }));
      for (const term of main.querySelectorAll("[data-stream]")) {
        const twin = next.querySelector(`[data-stream="${CSS.escape(term.dataset.stream)}"]`);
        if (twin) twin.replaceWith(term);
      }
      const open = [...main.querySelectorAll("details")].map((d) => d.open);
      [...next.querySelectorAll("details")].forEach((d, at) => {
        if (at in open) d.open = open[at];
      });
      const { x, y } = { x: scrollX, y: scrollY };
      main.replaceWith(next);
      document.title = page.title;
      [...next.querySelectorAll(".term pre")].forEach((pre, at) => {
        const end = logs[at] ? logs[at].end : "stream" in pre.parentElement.dataset;
        pre.scrollTop = end ? pre.scrollHeight : (logs[at]?.top ?? 0);
      });
      scrollTo(x, y);
    } catch {
      // The server is away: what is shown stays, the event source tries again.
    } finally {
      busy = false;
    }
    start();
  };

  const stop = () => {
    for (const source of sources) source.close();
    sources = [];
  };

  const start = () => {
    stop();
    if (document.hidden) return;
    const main = document.getElementById("main");
    if (main.dataset.watch) followNames(main);
    for (const term of main.querySelectorAll("[data-stream]")) followLog(term);
  };

  const ago = (then) => {
    const passed = Math.floor((Date.now() - then) / 1000);
    if (passed < 10) return "just now";
    if (passed < 60) return passed + " s ago";
    if (passed < 3600) return Math.floor(passed / 60) + " min ago";
    if (passed < 86400) return Math.floor(passed / 3600) + " h ago";
    if (passed < 172800) return "yesterday";
    return Math.floor(passed / 86400) + " days ago";
  };

  setInterval(() => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const then = Date.parse(time.dateTime);
      if (!Number.isNaN(then)) time.textContent = ago(then);
    }
  }, AGO_EVERY);

  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      document.getElementById("q").focus();
    }
  });

  // A tab that nobody sees holds no connection.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else soon();
  });
  addEventListener("pagehide", stop);

  for (const pre of document.querySelectorAll("[data-stream] pre")) {
    pre.scrollTop = pre.scrollHeight;
  }
  start();
})();
