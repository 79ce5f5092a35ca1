/* After a failed save: the keyboard goes to the first field that was refused, and a link of the list to its own. */
(() => {
  function reach(link) {
    const id = decodeURIComponent(link.hash.slice(1));
    // Of a date and a time, the first.
    const field = document.getElementById(id) ?? document.getElementById(`${id}_0`);
    if (!field) return;
    for (let around = field.closest("details"); around; around = around.parentElement?.closest("details")) around.open = true;
    const input = field.matches("input, select, textarea, button") ? field : field.querySelector("input, select, textarea") ?? field;
    input.focus({ preventScroll: true });
    input.scrollIntoView({ block: "center" });
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.(".ln-problems a[href^='#']");
    if (!link) return;
    event.preventDefault();
    reach(link);
  });
  // Not before the theme shows the page, which it hides until its own script has run.
  window.addEventListener("load", () => {
    const problems = document.querySelector(".ln-problems");
    if (!problems) return;
    const choice = problems.querySelector("input[type=radio]");
    const link = problems.querySelector("a[href^='#']");
    if (choice) choice.focus();
    else if (link) reach(link);
  });
})();
