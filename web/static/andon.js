// What a page cannot do from the server: stay fresh, count ages, follow a log, show values under the pointer.
// Everything works without it. No text from outside ever becomes markup here.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const refreshMs = Number(document.body.dataset.refresh) * 1000;
  const stamp = $("stamp");
  let paused = false;
  let freshAt = Date.now();

  // Fetches the page again and swaps the parts marked data-live, but none that somebody is using.
  // XMLHttpRequest, because it parses HTML without passing text through a sink of trusted types.
  function refresh() {
    const request = new XMLHttpRequest();
    request.responseType = "document";
    request.timeout = 15000;
    request.onload = () => {
      if (request.status !== 200 || !request.response) return;
      freshAt = Date.now();
      for (const part of document.querySelectorAll("[data-live]")) {
        const fresh = part.id && request.response.getElementById(part.id);
        if (!fresh || part.contains(document.activeElement) || part.matches(":hover") && part.querySelector(".cross")) continue;
        if (part.querySelector("details[open], input:checked")) continue;
        part.replaceWith(document.adoptNode(fresh));
      }
      document.title = request.response.title;
    };
    request.open("GET", location.href);
    request.send();
  }

  function tick() {
    const ageMs = Date.now() - freshAt;
    const isDead = refreshMs > 0 && !paused && ageMs > refreshMs * 2.5 + 2000;
    stamp.classList.toggle("dead", isDead);
    stamp.classList.toggle("live", refreshMs > 0 && !paused && !isDead);
    stamp.title = isDead ? "The box has not answered for " + Math.round(ageMs / 1000) + " s" : paused ? "Paused" : "";
    const word = isDead ? "NOT LIVE · " : paused ? "PAUSED · " : "";
    if ((stamp.dataset.word || "") !== word) stamp.dataset.word = word;
  }

  if (refreshMs > 0) {
    setInterval(() => { if (!paused && !document.hidden) refresh(); }, refreshMs);
    document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) refresh(); });
  }
  document.addEventListener("andon:refresh", () => { if (!paused) refresh(); });
  setInterval(tick, 1000);
  tick();

  // Values under the pointer: read back from the lines' own coordinates.
  function points(path, chart) {
    if (path.points) return path.points;
    const found = [];
    let x = 0, y = 0;
    for (const [, kind, a, b] of path.getAttribute("d").matchAll(/([MlhHL])(-?[\d.]+)(?:[ ]?(-?[\d.]+))?/g)) {
      if (kind === "M") { x = +a; y = +b; } else if (kind === "l") { x += +a; y += +b; } else continue;
      found.push([x, y]);
    }
    return path.points = found;
  }
  function show(value, span) {
    const digits = Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(span || 1))));
    return value.toLocaleString("en", { maximumFractionDigits: digits, useGrouping: false });
  }
  function line(tag, text, className) {
    const element = document.createElement(tag);
    element.textContent = text;
    if (className) element.className = className;
    return element;
  }
  document.addEventListener("pointermove", (event) => {
    const chart = event.target.closest && event.target.closest("svg.chart");
    for (const old of document.querySelectorAll(".cross, .tip")) old.remove();
    if (!chart) return;
    const box = chart.getBoundingClientRect();
    const share = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    const { start, end, low, high } = chart.dataset;
    const tip = line("div", "", "tip");
    const at = new Date(+start + share * (end - start));
    tip.append(line("b", at.toLocaleTimeString("en-GB")));
    for (const path of chart.querySelectorAll(".line")) {
      let near = null;
      for (const point of points(path, chart)) {
        if (!near || Math.abs(point[0] - share * 1000) < Math.abs(near[0] - share * 1000)) near = point;
      }
      if (!near || Math.abs(near[0] - share * 1000) > 25) continue;
      const row = line("div", "", path.getAttribute("class").replace("line ", ""));
      const value = +low + (1 - near[1] / 1000) * (high - low);
      row.append(line("i", ""), line("span", "≈ " + show(value, high - low) + "  " + path.dataset.name));
      tip.append(row);
    }
    const cross = line("div", "", "cross");
    const plot = chart.parentElement;
    plot.append(cross, tip);
    const x = share * box.width;
    cross.style.left = x + "px";
    tip.style.left = (x > box.width / 2 ? x - tip.offsetWidth - 8 : x + 8) + "px";
  });

  // Drag across a chart: the stretch becomes the window.
  let from = null;
  const shareOf = (chart, event) => (event.clientX - chart.getBoundingClientRect().left) / chart.clientWidth;
  document.addEventListener("pointerdown", (event) => {
    const chart = event.pointerType === "mouse" && event.target.closest && event.target.closest("svg.chart");
    from = chart ? { chart, share: shareOf(chart, event) } : null;
  });
  document.addEventListener("pointerup", (event) => {
    if (!from) return;
    const { chart, share } = from;
    from = null;
    const other = shareOf(chart, event);
    if (Math.abs(other - share) < 0.02) return;
    const span = chart.dataset.end - chart.dataset.start;
    const seconds = Math.max(60, Math.round(Math.abs(other - share) * span / 1000));
    const url = new URL(location.href);
    url.searchParams.set("range", seconds + "s");
    url.searchParams.set("end", Math.round((+chart.dataset.start + Math.max(share, other) * span) / 1000));
    location.href = url;
  });

  // Follow a log: new lines on top, the oldest out at 500.
  const follow = $("follow");
  if (follow && window.EventSource) {
    let source = null;
    follow.hidden = false;
    follow.addEventListener("click", () => {
      if (source) { source.close(); source = null; follow.textContent = "Follow"; return; }
      source = new EventSource(follow.dataset.tail);
      follow.textContent = "Following · stop";
      source.onmessage = (event) => addLine(JSON.parse(event.data));
      source.addEventListener("missed", (event) => $("log").prepend(line("li", event.data + " lines came too fast to show", "warning")));
      source.onerror = () => { follow.textContent = "Lost, trying again · stop"; };
      source.onopen = () => { follow.textContent = "Following · stop"; };
    });
  }
  function addLine(entry) {
    const labels = entry.labels;
    const item = line("li", "", levelOf(labels, entry.line));
    const when = new Date(Number(entry.timestamp_ns.slice(0, -6)));
    const from = labels.device_id || labels.unit || labels.service || labels.app || labels.job || "";
    item.append(line("time", when.toLocaleTimeString("en-GB")), line("span", from, "from"), line("p", said(entry.line)));
    const list = $("log");
    list.prepend(item);
    while (list.children.length > 500) list.lastElementChild.remove();
  }
  function said(text) {
    if (text[0] !== "{") return text;
    try { const object = JSON.parse(text); return object.message || object.msg || object.reason || text; } catch { return text; }
  }
  function levelOf(labels, text) {
    const word = (labels.level || labels.severity || (/\b(error|crit|fatal|warn|info)/i.exec(text.slice(0, 160)) || [""])[0]).toLowerCase();
    return /^(err|crit|fatal|emerg|alert|panic)/.test(word) ? "error" : /^warn/.test(word) ? "warning" : /^(info|notice)/.test(word) ? "info" : "other";
  }

  // Enter asks, Shift+Enter is a new line.
  for (const question of document.querySelectorAll(".ask textarea")) {
    question.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); question.form.requestSubmit(); }
    });
  }

  // A name once given is offered again.
  document.addEventListener("submit", (event) => {
    const by = event.target.elements.by;
    if (by) try { localStorage.setItem("by", by.value); } catch { /* not allowed: then not */ }
  });
  document.addEventListener("toggle", (event) => {
    const by = event.target.querySelector && event.target.querySelector("input[name=by]");
    if (by && !by.value) try { by.value = localStorage.getItem("by") || ""; } catch { /* not allowed: then not */ }
  }, true);

  // Keys, as the page about the box lists them.
  const pages = { h: "/", d: "/devices", a: "/alarms", l: "/logs", q: "/explore", t: "/targets", r: "/rules", f: "/forwarding" };
  let afterG = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT|BUTTON)$/.test(event.target.tagName)) return;
    const go = (selector) => { const link = document.querySelector(selector); if (link) link.click(); };
    if (afterG && pages[event.key]) { location.href = pages[event.key]; return; }
    afterG = event.key === "g";
    if (event.key === "/") { event.preventDefault(); const box = $("q") || document.querySelector("input[type=search]"); if (box) box.focus(); else location.href = "/explore"; }
    else if (event.key === "[") go(".window a[aria-label=Earlier]");
    else if (event.key === "]") go(".window a[aria-label=Later]");
    else if (event.key === "0") go(".window a:last-child:not([aria-current])");
    else if (event.key === " " && event.target === document.body) { event.preventDefault(); paused = !paused; tick(); if (!paused) refresh(); }
  });
})();
