// The serial console: a terminal that is connected to the VM by a WebSocket.
import { Terminal, fit } from "./xterm.js";
import { add, begin, send, settle } from "./view.js";

const place = document.getElementById("terminal");
const term = new Terminal({ cursorBlink: true, scrollback: 5000, fontSize: 14, screenReaderMode: false });

term.open(place);
term.setOption("theme", { background: "#101418", foreground: "#e6e8ea", cursor: "#e6e8ea" });
fit(term);
addEventListener("resize", () => fit(term));
const area = place.querySelector("textarea");
if (area) area.setAttribute("aria-label", "Console");

const encoder = new TextEncoder();
const decoder = new TextDecoder();
term.on("data", keys => send(encoder.encode(keys)));

// Tab passes through the terminal until somebody types in it, and belongs to the machine then.
let typing = false;
term.attachCustomKeyEventHandler(event => {
  if (event.key === "Escape" && event.ctrlKey && event.shiftKey) {
    event.preventDefault();
    typing = false;
    size.focus();
    return false;
  }
  if (event.key === "Tab") return typing;
  if (event.type === "keydown" && !["Shift", "Control", "Alt", "Meta"].includes(event.key)) typing = true;
  return true;
});
place.addEventListener("focusout", () => { typing = false; });
place.addEventListener("mousedown", () => { typing = true; });

const size = add("Fit the guest’s screen", "quiet", () => {
  fit(term);
  send(encoder.encode(`stty rows ${term.rows} cols ${term.cols}\r`));
  term.focus();
});
size.setAttribute("aria-describedby", "console-size-note");
add("Clear", "quiet", () => { term.clear(); term.focus(); });

// The text on the screen: it is drawn, so that is the only way to read it.
place.consoleText = () => {
  const lines = [];
  for (let n = 0; n < term._core.buffer.lines.length; n++)
    lines.push(term._core.buffer.translateBufferLineToString(n, true));
  return lines.join("\n");
};

begin(next => next.addEventListener("message", event => {
  settle();
  term.write(decoder.decode(event.data, { stream: true }));
}));
