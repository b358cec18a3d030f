// Loaded before anything is drawn, so that a chosen theme does not flash.
(() => {
  let kept = null;
  try {
    kept = localStorage.getItem("inversionview-theme");
  } catch {
    // storage may be forbidden: then the system's theme holds
  }
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
