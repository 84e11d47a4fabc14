// Screen readers: parts of Gradio that are named without a role, or by other words than those that stand there.
new MutationObserver(() => {
  document.querySelectorAll(".empty[aria-label]:not([role])").forEach((part) => part.setAttribute("role", "img"));
  const misnamed = "button.upload-container[aria-label], button.thumbnail-item[aria-label]:has(.caption-label)";
  document.querySelectorAll(misnamed).forEach((part) => part.removeAttribute("aria-label"));
}).observe(document, { childList: true, subtree: true });
