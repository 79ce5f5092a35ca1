// What somebody has opened stays open when its part of the page is replaced by a newer one.
(() => {
  const opened = new Set();

  document.addEventListener("htmx:beforeSwap", (event) => {
    for (const details of event.detail.target.querySelectorAll("details[id]")) {
      if (details.open) {
        opened.add(details.id);
      } else {
        opened.delete(details.id);
      }
    }
  });

  document.addEventListener("htmx:load", (event) => {
    for (const details of event.detail.elt.querySelectorAll("details[id]")) {
      details.open = opened.has(details.id);
    }
  });
})();
