// A picture that does not come makes room for what stands behind it.
(() => {
  const leave = (image) => image.closest(".ln-thumb") && image.remove();
  document.addEventListener("error", (event) => event.target instanceof HTMLImageElement && leave(event.target), true);
  document.addEventListener("DOMContentLoaded", () => {
    for (const image of document.querySelectorAll(".ln-thumb > img")) {
      if (image.complete && !image.naturalWidth && image.currentSrc) leave(image);
    }
  });
})();
