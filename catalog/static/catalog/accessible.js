/* The theme's controls, for keyboards and screen readers. Its icons are ligatures, words such as "dock_to_right"
   that would be read out, and some of its controls are neither links nor buttons, so no key reaches them. */
(() => {
  const ICON = ".material-symbols-outlined";
  const REACHABLE = "a[href], button, input, select, textarea, label, summary, [tabindex]";
  // What a control without words is called: by what it does on a click, or else by its icon.
  const BY_CLICK = [
    ["openTheme", "Theme"],
    ["sidebar", "Side bar"],
    ["openModal", "Close"],
    ["showActions", "More actions"],
    ["openRelatedWidgetWrapper", "More"],
  ];
  const BY_ICON = {
    library_music: "Start page", search: "Search", close: "Close", more_horiz: "More", more_vert: "More",
    calendar_today: "Choose a date", schedule: "Choose a time",
  };

  function iconsOf(element) {
    return element.matches(ICON) ? [element] : [...element.querySelectorAll(ICON)];
  }

  function hasWords(element) {
    const icons = iconsOf(element).map((icon) => icon.textContent).join("");
    return element.textContent.replace(/\s/g, "").length > icons.replace(/\s/g, "").length;
  }

  function nameOf(element) {
    const click = element.getAttribute("x-on:click") || "";
    const known = BY_CLICK.find(([word]) => click.includes(word));
    return known ? known[1] : BY_ICON[iconsOf(element)[0]?.textContent.trim()];
  }

  function improve(root) {
    for (const element of root.querySelectorAll("[x-on\\:click]")) {
      if (!element.matches(REACHABLE) && (hasWords(element) || iconsOf(element).length)) {
        element.setAttribute("role", "button");
        element.tabIndex = 0;
      } else if (element.matches('a[href="#"]')) {
        element.setAttribute("role", "button");
      }
    }
    for (const element of root.querySelectorAll("a, button, [role=button]")) {
      if (iconsOf(element).length && !hasWords(element) && !element.ariaLabel && !element.title) {
        element.ariaLabel = nameOf(element) ?? null;
      }
    }
    for (const icon of root.querySelectorAll(ICON)) {
      if (!icon.matches("[role=button]")) icon.ariaHidden = "true";
    }
    // A name on what has no role is not read: Django's hints beside the lists of permissions.
    for (const hint of root.querySelectorAll(".help-tooltip[aria-label]:not([role])")) hint.setAttribute("role", "img");
  }

  const PRESSED_BY_KEYS = "button, a, summary, [role=button], input[type=submit], input[type=button]";
  const isKey = (event) => event.key === " " || event.key === "Enter";
  let pressed = null;

  // A key held down presses once. Its repeats would press whatever gets the focus next, such as a dialog's button.
  document.addEventListener("keydown", (event) => {
    if (event.repeat && isKey(event) && event.target.closest?.(PRESSED_BY_KEYS)) event.preventDefault();
  }, true);
  // Controls that are not buttons follow the same keys: Enter on its way down, Space when it is released.
  document.addEventListener("keydown", (event) => {
    const control = event.target.closest?.("[role=button]:not(button)");
    if (!control || control !== event.target || !isKey(event) || event.repeat || event.defaultPrevented) return;
    // The browser follows a link itself.
    if (event.key === "Enter" && control.matches("a[href]")) return;
    event.preventDefault();
    if (event.key === "Enter") control.click();
    else pressed = control;
  });
  document.addEventListener("keyup", (event) => {
    if (event.key !== " " || !pressed) return;
    const isSame = pressed === event.target;
    pressed = null;
    if (!isSame) return;
    event.preventDefault();
    event.target.click();
  });
  // Such a link is a button: it leads nowhere, not even to the top of the page.
  document.addEventListener("click", (event) => {
    if (event.target.closest('a[href="#"]')) event.preventDefault();
  });
  document.addEventListener("DOMContentLoaded", () => {
    const main = document.getElementById("main");
    // Where the link that skips the side bar leads to.
    if (main) Object.assign(main, { role: "main", tabIndex: -1 });
    improve(document);
  });
  // Django's scripts build parts of forms when the page has loaded.
  window.addEventListener("load", () => setTimeout(() => improve(document)));
  document.addEventListener("htmx:load", (event) => improve(event.target));
})();
