// A picture that does not come makes room for what stands behind it, or hidden after it.
(() => {
  const leave = (image) => {
    if (!image.closest(".ln-thumb, .ln-track-cover, .ln-artists")) return;
    if (image.nextElementSibling?.hidden) image.nextElementSibling.hidden = false;
    image.remove();
  };
  document.addEventListener("error", (event) => event.target instanceof HTMLImageElement && leave(event.target), true);
  document.addEventListener("DOMContentLoaded", () => {
    for (const image of document.images) {
      if (image.complete && !image.naturalWidth && image.currentSrc) leave(image);
    }
  });
})();
