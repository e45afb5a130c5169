// The page's two forms call order-intake with the signed token of the link: services never call each other.
const { intake, order, thanks, failed } = document.body.dataset;

function nested(form) {
  const body = {};
  for (const [path, value] of new FormData(form)) {
    if (!value.trim()) continue;
    const names = path.split(".");
    let at = body;
    for (const name of names.slice(0, -1)) at = at[name] ??= {};
    at[names.at(-1)] = value.trim();
  }
  return body;
}

for (const form of document.querySelectorAll("form[data-action]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    const answer = form.querySelector(".answer");
    button.disabled = true;
    try {
      const url = `${intake}/orders/${encodeURIComponent(order)}/${form.dataset.action}?token=${encodeURIComponent(form.dataset.token)}`;
      const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(nested(form)) });
      if (!response.ok) {
        const problem = await response.json().catch(() => ({}));
        const details = (problem.errors ?? []).map((e) => e.message).join(" ");
        throw new Error(details || problem.detail || problem.title || response.statusText);
      }
      answer.textContent = thanks;
      setTimeout(() => location.reload(), 2500);
    } catch (error) {
      answer.textContent = `${failed} ${error.message}`;
      button.disabled = false;
    }
  });
}
