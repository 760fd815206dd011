// Completion in a field for an expression. The box says what may stand at the cursor; this shows it and puts it in.
// Without it the field is a field like any other.
"use strict";
(() => {
  for (const field of document.querySelectorAll("textarea[data-complete]")) offerIn(field);

  function offerIn(field) {
    const list = element("ul", "", "offers");
    const said = element("p", "", "spoken");
    list.id = field.id + "-offers";
    list.hidden = true;
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "What may stand here");
    said.setAttribute("role", "status");
    field.after(list, said);
    const states = { role: "combobox", "aria-autocomplete": "list", "aria-haspopup": "listbox", "aria-expanded": "false", "aria-controls": list.id };
    for (const name in states) field.setAttribute(name, states[name]);

    let answer = null; // What the box offered, while the list is open.
    let chosen = -1;
    let turn = 0; // Answers to older questions are not looked at.
    let timer = 0;

    function close() {
      turn++;
      clearTimeout(timer);
      answer = null;
      list.hidden = true;
      said.textContent = "";
      field.setAttribute("aria-expanded", "false");
      field.removeAttribute("aria-activedescendant");
    }

    async function ask(all) {
      const mine = ++turn;
      const url = new URL(field.dataset.complete, location.href);
      url.searchParams.set("q", field.value);
      url.searchParams.set("at", field.selectionStart);
      if (all) url.searchParams.set("all", "1");
      try {
        const response = await fetch(url);
        const found = await response.json();
        if (mine === turn) show(found);
      } catch {
        if (mine === turn) close();
      }
    }

    function show(found) {
      const written = field.value.slice(found.from, found.to);
      const isDone = found.offers.length === 1 && found.offers[0].insert === written;
      if (!found.offers.length || isDone) { close(); return; }
      answer = found;
      chosen = -1;
      field.removeAttribute("aria-activedescendant");
      list.replaceChildren(...found.offers.map((offer, i) => {
        const item = element("li", "", "");
        item.id = list.id + i;
        item.setAttribute("role", "option");
        item.append(element("b", offer.name, ""), element("i", offer.kind, ""), element("span", offer.help, ""));
        return item;
      }));
      const before = field.value.slice(0, found.from);
      list.style.setProperty("--at", before.length - before.lastIndexOf("\n") - 1);
      list.hidden = false;
      list.scrollTop = 0;
      field.setAttribute("aria-expanded", "true");
      said.textContent = found.offers.length + " offered, arrow keys choose, Tab takes";
    }

    function choose(index) {
      const items = list.children;
      if (chosen >= 0) items[chosen].removeAttribute("aria-selected");
      chosen = (index + items.length) % items.length;
      items[chosen].setAttribute("aria-selected", "true");
      items[chosen].scrollIntoView({ block: "nearest" });
      field.setAttribute("aria-activedescendant", items[chosen].id);
    }

    function take(index) {
      const { from, to, offers } = answer;
      close();
      field.focus();
      field.setSelectionRange(from, to);
      // Unlike setRangeText this can be undone with the keyboard; it fires "input", which asks for what follows.
      if (!document.execCommand("insertText", false, offers[index].insert)) field.setRangeText(offers[index].insert, from, to, "end");
    }

    field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 80, false); });
    field.addEventListener("blur", close);
    field.addEventListener("click", close);
    // In the capture phase: before Enter asks the whole question.
    field.addEventListener("keydown", (event) => {
      const isOpen = answer !== null;
      if (event.key === " " && event.ctrlKey) ask(true);
      else if (isOpen && event.key === "ArrowDown") choose(chosen + 1);
      else if (isOpen && event.key === "ArrowUp") choose(chosen < 0 ? -1 : chosen - 1);
      else if (isOpen && event.key === "Escape") close();
      else if (isOpen && event.key === "Enter" && chosen >= 0) take(chosen);
      else if (isOpen && event.key === "Tab" && !event.shiftKey) take(Math.max(chosen, 0));
      else return;
      event.preventDefault();
      event.stopImmediatePropagation();
    }, true);
    list.addEventListener("pointerdown", (event) => {
      const item = event.target.closest("li");
      event.preventDefault();
      if (item) take([...list.children].indexOf(item));
    });
  }

  function element(tag, text, className) {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  }
})();
