// What a page gains from scripts: buttons that copy, and forms that are sent once. Pages work without.
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
      // The browser does not let us; marking the text is the next best.
      getSelection().selectAllChildren(source);
      word = "Marked";
    }
    button.textContent = said.textContent = word;
    setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 2000);
  });
  box.append(button, said);
}

// A second press of a button must not make a second capsul.
addEventListener("submit", event => {
  if (event.target.dataset.sent) event.preventDefault();
  else event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

dress(document);
