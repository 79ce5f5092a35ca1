// Count down the remaining time of waiting tasks between two responses of the server.
"use strict";

(() => {
  const ends = new WeakMap();

  function clock(seconds) {
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
    const two = (number) => String(number).padStart(2, "0");
    return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
  }

  function tick() {
    const now = performance.now();
    for (const place of document.querySelectorAll("[data-ln-countdown]")) {
      if (!ends.has(place)) ends.set(place, now + 1000 * Number(place.dataset.lnCountdown));
      const words = clock(Math.max(0, Math.ceil((ends.get(place) - now) / 1000)));
      if (place.textContent !== words) place.textContent = words;
    }
  }

  document.addEventListener("DOMContentLoaded", tick);
  document.addEventListener("htmx:load", tick);
  setInterval(tick, 500);
})();
