// The serial console: a terminal that is connected to the VM by a WebSocket. Each connection begins with a token that
// this page asks for, which counts once and for a minute.
import { Terminal, fit } from "./xterm.js";

const place = document.getElementById("terminal");
const state = document.getElementById("console-state");
const form = document.getElementById("console-form");
const actions = document.getElementById("console-actions");
const TRY_AGAIN = 4001;
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
const area = place.querySelector("textarea");
if (area) area.setAttribute("aria-label", "Console");

const encoder = new TextEncoder();
const decoder = new TextDecoder();
term.on("data", keys => { if (socket?.readyState === WebSocket.OPEN) socket.send(encoder.encode(keys)); });

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

const connect = add("Reconnect", "", () => { pause = 1000; open(); });
const size = add("Fit the guest’s screen", "quiet", () => {
  fit(term);
  if (socket?.readyState === WebSocket.OPEN)
    socket.send(encoder.encode(`stty rows ${term.rows} cols ${term.cols}\r`));
  term.focus();
});
size.setAttribute("aria-describedby", "console-size-note");
add("Clear", "quiet", () => { term.clear(); term.focus(); });
connect.hidden = true;

function add(title, kind, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = `button small ${kind}`;
  button.textContent = title;
  button.addEventListener("click", act);
  actions.append(button);
  return button;
}

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
  const said = answer.headers.get("Content-Type")?.includes("json") ? await answer.json() : {};
  if (said.token) return said.token;
  again(said.problem ?? "The console cannot be opened.", answer.status === 503);
  return null;
}

async function open() {
  clearTimeout(timer);
  connect.hidden = true;
  const old = socket;
  socket = null;
  old?.close();
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
  next.addEventListener("message", event => {
    if (next !== socket) return;
    if (state.dataset.open !== "yes") {
      state.dataset.open = "yes";
      say("Connected.");
    }
    pause = 1000;
    term.write(decoder.decode(event.data, { stream: true }));
  });
  next.addEventListener("open", () => { if (next === socket) say("Connected."); });
  next.addEventListener("close", event => {
    if (next !== socket) return;
    delete state.dataset.open;
    // A sentence means that it was ended on purpose.
    again(event.reason || "The connection was lost.", !event.reason || event.code === TRY_AGAIN);
  });
}

open();
