/* The page of a track: after a fetch in place, the form below shows the new values, and nothing typed is lost. */
"use strict";

(() => {
  const panel = () => document.getElementById("track-panel");
  const form = () => document.getElementById("track_form");

  const say = (text) => {
    const live = document.getElementById("track-live");
    if (live) {
      live.textContent = text;
    }
  };

  const nameOf = (input) => {
    const label = input.labels && input.labels[0];
    return label ? label.textContent.replace(/[\s*:]+/g, " ").trim() : input.name;
  };

  /* What the form showed when it was opened stands beside each field, as a hidden "initial-" input. */
  const updateText = (name, value) => {
    const input = form().elements[name];
    const initial = form().elements[`initial-${name}`];
    if (!input || !initial) {
      return null;
    }
    const isTyped = input.value !== initial.value;
    initial.value = value;
    if (!isTyped) {
      input.value = value;
    }
    return isTyped && input.value !== value ? nameOf(input) : null;
  };

  const updateTicks = (name, values) => {
    const boxes = [...form().querySelectorAll(`input[type=checkbox][name="${name}"]`)];
    const initials = [...form().querySelectorAll(`input[type=hidden][name="initial-${name}"]`)];
    const shown = new Set(initials.map((input) => input.value));
    let isTyped = false;
    for (const box of boxes) {
      if (box.checked === shown.has(box.value)) {
        box.checked = values.includes(box.value);
      } else {
        isTyped = isTyped || box.checked !== values.includes(box.value);
      }
    }
    initials.forEach((input) => input.remove());
    for (const value of values) {
      const input = document.createElement("input");
      input.type = "hidden";
      input.name = `initial-${name}`;
      input.value = value;
      form().append(input);
    }
    return isTyped ? "Keep by hand" : null;
  };

  const updateForm = (values) => {
    const unsaved = Object.entries(values)
      .map(([name, value]) => (Array.isArray(value) ? updateTicks(name, value) : updateText(name, value)))
      .filter((name) => name !== null);
    const note = document.getElementById("track-unsaved");
    if (note && unsaved.length) {
      note.textContent = `Not saved yet, and kept in the form as you typed it: ${unsaved.join(", ")}.`;
      note.hidden = false;
      document.getElementById("track-live").append(` ${note.textContent}`);
    }
  };

  const updateTitle = (before, after) => {
    if (!before || before === after) {
      return;
    }
    for (const part of document.querySelectorAll("#header-inner h1 *")) {
      if (!part.children.length && part.textContent.trim() === before) {
        part.textContent = after;
      }
    }
    document.title = document.title.replace(before, () => after);
  };

  const closeDialog = () => window.linerNotes.closeDialog('a[hx-get$="/fetch_now/"]');

  const isOurs = (detail) =>
    Boolean(detail.pathInfo) && /\/(fetch_now|panel|release)\/$/.test(detail.pathInfo.requestPath.split("?")[0]);

  const isFetch = (request) => request.verb === "post" && /\/fetch_now\/$/.test(request.path.split("?")[0]);

  let titleBefore = "";

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (isFetch(event.detail.requestConfig)) {
      say("Asking Soundcharts …");
    }
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { detail } = event;
    if (!isOurs(detail)) {
      return;
    }
    titleBefore = panel() ? panel().dataset.title : "";
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    const { detail } = event;
    if (!isOurs(detail) || !panel() || !panel().dataset.values) {
      return;
    }
    updateTitle(titleBefore, panel().dataset.title);
    updateForm(JSON.parse(panel().dataset.values));
    delete panel().dataset.values;
    closeDialog();
    const answer = panel().querySelector(".ln-answer:not([hidden])");
    if (answer) {
      answer.scrollIntoView({ block: "nearest" });
    }
    if (document.activeElement === document.body && detail.requestConfig.verb === "post") {
      /* The button that was pressed is gone, or was disabled meanwhile: the keyboard goes on from here. */
      const button = document.getElementById("track-fetch");
      const next = isFetch(detail.requestConfig) && button ? button : answer;
      if (next) {
        next.focus({ preventScroll: true });
      }
    }
  });

  const tellTrouble = (event) => {
    const { detail } = event;
    if (!isOurs(detail) || detail.requestConfig.verb === "get") {
      return;
    }
    const status = detail.xhr && detail.xhr.status ? ` (${detail.xhr.status})` : "";
    const what = detail.xhr && detail.xhr.status === 503 ? "The database is busy, so this could not be completed." :
      detail.xhr && detail.xhr.status === 401 ? "Your session has ended, so nothing was done. Log in in another tab, then press again." :
      detail.xhr && detail.xhr.status === 403
        ? "Nothing was done. You are logged out, or do not have permission."
        : `The site did not answer${status}. Open the track in another tab to check whether it was done.`;
    const text = `${what} Your entries are still in the form.`;
    const trouble = document.getElementById("track-trouble");
    trouble.textContent = text;
    trouble.hidden = false;
    say(text);
    closeDialog();
  };
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, tellTrouble);
  }
})();
