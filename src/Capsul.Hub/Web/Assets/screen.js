// The screen: noVNC, which is connected to the VM by a WebSocket and draws what its graphics card shows.
import RFB from "./novnc/core/rfb.js";
import { initLogging } from "./novnc/core/util/logging.js";
import { add, begin, say, settle } from "./view.js";

const place = document.getElementById("screen");
const paste = document.getElementById("paste");
const text = document.getElementById("paste-text");
// A keyboard of the PS/2 kind has room for 16 bytes, and a slow guest takes its time.
const KEY_PAUSE = 40;
const SHIFT = 0xffe1, RETURN = 0xff0d, TAB = 0xff09;
const SHIFTED = '~!@#$%^&*()_+{}|:"<>?';
// What ends a connection is said on the page.
initLogging("none");
let rfb = null;
let viewOnly = false;
let typing = false;
let pasting = 0;

add("Ctrl-Alt-Del", "quiet", () => { rfb?.sendCtrlAltDel(); focus(); });
const paster = add("Paste text", "quiet", () => {
  paste.hidden = !paste.hidden;
  paster.setAttribute("aria-expanded", String(!paste.hidden));
  if (!paste.hidden) text.focus();
});
paster.setAttribute("aria-controls", "paste");
paster.setAttribute("aria-expanded", "false");
const only = add("View only", "quiet", () => {
  viewOnly = !viewOnly;
  only.setAttribute("aria-pressed", String(viewOnly));
  if (rfb) rfb.viewOnly = viewOnly;
});
only.setAttribute("aria-pressed", "false");
add("Full screen", "quiet", () => { place.requestFullscreen?.().catch(() => {}); focus(); });

function focus() {
  typing = true;
  rfb?.focus();
}

// Tab passes through the screen until somebody types on it, and belongs to the machine then.
place.addEventListener("keydown", event => {
  if (event.key === "Escape" && event.ctrlKey && event.shiftKey) {
    event.preventDefault();
    event.stopPropagation();
    typing = false;
    only.focus();
  } else if (event.key === "Tab" && !typing) {
    event.stopPropagation();
  } else if (!["Shift", "Control", "Alt", "Meta", "Tab"].includes(event.key)) {
    typing = true;
  }
}, true);
place.addEventListener("focusout", () => {
  typing = false;
  // noVNC releases keys that are still down when the window loses the focus, but not when the screen does.
  dispatchEvent(new Event("blur"));
});
place.addEventListener("mousedown", () => { typing = true; });

function keyOf(letter) {
  if (letter === "\n") return RETURN;
  if (letter === "\t") return TAB;
  const code = letter.codePointAt(0);
  return code >= 0x20 && code < 0x7f ? code : 0;
}

paste.addEventListener("submit", async event => {
  event.preventDefault();
  const letters = [...text.value.replaceAll("\r", "")];
  const strange = letters.find(letter => !keyOf(letter));
  if (strange) { say(`A US keyboard has no “${strange}”: nothing was typed.`); return; }
  if (!rfb || viewOnly) { say("Nothing can be typed now."); return; }
  const [mine, to] = [++pasting, rfb];
  say("Typing …");
  for (const letter of letters) {
    if (mine !== pasting) return;
    // Why a connection ended has been said.
    if (rfb !== to || viewOnly) { if (rfb) say("Only part of it was typed."); return; }
    const shift = SHIFTED.includes(letter) || (letter >= "A" && letter <= "Z");
    if (shift) to.sendKey(SHIFT, "ShiftLeft", true);
    to.sendKey(keyOf(letter), null);
    if (shift) to.sendKey(SHIFT, "ShiftLeft", false);
    await new Promise(resolve => setTimeout(resolve, KEY_PAUSE));
  }
  text.value = "";
  say("Typed.");
});

begin(socket => {
  const mine = new RFB(place, socket, { shared: true });
  rfb = mine;
  mine.scaleViewport = true;
  mine.viewOnly = viewOnly;
  mine.showDotCursor = true;
  const canvas = place.querySelector("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", place.dataset.name);
  mine.addEventListener("connect", settle);
  mine.addEventListener("disconnect", () => { if (rfb === mine) rfb = null; });
});
