// The alarms' pages: told of changes at once, worked by keys. Without it they are fetched now and then, and all buttons work.
"use strict";
(() => {
  const refresh = () => document.dispatchEvent(new Event("andon:refresh"));

  // A page that is not let in goes on being fetched as ever; one that nobody sees follows nothing.
  const events = document.body.dataset.events;
  let source = null;
  function follow() {
    if (document.hidden) { if (source) source.close(); source = null; return; }
    if (source || !window.EventSource) return;
    source = new EventSource(events);
    source.onmessage = refresh;
  }
  if (events) {
    document.addEventListener("visibilitychange", follow);
    // The page is fresh when it comes.
    setTimeout(follow, 4000);
  }

  // j and k walk, x ticks, c opens the form that acknowledges.
  function among(key) {
    const names = [...document.querySelectorAll("#board a.alarm-name")];
    const row = document.activeElement && document.activeElement.closest("#board tr");
    const at = row ? names.findIndex((name) => row.contains(name)) : -1;
    if (key === "j" || key === "k") {
      const next = names[Math.max(0, Math.min(names.length - 1, at + (key === "j" || at < 0 ? 1 : -1)))];
      if (next) next.focus();
    } else if (row && key === "x") {
      const box = row.querySelector("input[type=checkbox]");
      if (box) box.checked = !box.checked;
    } else if (row) {
      const details = row.querySelector("details.ack");
      if (details) { details.open = true; details.querySelector("input[name=by]").focus(); }
    }
  }
  document.addEventListener("keydown", (event) => {
    const isTyping = /^(INPUT|TEXTAREA|SELECT|BUTTON)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (event.ctrlKey || event.altKey || event.metaKey || isTyping || !/^[jkxc]$/.test(event.key)) return;
    event.preventDefault();
    among(event.key);
  });
})();
