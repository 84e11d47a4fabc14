// Screen readers: parts of Gradio that are named without a role, or by other words than those that stand there.
new MutationObserver(() => {
  document.querySelectorAll(".empty[aria-label]:not([role])").forEach((part) => part.setAttribute("role", "img"));
  document.querySelectorAll("button.upload-container[aria-label]").forEach((part) => part.removeAttribute("aria-label"));
}).observe(document, { childList: true, subtree: true });
