// Keeps the part of the page called "live" fresh: the Hub says that something changed, and the page fetches itself again.
// Without this script the page reloads by itself while something is under way.
import { dress } from "./capsul.js";

const live = document.getElementById("live");
const word = document.getElementById("live-word");
let busy = false;
let again = false;
let last = "";

async function look() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected || answer.status === 404) { location.reload(); return; }
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = fresh.getElementById("live");
    if (next && next.innerHTML !== last) replace(next, fresh.title);
  } catch {
    // The network is away; the stream opens again by itself and tells us to look.
  } finally {
    busy = false;
    if (again) { again = false; look(); }
  }
}

function replace(next, title) {
  // Whoever is in the middle of the part keeps the place: focus, open details.
  const focused = live.contains(document.activeElement) ? path(document.activeElement) : null;
  const open = [...live.querySelectorAll("details")].map(d => d.open);
  last = next.innerHTML;
  for (const attribute of next.attributes) live.setAttribute(attribute.name, attribute.value);
  live.replaceChildren(...document.adoptNode(next).childNodes);
  [...live.querySelectorAll("details")].forEach((d, i) => { d.open = open[i] ?? d.open; });
  if (focused) live.querySelector(focused)?.focus({ preventScroll: true });
  document.title = title;
  dress(live);
  say();
}

function path(element) {
  if (element.id) return `#${element.id}`;
  if (element.tagName === "A") return `a[href="${element.getAttribute("href")}"]`;
  const form = element.closest("form");
  return form ? `form[action="${form.getAttribute("action")}"] button` : null;
}

// A screen reader hears the state and the newest step, once each, not the whole part again.
function say() {
  const text = [live.querySelector(".state"), live.querySelector(".progress .now")].map(e => e?.textContent.trim()).filter(Boolean).join(": ");
  if (word && word.textContent !== text) word.textContent = text;
}

function tick() {
  for (const time of live.querySelectorAll("time[data-since]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000));
    time.textContent = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }
}

if (live?.dataset.events) {
  const stream = new EventSource(live.dataset.events);
  let lost = false;
  stream.addEventListener("changed", look);
  stream.addEventListener("error", () => { lost = true; });
  stream.addEventListener("open", () => { if (lost) { lost = false; look(); } });
  addEventListener("pagehide", () => stream.close());
  setInterval(tick, 1000);
}
