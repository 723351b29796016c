// What the console and the screen of a VM have in common: a WebSocket to it, which is opened again when it breaks. Each
// connection begins with a token that the page asks for, which counts once and for a minute.
const state = document.getElementById("view-state");
const form = document.getElementById("view-form");
const actions = document.getElementById("view-actions");
const TRY_AGAIN = 4001, ENDED = 1000;
const LONGEST_PAUSE = 15_000;

let use = null;
let socket = null;
let pause = 1000;
let timer = 0;

const connect = add("Reconnect", "", () => { pause = 1000; open(); });
connect.hidden = true;

/** Connects for as long as the page is open; each new WebSocket is given to `take`. */
export function begin(take) {
  use = take;
  open();
}

/** A button at the top. */
export function add(title, kind, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = `button small ${kind}`;
  button.textContent = title;
  button.addEventListener("click", act);
  actions.append(button);
  return button;
}

/** It works: the next break is mended at once. */
export function settle() { pause = 1000; }

/** Says something to the person. */
export function say(text) { state.textContent = text; }

/** Sends bytes, if there is a connection. */
export function send(bytes) { if (socket?.readyState === WebSocket.OPEN) socket.send(bytes); }

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
  again(said.problem ?? "It cannot be opened.", answer.status === 503);
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
    const url = new URL(form.dataset.socket, location.href);
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
  next.addEventListener("open", () => { if (next === socket) say("Connected."); });
  next.addEventListener("message", () => {
    if (next !== socket) return;
    if (state.dataset.open !== "yes") {
      state.dataset.open = "yes";
      say("Connected.");
    }
  });
  next.addEventListener("close", event => {
    if (next !== socket) return;
    delete state.dataset.open;
    // The Hub always says why it ends something; without that, this page did, because it did not understand it.
    if (event.code === ENDED && !event.reason) again("It cannot be shown in this browser.", false);
    else again(event.reason || "The connection was lost.", !event.reason || event.code === TRY_AGAIN);
  });
  use(next);
}
