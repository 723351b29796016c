// Keeps the part of the page called "live" up to date: the Hub sends an event for each change, and the page fetches
// itself again. Without this script the page reloads periodically while an operation is running.
import { dress } from "./capsul.js";

const live = document.getElementById("live");
const word = document.getElementById("live-word");
const RETRY = 30_000;
let busy = false;
let again = false;

// What the Hub last sent for each piece (the children of the part): an unchanged one is left alone, with its focus.
let sent = live && pieces(live);

async function look() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    // Signed out, or deleted: a reload shows the right page.
    if (answer.redirected || answer.status === 404) { location.reload(); return; }
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = fresh.getElementById("live");
    if (next) replace(next, fresh.title);
  } catch {
    // The network is down; the stream reconnects by itself and triggers an update.
  } finally {
    busy = false;
    if (again) { again = false; look(); }
  }
}

function pieces(part) {
  return new Map([...part.children].map((e, i) => [e.id || `#${i}`, e.outerHTML]));
}

function replace(next, title) {
  const had = live.contains(document.activeElement);
  const focused = had ? path(document.activeElement) : null;
  const fresh = pieces(next);
  const old = new Map([...live.children].map((e, i) => [e.id || `#${i}`, e]));
  const children = [...next.children].map((e, i) => {
    const key = e.id || `#${i}`;
    if (sent.get(key) === fresh.get(key) && old.has(key)) return old.get(key);
    if (old.get(key)?.open !== undefined) e.open = old.get(key).open;
    for (const details of e.querySelectorAll("details[id]"))
      details.open = document.getElementById(details.id)?.open ?? details.open;
    return document.adoptNode(e);
  });
  sent = fresh;
  for (const attribute of next.attributes) live.setAttribute(attribute.name, attribute.value);
  // Remove first, so that nothing that stays has to move, which would take the focus from it.
  for (const child of [...live.children]) if (!children.includes(child)) child.remove();
  children.forEach((child, i) => {
    if (live.children[i] !== child) live.insertBefore(child, live.children[i] ?? null);
  });
  dress(live);
  if (had && !live.contains(document.activeElement)) refocus(focused);
  document.title = title;
  say();
}

// Focuses the same element, or its replacement; if it is gone, the heading, never the top of the document.
function refocus(focused) {
  const heading = live.querySelector("h1") ?? document.querySelector("h1");
  heading.tabIndex = -1;
  ((focused && live.querySelector(focused)) || heading).focus({ preventScroll: true });
}

function path(element) {
  if (element.id) return `#${element.id}`;
  if (element.tagName === "A") return `a[href="${element.getAttribute("href")}"]`;
  const box = element.closest("[id]");
  return box && box !== live ? `#${box.id} ${element.tagName.toLowerCase()}` : null;
}

// Screen readers announce the state and the newest step, once each, not the whole part again.
function say() {
  const text = [live.querySelector(".state"), live.querySelector(".progress .now")]
    .map(e => e?.textContent.trim()).filter(Boolean).join(": ");
  if (word && word.textContent !== text) word.textContent = text;
}

function tick() {
  for (const time of live.querySelectorAll("time[data-since]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000));
    time.textContent = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }
}

function listen() {
  const url = new URL(live.dataset.events, location.href);
  const stream = new EventSource(url);
  let lost = false;
  stream.addEventListener("changed", look);
  stream.addEventListener("error", () => {
    lost = true;
    // Refused, so the browser does not retry: the session has ended, or too many pages are open.
    if (stream.readyState === EventSource.CLOSED) { look(); setTimeout(listen, RETRY); }
  });
  stream.addEventListener("open", () => { if (lost) { lost = false; look(); } });
  addEventListener("pagehide", () => stream.close());
}

if (live?.dataset.events) {
  listen();
  setInterval(tick, 1000);
}
