// Enhancements of the pages: copy buttons, protection against double submits, the total of the chosen size. Pages work
// without JavaScript, too.
export function dress(part) {
  for (const box of part.querySelectorAll(".copy")) addCopyButton(box);
}

function addCopyButton(box) {
  const source = box.querySelector("code, pre");
  if (!navigator.clipboard || !source || box.querySelector("button")) return;
  const button = document.createElement("button");
  const said = document.createElement("span");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy ${box.dataset.what ?? "this text"}`);
  said.className = "hidden";
  said.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    let word = "Copied";
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
    } catch {
      // Clipboard access was denied; select the text instead.
      getSelection().selectAllChildren(source);
      word = "Selected";
    }
    button.textContent = said.textContent = word;
    setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 2000);
  });
  box.append(button, said);
}

// Prevents double submits; but a button can be pressed again if a slow response was stopped.
const PATIENCE = 10_000;

addEventListener("submit", event => {
  const form = event.target;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
  setTimeout(() => { delete form.dataset.sent; }, PATIENCE);
});

function release() {
  for (const form of document.forms) delete form.dataset.sent;
}
addEventListener("pageshow", release);
window.navigation?.addEventListener("navigateerror", release);

const total = document.querySelector("[data-total]");
if (total) {
  const show = () => {
    const chosen = document.querySelector("input[data-price]:checked");
    if (chosen) total.querySelector("strong").textContent = chosen.dataset.price;
  };
  addEventListener("change", show);
  show();
  total.hidden = false;
}

dress(document);
