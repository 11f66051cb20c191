"use strict";
(() => {
  const all = [...document.querySelectorAll("main [data-c], main section > details, tbody tr")];
  const items = [...new Set(all)].filter((one) => !one.parentElement.closest("[data-c]"));
  const texts = new Map();
  const campaign = document.getElementById("campaign");
  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const words = (one) => {
    if (!texts.has(one)) texts.set(one, (one.querySelector("summary") || one).textContent.toLowerCase());
    return texts.get(one);
  };
  const apply = () => {
    const wanted = campaign.value;
    const word = search.value.trim().toLowerCase();
    let count = 0;
    for (const one of items) {
      const here = one.dataset.c;
      const fits = (!wanted || !here || here === wanted) && (!word || words(one).includes(word));
      if (one.hidden === fits) one.hidden = !fits;
      if (fits) count += 1;
    }
    shown.textContent = wanted || word ? `${count} of ${items.length} shown` : "";
  };
  campaign.addEventListener("change", apply);
  search.addEventListener("input", apply);
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("open").addEventListener("click", () => {
    for (const one of document.querySelectorAll("details")) if (!one.hidden) one.open = true;
  });
  document.getElementById("close").addEventListener("click", () => {
    for (const one of document.querySelectorAll("details")) one.open = false;
  });
})();
