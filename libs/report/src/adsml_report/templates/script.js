"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  // Values under the pointer, by touch, and by the arrow keys of a slider that lies over the chart.
  const number = (value) => value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) >= 100 ? 0 : 2 });
  const reading = (data, at) => {
    const day = new Date(Date.parse(data.d) + at * 864e5);
    const parts = data.l.filter((one) => one[1][at] != null).map((one) => `${one[0]} ${number(one[1][at])}`);
    for (const [name, low, high] of data.b) {
      const ends = [low[at], high[at]];
      if (ends.some((end) => end != null)) parts.push(`${name} ${ends.map((end) => (end == null ? "open" : number(end))).join(" to ")}`);
    }
    if (data.m[at]) parts.push(data.m[at]);
    const shown = day.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
    return `${shown}: ${parts.join("; ") || "no value"}`;
  };
  const equip = (figure) => {
    const data = JSON.parse(figure.dataset.v);
    const plot = figure.querySelector(".plot"), svg = plot.firstElementChild;
    const [first, end] = svg.dataset.x.split(" ").map(Number), { width, height } = svg.viewBox.baseVal;
    const last = Math.max(...data.l.map((one) => one[1].length)) - 1;
    const slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: last, value: last });
    const words = document.createElement("output");
    const line = document.createElementNS(svg.namespaceURI, "path");
    line.setAttribute("class", "c");
    slider.setAttribute("aria-label", `${figure.querySelector("figcaption").textContent}, day by day`);
    const show = () => {
      const at = Number(slider.value), x = first + ((end - first) * at) / Math.max(last, 1);
      line.setAttribute("d", `M${x} 24V${height - 24}`);
      if (!line.parentNode) svg.append(line);
      words.textContent = reading(data, at);
      slider.setAttribute("aria-valuetext", words.textContent);
    };
    const hide = () => { line.remove(); words.textContent = ""; };
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      const at = ((event.clientX - box.left) * width / box.width - first) / (end - first) * last;
      slider.value = Math.min(Math.max(Math.round(at), 0), last);
      show();
    };
    slider.setAttribute("aria-valuetext", reading(data, last));
    slider.addEventListener("input", show);
    slider.addEventListener("focus", show);
    slider.addEventListener("blur", hide);
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
    plot.append(slider, words);
  };
  const near = new IntersectionObserver((entries) => {
    for (const one of entries) if (one.isIntersecting) { near.unobserve(one.target); equip(one.target); }
  }, { rootMargin: "200px" });
  const watch = (root) => { for (const one of root.querySelectorAll("figure[data-v]")) near.observe(one); };
  watch(document);

  // Tables sort by the column that is pressed: by dates, by the first number, else by words.
  const worth = (cell) => {
    const time = cell.querySelector("time");
    if (time) return Date.parse(time.dateTime);
    const text = cell.textContent.trim().replace(/\u2212/g, "-");
    const found = cell.classList.contains("num") ? text.match(/-?[\d,]*\.?\d+/) : null;
    return found ? Number(found[0].replace(/,/g, "")) : cell.classList.contains("num") ? -Infinity : text.toLowerCase();
  };
  for (const head of document.querySelectorAll("thead th")) {
    const body = head.closest("table").tBodies[0];
    if (body.rows.length < 2 || !head.textContent) continue;
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.ariaSort ? head.ariaSort === "ascending" : head.classList.contains("num");
      for (const one of head.parentNode.cells) one.ariaSort = null;
      head.ariaSort = down ? "descending" : "ascending";
      const rows = [...body.rows].map((row) => [worth(row.cells[head.cellIndex]), row]);
      rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1));
      body.append(...rows.map(([, row]) => row));
    });
  }

  // A link opens what it leads to.
  const follow = (name) => {
    const one = byId(name);
    for (let at = one; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (one) one.scrollIntoView();
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link) setTimeout(() => follow(link.getAttribute("href").slice(1)));
  });
  const linked = [...document.querySelectorAll("a[href^='#']")].find((one) => one.hash === location.hash);
  if (linked && location.hash) follow(linked.getAttribute("href").slice(1));

  // The filters: what belongs to other campaigns goes, tiles and charts become the campaign's.
  const all = [...document.querySelectorAll("main [data-c], main section > details, tbody tr")];
  const items = all.filter((one) => !one.parentElement.closest("[data-c]"));
  const texts = new Map();
  const campaign = byId("campaign"), search = byId("search"), shown = byId("shown");
  const words = (one) => {
    if (!texts.has(one)) texts.set(one, (one.querySelector("summary") || one).textContent.toLowerCase());
    return texts.get(one);
  };
  const scopes = [...document.querySelectorAll(".scope")].map((one) => [one, [...one.childNodes]]);
  const rescope = (wanted) => {
    for (const [scope, own] of scopes) {
      const theirs = [...scope.parentNode.querySelectorAll("template")].find((one) => one.dataset.scope === wanted);
      const none = Object.assign(document.createElement("p"), { className: "note", textContent: "Nothing to show of this campaign." });
      scope.replaceChildren(...(!wanted ? own : theirs ? theirs.content.cloneNode(true).childNodes : [none]));
      watch(scope);
    }
  };
  const apply = () => {
    const wanted = campaign ? campaign.value : "", word = search.value.trim().toLowerCase();
    let count = 0;
    for (const one of items) {
      const here = one.dataset.c;
      const fits = (!wanted || !here || here === wanted) && (!word || words(one).includes(word));
      if (one.hidden === fits) one.hidden = !fits;
      if (fits) count += 1;
    }
    shown.textContent = wanted || word ? `${count} of ${items.length} shown` : "";
  };
  if (campaign) {
    campaign.addEventListener("change", () => { rescope(campaign.value); apply(); });
    byId("open").addEventListener("click", () => {
      for (const one of document.querySelectorAll("details")) if (!one.hidden) one.open = true;
    });
    byId("close").addEventListener("click", () => {
      for (const one of document.querySelectorAll("details")) one.open = false;
    });
  }
  search.addEventListener("input", apply);
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
})();
