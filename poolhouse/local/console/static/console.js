import "./keys.js";
import { localize } from "./times.js";

// A live page says in data-every after how many seconds to look again. It is fetched whole and only what differs is
// changed, so that the focus, a selection, what is typed and what is unfolded stay. A hidden tab sends no requests.

const LONGEST_PAUSE_S = 15;
let timer = 0;
let failures = 0;

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id : "";
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && !keyOf(one) && !keyOf(other);
}

function changeAttributes(element, fresh) {
  // What is unfolded is the reader's choice, not the page's.
  const kept = element.nodeName === "DETAILS" ? "open" : "";
  for (const { name } of [...element.attributes])
    if (name !== kept && !fresh.hasAttribute(name)) element.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (name !== kept && element.getAttribute(name) !== value) element.setAttribute(name, value);
}

function change(node, fresh) {
  if (node.isEqualNode(fresh)) return;
  if (node.nodeType !== Node.ELEMENT_NODE) {
    node.nodeValue = fresh.nodeValue;
    return;
  }
  changeAttributes(node, fresh);
  const staying = new Set([...fresh.children].map(keyOf));
  const known = new Map();
  for (const child of [...node.children]) {
    const key = keyOf(child);
    if (key && !staying.has(key)) child.remove();
    else if (key) known.set(key, child);
  }
  let next = node.firstChild;
  for (const child of [...fresh.childNodes]) {
    const found = known.get(keyOf(child)) || (next && alike(next, child) ? next : null);
    if (!found || found.nodeName !== child.nodeName) {
      node.insertBefore(document.importNode(child, true), next);
      continue;
    }
    if (found === next) next = next.nextSibling;
    else node.insertBefore(found, next);
    change(found, child);
  }
  while (next) {
    const rest = next.nextSibling;
    next.remove();
    next = rest;
  }
}

async function look() {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!fresh.getElementById("main")) throw new Error("no page");
    localize(fresh);
    for (const id of ["main", "places", "stack"]) change(document.getElementById(id), fresh.getElementById(id));
    document.title = fresh.title;
    if (fresh.body.dataset.every) document.body.dataset.every = fresh.body.dataset.every;
    else delete document.body.dataset.every;
    failures = 0;
  } catch {
    failures += 1; // the console is away: it may come back
  }
  document.body.classList.toggle("away", failures > 0);
  wait();
}

function wait() {
  clearTimeout(timer);
  const every_s = Number(document.body.dataset.every);
  if (every_s && !document.hidden)
    timer = setTimeout(look, 1000 * Math.min(every_s * 2 ** failures, Math.max(every_s, LONGEST_PAUSE_S)));
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden && document.body.dataset.every) look();
});

document.addEventListener("change", ({ target }) => {
  if (target.matches("form[data-auto] select")) target.form.requestSubmit();
  if (target.dataset.all)
    for (const box of document.getElementsByName(target.dataset.all)) box.checked = target.checked;
});

document.addEventListener("click", async ({ target }) => {
  if (target.dataset.copy === undefined) return;
  await navigator.clipboard.writeText(target.dataset.copy);
  target.classList.add("done");
  setTimeout(() => target.classList.remove("done"), 1200);
});

// On a narrow screen the places are wider than it.
document.querySelector("#places [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// What was done is shown for a while; a page that looks again then leaves it out.
const here = new URL(location.href);
if (here.searchParams.has("note"))
  setTimeout(() => {
    here.searchParams.delete("note");
    history.replaceState(null, "", here);
  }, 6000);

document.documentElement.classList.add("scripted");
localize(document);
wait();
