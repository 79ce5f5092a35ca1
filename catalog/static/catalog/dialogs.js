/* Dialogs keep the keyboard, give it back where it came from, and a form is sent once, however often it is pressed. */
(() => {
  const REACHABLE = "a[href], button, input:not([type=hidden]), select, textarea, [tabindex]";
  const SENT = "ln-sent";
  const ENDED = "Your session has ended, so nothing was done. Log in in another tab, then press the button again.";
  let opener = null;

  const box = () => document.getElementById("modal-content");
  const isOpen = () => Boolean(box()?.offsetParent || box()?.getClientRects().length);
  const stops = () => [...box().querySelectorAll(REACHABLE)].filter((stop) => stop.getClientRects().length && !stop.disabled);

  function begin() {
    const title = box().querySelector("h1");
    if (title) title.id = "dialog-title";
    box().setAttribute("role", "dialog");
    box().setAttribute("aria-modal", "true");
    box().setAttribute("aria-labelledby", "dialog-title");
    const first = box().querySelector("input:not([type=hidden]), select, textarea") ?? box().querySelector("[type=submit]:enabled, a[href]");
    first?.focus();
  }

  /* What a dialog would do depends on what is chosen in it, and its price is asked for anew: where it says that there is
     nothing to do, there is nothing to press. */
  function follow() {
    const button = box().querySelector("[type=submit]");
    if (!button) return;
    button.disabled = Boolean(box().querySelector("[data-nothing]"));
    for (const name of ["cursor-not-allowed", "opacity-50"]) button.classList.toggle(name, button.disabled);
  }

  function watch() {
    new MutationObserver(follow).observe(box(), { childList: true, subtree: true });
    let wasOpen = isOpen();
    // The theme shows and hides dialogs by a style.
    new MutationObserver(() => {
      if (isOpen() === wasOpen) return;
      wasOpen = !wasOpen;
      if (wasOpen) begin();
      else opener?.focus();
    }).observe(box().parentElement, { attributes: true, attributeFilter: ["style"] });
  }

  function keepTab(event) {
    if (event.key !== "Tab" || !isOpen()) return;
    const all = stops();
    const [first, last] = [all[0], all[all.length - 1]];
    const edge = event.shiftKey ? first : last;
    if (document.activeElement === edge || !box().contains(document.activeElement)) {
      event.preventDefault();
      (event.shiftKey ? last : first)?.focus();
    }
  }

  /* The dialog goes with what was in it, so that a second click that waits in line finds nothing to send; the keyboard goes on
     at the button that opened it. */
  function closeDialog(openedBy) {
    const state = window.Alpine && window.Alpine.$data(document.documentElement);
    if (!state || !state.openModal) return;
    state.openModal = false;
    box().replaceChildren();
    document.querySelector(openedBy)?.focus({ preventScroll: true });
  }
  window.linerNotes = { closeDialog };

  document.addEventListener("DOMContentLoaded", () => box() && watch());
  document.addEventListener("keydown", keepTab);
  document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt, target } = event.detail;
    if (elt.matches("form")) {
      if (elt.classList.contains(SENT)) event.preventDefault();
      elt.classList.add(SENT);
    } else if (target === box()) {
      opener = elt;
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const isLeaving = event.detail.xhr?.getResponseHeader("HX-Redirect");
    if (event.detail.elt.matches("form") && !isLeaving) event.detail.elt.classList.remove(SENT);
  });
  /* Logging in again in another tab creates a new token, which this page's forms do not have yet. */
  const token = () => document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1];

  /* After a failed request, keep the dialog open with its contents and say what happened. */
  function tellTrouble(event) {
    const { elt, xhr, target } = event.detail;
    if (target === box() && xhr?.status === 401) {
      // The session ended before the dialog opened. Keep the page's entries.
      const state = window.Alpine?.$data(document.documentElement);
      const part = (tag, values) => Object.assign(document.createElement(tag), values);
      const close = part("button", { type: "button", className: "ln-button", textContent: "Close" });
      close.addEventListener("click", () => { if (state) state.openModal = false; });
      const words = part("p", { className: "ln-dialog", textContent: ENDED });
      words.setAttribute("role", "alert");
      box().replaceChildren(part("h1", { className: "ln-large", textContent: "Not done" }), words, close);
      if (state) state.openModal = true;
      return;
    }
    if (!box()?.contains(elt)) return;
    const line = box().querySelector(".ln-trouble") ?? document.createElement("p");
    line.className = "ln-trouble";
    line.setAttribute("role", "alert");
    if (xhr?.status === 503) line.textContent = "The database is busy, so this could not be completed. Try again in a few seconds.";
    else if (xhr?.status === 401) line.textContent = ENDED;
    else if (xhr?.status === 403) line.textContent = "Nothing was done. You are logged out, or do not have permission.";
    else line.textContent = "The site did not answer. Close this and check whether it was done.";
    box().querySelector("[type=submit]")?.parentElement.before(line);
  }
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) document.addEventListener(name, tellTrouble);
  document.addEventListener("htmx:configRequest", (event) => {
    const { verb, parameters } = event.detail;
    if (verb === "post" && token() && parameters.csrfmiddlewaretoken) parameters.csrfmiddlewaretoken = token();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || form.matches("[hx-post]")) return;
    if (token() && form.elements.csrfmiddlewaretoken) form.elements.csrfmiddlewaretoken.value = token();
    if (form.classList.contains(SENT)) event.preventDefault();
    form.classList.add(SENT);
  });
  // Back to a page that the browser has kept: its forms can be sent again.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll(`form.${SENT}`)) form.classList.remove(SENT);
  });
})();
