/* After a failed save, focus the first invalid field. Each link in the list of problems focuses its own field. */
(() => {
  function reach(link) {
    const id = decodeURIComponent(link.hash.slice(1));
    // A date and time has two inputs: take the first.
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
  // The theme hides the page until its own script has run.
  window.addEventListener("load", () => {
    const problems = document.querySelector(".ln-problems");
    if (!problems) return;
    const choice = problems.querySelector("input[type=radio]");
    const link = problems.querySelector("a[href^='#']");
    if (choice) choice.focus();
    else if (link) reach(link);
  });
})();
