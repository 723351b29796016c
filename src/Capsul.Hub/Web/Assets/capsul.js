// What a page gains from scripts: buttons that copy. Pages work without.
for (const box of document.querySelectorAll(".copy")) {
  const source = box.querySelector("code, pre");
  if (!navigator.clipboard || !source) continue;
  const button = document.createElement("button");
  const said = document.createElement("span");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy: ${box.dataset.what ?? "this text"}`);
  said.className = "hidden";
  said.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = said.textContent = "Copied";
    } catch {
      // The browser does not let us; marking the text is the next best.
      getSelection().selectAllChildren(source);
      button.textContent = said.textContent = "Marked";
    }
    setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 2000);
  });
  box.append(button, said);
}
