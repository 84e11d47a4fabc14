// For screen readers: gives a role to named parts of Gradio that have none, and removes names that differ from the text.
new MutationObserver(() => {
  document.querySelectorAll(".empty[aria-label]:not([role])").forEach((part) => part.setAttribute("role", "img"));
  const misnamed = "button.upload-container[aria-label], button.thumbnail-item[aria-label]:has(.caption-label)";
  document.querySelectorAll(misnamed).forEach((part) => part.removeAttribute("aria-label"));
}).observe(document, { childList: true, subtree: true });
