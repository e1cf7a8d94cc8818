"use strict";
/* Sorting, filtering, selecting and downloading. Everything is readable without it. */
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const make = (tag, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };
  const told = byId("told");
  const tell = (text) => { told.textContent = text; };

  /* Theme */
  const stored = {
    get() { try { return localStorage.getItem("bias-audit-theme") || ""; } catch { return ""; } },
    set(value) { try { localStorage.setItem("bias-audit-theme", value); } catch { /* not kept */ } },
  };
  const theme = byId("pick-theme");
  const setTheme = (value) => {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
  };
  theme.value = stored.get();
  setTheme(theme.value);
  theme.addEventListener("change", () => { setTheme(theme.value); stored.set(theme.value); });

  /* CSV: no text is a formula to a spreadsheet. */
  const field = (text) => {
    const safe = /^[=+\-@\t\r\n]/.test(text) && !/^[+-]?[\d.]+$/.test(text) ? "'" + text : text;
    return /[",\r\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
  };
  const csv = (rows) => rows.map((row) => row.map(field).join(",") + "\n").join("");
  const save = (name, content) => {
    const link = make("a", { href: URL.createObjectURL(new Blob([content], { type: "text/csv" })), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const INTERVAL = /^([+-]?[\d.]+)( %)? \[([+-]?[\d.]+), ([+-]?[\d.]+)\]/;
  const withBounds = (rows) => {
    const wide = rows[0].map((_, place) => rows.slice(1).some((row) => INTERVAL.test(row[place] || "")));
    return rows.map((row, index) => row.flatMap((cell, place) => {
      if (!wide[place]) return [cell];
      if (!index) return [cell, cell + ", lower", cell + ", upper"];
      const found = INTERVAL.exec(cell);
      return found ? [found[1], found[3], found[4]] : [cell, "", ""];
    }));
  };
  const inflate = async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  };

  /* What is picked: a layer of a backbone, a level of an attribute. */
  const picked = { layer: null, group: null };
  const namesOf = (heading) => heading.replace(/^annotated as \((.*)\)$/, "$1").split(" / ");
  const holds = (heading, key, { of, value }) => {
    const names = namesOf(heading);
    const place = names.indexOf(of);
    if (place < 0 && heading !== "group") return null;
    const parts = key.split(" / ");
    if (place >= 0 && parts.length === names.length) return parts[place] === value;
    return ` / ${key} / `.includes(` / ${value} / `);
  };
  const isThere = (node) => {
    const backbone = node.closest(".backbone");
    return !backbone || backbone.dataset.name === picked.layer.of;
  };

  /* Tables */
  const collator = new Intl.Collator("en", { numeric: true });
  const textOf = (cell) => (cell ? cell.innerText || cell.textContent : "").trim();
  const numberOf = (text) => {
    const found = /[+\-\u2212]?\d[\d,]*\.?\d*/.exec(text);
    if (!found || /^(not |no |none|unknown)/.test(text)) return null;
    const value = Number(found[0].replaceAll(",", "").replace("\u2212", "-"));
    return text.includes("<") ? value - 1e-9 : value;
  };
  const tables = all("main table").filter((table) =>
    all("thead tr", table).length === 1 && table.tBodies[0] && table.tBodies[0].rows.length > 1).map((table) => {
    const rows = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells];
    const headings = heads.map(textOf);
    const cells = rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
    return { table, rows, heads, headings, cells, words: "", bar: null };
  });
  const sortBy = (entry, place) => {
    const head = entry.heads[place];
    const next = { ascending: "descending", descending: "" }[head.getAttribute("aria-sort")] ?? "ascending";
    entry.heads.forEach((each) => each.removeAttribute("aria-sort"));
    let order = entry.rows.map((_, index) => index);
    if (next) {
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const ranked = entry.headings[place] === "layer";
      const values = entry.cells.map((row) => row[place] || "");
      const first = new Map();
      values.forEach((value) => first.has(value) || first.set(value, first.size));
      const isNumber = !ranked && head.classList.contains("number");
      const keys = isNumber ? values.map(numberOf) : ranked ? values.map((value) => first.get(value)) : values;
      const compare = (one, two) => {
        if (keys[one] === null || keys[two] === null) return (keys[one] === null) - (keys[two] === null);
        return sign * (isNumber || ranked ? keys[one] - keys[two] : collator.compare(keys[one], keys[two]));
      };
      order.sort((one, two) => compare(one, two) || one - two);
    }
    entry.table.tBodies[0].append(...order.map((index) => entry.rows[index]));
    tell(next ? `Sorted by ${entry.headings[place].replaceAll("\n", " ")}, ${next}.` : "In the order of the report.");
  };
  const keeps = (entry) => {
    const tests = [];
    if (picked.layer && isThere(entry.table)) {
      const places = entry.headings.flatMap((heading, place) => heading === "layer" ? [place] : []);
      const ofBackbone = entry.headings.indexOf("backbone") < 0;
      if (places.length && ofBackbone) tests.push((row) => places.some((place) => row[place] === picked.layer.value));
    }
    if (picked.group) {
      const place = entry.headings.findIndex((heading) => holds(heading, "", picked.group) !== null);
      const test = (row) => holds(entry.headings[place], row[place] || "", picked.group);
      if (place >= 0 && (entry.headings[place] !== "group" || entry.cells.some(test))) tests.push(test);
    }
    if (entry.words) tests.push((row) => row.join(" ").toLowerCase().includes(entry.words));
    return (row) => tests.every((test) => test(row));
  };
  const refresh = (entry) => {
    const keep = keeps(entry);
    let shown = 0;
    entry.rows.forEach((row, index) => {
      row.hidden = !keep(entry.cells[index]);
      shown += !row.hidden;
    });
    const text = shown === entry.rows.length ? `${shown} rows` : `${shown} of ${entry.rows.length} rows shown`;
    entry.count.textContent = text;
    entry.count.classList.toggle("hiding", shown < entry.rows.length);
    return text;
  };
  tables.forEach((entry) => {
    const { table, heads, headings } = entry;
    heads.forEach((head, place) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      button.addEventListener("click", () => sortBy(entry, place));
      head.append(button);
    });
    const name = table.caption ? textOf(table.caption) || table.caption.textContent : "table";
    entry.count = make("span");
    const bar = make("div", { className: "bar" });
    if (entry.rows.length > 8) {
      const input = make("input", { type: "search" });
      input.addEventListener("input", () => {
        entry.words = input.value.trim().toLowerCase();
        tell(`${name}: ${refresh(entry)}.`);
      });
      bar.append(make("label", {}, "Filter rows ", make("span", { className: "away" }, `of ${name} `), input));
    }
    const get = make("button", { type: "button" }, "CSV", make("span", { className: "away" }, ` of ${name}`));
    get.addEventListener("click", () => {
      const file = (name.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 60) || "table") + ".csv";
      save(file, csv(withBounds([headings.map((text) => text.replaceAll("\n", " ")), ...entry.cells])));
    });
    bar.append(entry.count, get);
    (table.closest(".scroll") || table).before(bar);
    refresh(entry);
  });

  /* Figures: one stop of the Tab key each; arrow keys step through the marks. */
  const tip = make("div", { id: "tip", hidden: true });
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  let leaving = 0;
  let pointedAt = null;
  const show = (mark) => {
    clearTimeout(leaving);
    pointedAt = mark;
    const [key, text] = said(mark);
    tip.replaceChildren(make("strong", {}, key), text);
    tip.hidden = false;
    const box = mark.getBoundingClientRect();
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - width / 2), innerWidth - width - 8);
    const below = box.bottom + 6 + height < innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? box.bottom + 6 : Math.max(4, box.top - height - 6)}px`;
  };
  const hide = () => { leaving = setTimeout(() => { tip.hidden = true; }, 120); };
  const said = (mark) => {
    const [key, ...rest] = mark.getAttribute("aria-label").split("\n");
    return [key, rest.join(" ")];
  };
  tip.addEventListener("pointerenter", () => clearTimeout(leaving));
  tip.addEventListener("pointerleave", hide);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
  addEventListener("scroll", () => {
    if (tip.hidden) return;
    if (pointedAt === document.activeElement) show(pointedAt);
    else tip.hidden = true;
  }, { passive: true });
  const figures = all("svg.chart").map((svg) => {
    const marks = all(".marks rect", svg);
    if (!marks.length) return { svg, marks };
    svg.setAttribute("role", "group");
    marks.forEach((mark, place) => {
      const title = mark.querySelector("title");
      mark.setAttribute("role", "img");
      mark.setAttribute("aria-label", title.textContent);
      mark.setAttribute("tabindex", place ? "-1" : "0");
      title.remove();
    });
    const markOf = (event) => event.target.closest(".marks rect");
    svg.addEventListener("pointerover", (event) => { const mark = markOf(event); if (mark) show(mark); });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focusin", (event) => {
      const mark = markOf(event);
      if (!mark) return;
      marks.forEach((each) => each.setAttribute("tabindex", each === mark ? "0" : "-1"));
      show(mark);
    });
    svg.addEventListener("focusout", hide);
    svg.addEventListener("keydown", (event) => {
      const place = marks.indexOf(markOf(event));
      const last = marks.length - 1;
      const next = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1,
        Home: 0, End: last, PageDown: place + 10, PageUp: place - 10 }[event.key];
      if (place < 0 || next === undefined) return;
      event.preventDefault();
      marks[Math.min(last, Math.max(0, next))].focus();
    });
    return { svg, marks };
  });
  figures.forEach(({ svg, marks }) => {
    const figure = svg.closest("figure");
    if (!figure || !(figure.dataset.csv || marks.length)) return;
    const whole = Boolean(figure.dataset.csv) && "DecompressionStream" in window;
    const label = whole ? "Download the data of this figure (CSV)" : "Download what this figure tells (CSV)";
    const button = make("button", { type: "button" }, label);
    button.addEventListener("click", async () => {
      const rows = [[svg.dataset.h, "told"], ...marks.map(said)];
      save(figure.dataset.name, whole ? await inflate(figure.dataset.csv) : csv(rows));
    });
    figure.append(make("p", { className: "get" }, button));
  });

  /* Selecting */
  const highlight = ({ svg, marks }) => {
    const heading = svg.dataset.h || "";
    const tests = [];
    if (picked.layer && isThere(svg) && namesOf(heading).includes("layer"))
      tests.push((key) => key.split(" / ").includes(picked.layer.value));
    if (picked.group) {
      const test = (key) => holds(heading, key, picked.group);
      const keys = marks.map((mark) => said(mark)[0]);
      if (holds(heading, "", picked.group) !== null && keys.some(test)) tests.push(test);
    }
    marks.forEach((mark) => {
      const isOn = tests.every((test) => test(said(mark)[0]));
      mark.classList.toggle("off", tests.length > 0 && !isOn);
      mark.classList.toggle("on", tests.length > 0 && isOn);
    });
  };
  /* Results about other layers are hidden, with one line for all of a section. */
  const unfold = (section) => {
    all(".folded", section).forEach((block) => block.classList.remove("folded"));
    all(":scope > .fold", section).forEach((each) => each.remove());
  };
  const fold = (section) => {
    unfold(section);
    if (!picked.layer) return 0;
    const others = all(".block[data-layer]", section).filter(
      (block) => isThere(block) && block.dataset.layer !== picked.layer.value,
    );
    if (!others.length) return 0;
    others.forEach((block) => block.classList.add("folded"));
    const button = make("button", { type: "button" }, "Show");
    button.addEventListener("click", () => { unfold(section); const head = section.querySelector("h2"); head.tabIndex = -1; head.focus(); });
    const told = others.length === 1 ? "1 result is" : `${others.length} results are`;
    section.append(make("p", { className: "fold" }, `${told} about other layers than ${picked.layer.value}. `, button));
    return others.length;
  };
  /* The choice is part of the address, so that it can be sent to someone. */
  const keep = () => {
    const address = new URL(location.href);
    for (const what of ["layer", "group"]) {
      address.searchParams.delete(what);
      if (picked[what]) address.searchParams.set(what, `${picked[what].of}:${picked[what].value}`);
    }
    try { history.replaceState(null, "", address); } catch { /* some viewers forbid it */ }
  };
  const select = () => {
    const folded = all(".question").reduce((count, section) => count + fold(section), 0);
    tables.forEach(refresh);
    figures.forEach(highlight);
    const part = [];
    if (picked.layer) part.push(`Layer ${picked.layer.value} of ${picked.layer.of}: ${folded} results about other layers are hidden`);
    if (picked.group) part.push(`Group ${picked.group.of} = ${picked.group.value}`);
    const rows = tables.reduce((count, entry) => count + entry.rows.filter((row) => row.hidden).length, 0);
    if (part.length) part.push(`${rows} rows of tables are hidden, as each table says; in figures the rest is pale`);
    tell(part.length ? part.join(". ") + "." : "Everything is shown.");
  };
  const pick = (node, what) => node?.addEventListener("change", () => {
    const option = node.selectedOptions[0];
    picked[what] = option.dataset.of === undefined ? null : { of: option.dataset.of, value: option.value };
    select();
    keep();
  });
  const given = new URLSearchParams(location.search);
  for (const what of ["layer", "group"]) {
    const node = byId(`pick-${what}`);
    pick(node, what);
    const option = node && [...node.options].find((each) => `${each.dataset.of}:${each.value}` === given.get(what));
    if (option) {
      option.selected = true;
      picked[what] = { of: option.dataset.of, value: option.value };
    }
  }
  if (picked.layer || picked.group) select();
  byId("reset").addEventListener("click", () => {
    picked.layer = picked.group = null;
    all("#pick-layer, #pick-group").forEach((node) => { node.value = ""; });
    all(".bar input").forEach((input) => { input.value = ""; });
    tables.forEach((entry) => { entry.words = ""; });
    select();
    keep();
  });

  /* Links to every place */
  all("main h2[id], main h3[id], main h4[id], .findings li[id], .undecided li[id]").forEach((node) => {
    const link = make("a", { className: "anchor", href: `#${node.id}` }, "#");
    link.setAttribute("aria-label", `Link to: ${node.textContent.trim().slice(0, 80)}`);
    node.append(link);
  });
  all("tr[id]").forEach((row) => {
    const link = make("a", { className: "anchor", href: `#${row.id}` }, "#");
    link.setAttribute("aria-label", `Link to: ${row.cells[0].textContent.trim().slice(0, 80)}`);
    row.cells[0].append(link);
  });
  const reveal = () => {
    const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let node = target.closest("details"); node; node = node.parentElement.closest("details")) node.open = true;
    const section = target.closest(".folded") && target.closest(".question");
    if (section) unfold(section);
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);

  /* Where the reader is */
  const links = all(".contents a[href]");
  const places = links.map((link) => byId(link.hash.slice(1))).filter(Boolean);
  let current = null;
  const locate = () => {
    const edge = 0.25 * innerHeight;
    const passed = places.filter((place) => place.getBoundingClientRect().top < edge);
    const now = passed.length ? passed[passed.length - 1] : null;
    if (now === current) return;
    current = now;
    const chapter = now && (now.closest("main > section")?.querySelector("h2") || now);
    links.forEach((link) => {
      const id = link.hash.slice(1);
      const isHere = now !== null && (id === now.id || id === chapter.id);
      if (isHere) link.setAttribute("aria-current", "location");
      else link.removeAttribute("aria-current");
    });
    const title = now ? now.firstChild.textContent.trim() : "";
    byId("where").textContent = title ? `\u203a ${title}` : "";
    const here = links.filter((link) => link.hasAttribute("aria-current") && link.offsetParent).pop();
    const nav = byId("contents");
    if (here && nav.scrollHeight > nav.clientHeight) nav.scrollTop = here.offsetTop - nav.clientHeight / 3;
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; locate(); });
  }, { passive: true });

  /* Paper shows all: what a screen folds is opened for it. */
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    opened.forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => { opened.forEach((each) => { each.open = false; }); });

  document.documentElement.classList.add("js");
  const toolbar = byId("toolbar");
  toolbar.hidden = false;
  new ResizeObserver(() => {
    document.documentElement.style.scrollPaddingTop = `${toolbar.offsetHeight + 12}px`;
  }).observe(toolbar);
  const view = byId("view");
  const wide = matchMedia("(min-width: 48rem)");
  const follow = () => { view.open = wide.matches; };
  wide.addEventListener("change", follow);
  follow();
  locate();
  reveal();
})();
