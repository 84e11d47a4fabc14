// For screen readers: gives a role to named parts of Gradio that have none, and removes names that differ from the text.
// And for everybody: takes the brush of a sketch, so that the first stroke draws.
new MutationObserver(() => {
  document.querySelectorAll(".empty[aria-label]:not([role])").forEach((part) => part.setAttribute("role", "img"));
  const misnamed = "button.upload-container[aria-label], button.thumbnail-item[aria-label]:has(.caption-label)";
  document.querySelectorAll(misnamed).forEach((part) => part.removeAttribute("aria-label"));
  document.querySelectorAll('#sketch [aria-label="Brush"]:not([data-taken])').forEach((brush) => {
    brush.dataset.taken = "yes";
    brush.click();
  });
}).observe(document, { childList: true, subtree: true });
