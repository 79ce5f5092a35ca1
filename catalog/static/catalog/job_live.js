/* Pages that follow tasks: what is marked data-ln-live is asked for again and again, for as long as the server marks it
   so. Also the questions before a button does its work, and that no form is sent twice. Without scripts, all buttons
   work: they lead to a page that asks the same. */
"use strict";

(() => {
  const SHOWN = 2000;
  const HIDDEN = 30000;
  const AWAY_AT_MOST = 30000;

  let timer = 0;
  let failures = 0;
  let hasEnded = false;
  let isPressed = false;

  const live = () => document.querySelector("[data-ln-live]");

  function schedule() {
    clearTimeout(timer);
    if (hasEnded || !live()) return;
    const usual = document.hidden ? HIDDEN : SHOWN;
    timer = setTimeout(ask, failures ? Math.max(usual, Math.min(SHOWN * 2 ** failures, AWAY_AT_MOST)) : usual);
  }

  function ask() {
    const part = live();
    if (part) htmx.trigger(part, "ln-poll");
  }

  function say(words) {
    const note = live()?.querySelector("[data-ln-away]");
    // Not again and again: a screen reader would repeat it.
    if (!note || note.textContent === words) return;
    note.textContent = words;
    note.hidden = false;
  }

  function announce() {
    const place = document.querySelector("[data-ln-announced]");
    const words = document.querySelector("[data-ln-announce]")?.dataset.lnAnnounce;
    if (place && words && place.dataset.words !== words) {
      if (place.dataset.words) place.textContent = words;
      place.dataset.words = words;
    }
  }

  const isPoll = (event) => event.detail.requestConfig?.elt?.matches("[data-ln-live]");

  document.addEventListener("htmx:afterRequest", (event) => {
    if (!isPoll(event)) return;
    const status = event.detail.xhr?.status ?? 0;
    if (status === 403 || status === 404) {
      hasEnded = true;
      say(status === 404 ? "This task is no longer there." : "You may no longer look at this task.");
    } else if (event.detail.successful) {
      failures = 0;
      announce();
    } else {
      failures += 1;
      say("The server does not answer at the moment. What you see is as of its last answer; it is asked again by itself.");
    }
    schedule();
  });

  // Between the two halves of a press nothing is replaced: the second would meet another button, and be no press.
  document.addEventListener("pointerdown", () => (isPressed = true), true);
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, () => (isPressed = false), true);
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (isPressed && isPoll(event)) event.detail.shouldSwap = false;
  });

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) schedule();
    else if (!hasEnded) {
      clearTimeout(timer);
      ask();
    }
  });

  // --- Questions

  const question = () => document.getElementById("job-question");

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-ln-ask]");
    if (button && question() && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      // The price is that of the moment in which it is asked for.
      htmx.ajax("GET", button.href, { target: "#job-question", swap: "innerHTML" }).catch(() => {});
      return;
    }
    if (event.target.closest("[data-ln-close]") && question()?.open) {
      event.preventDefault();
      question().close();
    }
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target !== question()) return;
    // After the session has ended it is the log-in page, or a refusal: the page itself says so better.
    if (!event.detail.serverResponse.includes("data-ln-question")) {
      event.detail.shouldSwap = false;
      location.reload();
    }
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target === question() && !question().open) question().showModal();
  });

  document.addEventListener("htmx:sendError", (event) => {
    if (event.detail.target === question()) say("The server does not answer at the moment. Nothing was changed.");
  });

  // --- Forms are sent once

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-ln-once]")) return;
    if (form.dataset.isSent) event.preventDefault();
    form.dataset.isSent = "yes";
  });
  // Whoever comes back by the browser's button may send it again.
  window.addEventListener("pageshow", () => {
    document.querySelectorAll("[data-ln-once]").forEach((form) => delete form.dataset.isSent);
  });

  document.addEventListener("DOMContentLoaded", () => {
    announce();
    schedule();
  });
})();
