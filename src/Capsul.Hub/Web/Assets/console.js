// The serial console: a terminal that is connected to the VM by a WebSocket. Each connection begins with a token that
// this page asks for, which counts once and for a minute.
import { Terminal, fit } from "./xterm.js";

const place = document.getElementById("terminal");
const state = document.getElementById("console-state");
const form = document.getElementById("console-form");
const connect = document.getElementById("console-connect");
const LONGEST_PAUSE = 15_000;

const dark = matchMedia("(prefers-color-scheme: dark)");
const term = new Terminal({ cursorBlink: true, scrollback: 5000, fontSize: 14, screenReaderMode: false });
let socket = null;
let pause = 1000;
let timer = 0;

term.open(place);
term.setOption("theme", { background: "#101418", foreground: "#e6e8ea", cursor: "#e6e8ea" });
fit(term);
addEventListener("resize", () => fit(term));
document.getElementById("console-actions").hidden = false;
const area = place.querySelector("textarea");
if (area) area.setAttribute("aria-label", "Console");

const encoder = new TextEncoder();
const decoder = new TextDecoder();
term.on("data", keys => { if (socket?.readyState === WebSocket.OPEN) socket.send(encoder.encode(keys)); });

// Tab belongs to the terminal, so there must be another way out.
place.addEventListener("keydown", event => {
  if (event.key !== "Escape" || !event.ctrlKey || !event.shiftKey) return;
  event.preventDefault();
  event.stopPropagation();
  document.getElementById("console-size").focus();
}, true);

document.getElementById("console-clear").addEventListener("click", () => { term.clear(); term.focus(); });
document.getElementById("console-size").addEventListener("click", () => {
  fit(term);
  if (socket?.readyState === WebSocket.OPEN)
    socket.send(encoder.encode(`stty rows ${term.rows} cols ${term.cols}\r`));
  term.focus();
});
connect.addEventListener("click", () => { pause = 1000; open(); });

// The text on the screen: it is drawn, so that is the only way to read it.
place.consoleText = () => {
  const lines = [];
  for (let n = 0; n < term._core.buffer.lines.length; n++)
    lines.push(term._core.buffer.translateBufferLineToString(n, true));
  return lines.join("\n");
};

function say(text) { state.textContent = text; }

function again(why, soon) {
  clearTimeout(timer);
  connect.hidden = false;
  say(soon ? `${why} Trying again …` : why);
  if (!soon) return;
  timer = setTimeout(open, pause);
  pause = Math.min(pause * 2, LONGEST_PAUSE);
}

async function token() {
  const answer = await fetch(form.action, { method: "POST", body: new FormData(form) });
  // Signed out: the page itself says where to sign in.
  if (answer.redirected) { location.reload(); return null; }
  const said = await answer.json();
  if (said.token) return said.token;
  again(said.problem ?? "The console cannot be opened.", answer.status === 503);
  return null;
}

async function open() {
  clearTimeout(timer);
  say("Connecting …");
  try {
    const secret = await token();
    if (!secret) return;
    const url = new URL(place.dataset.socket, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("token", secret);
    run(new WebSocket(url));
  } catch {
    again("The Hub cannot be reached.", true);
  }
}

function run(next) {
  socket = next;
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", event => {
    if (state.dataset.open !== "yes") {
      state.dataset.open = "yes";
      say("Connected.");
    }
    pause = 1000;
    term.write(decoder.decode(event.data, { stream: true }));
  });
  socket.addEventListener("open", () => {
    connect.hidden = true;
    say("Connected.");
    term.focus();
  });
  socket.addEventListener("close", event => {
    delete state.dataset.open;
    // A sentence means that it was ended on purpose.
    again(event.reason || "The connection was lost.", !event.reason);
  });
}

open();
