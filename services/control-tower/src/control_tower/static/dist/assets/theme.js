// Before the first paint, so that a chosen theme does not flash. The policy forbids inline scripts.
try {
  const theme = localStorage.getItem("expedite.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // no storage: the system's theme
}
