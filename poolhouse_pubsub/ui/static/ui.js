"use strict";

// A live page says in data-every after how many seconds to look again. It is fetched whole, and of it only the parts
// with data-live are replaced. A part with the focus or with a selection in it waits, and a hidden tab asks nothing.

const LONGEST_PAUSE_S = 15;
const every = Number(document.body.dataset.every);
const pulse = document.querySelector(".pulse");
let failures = 0;

function inUse(part) {
  const active = document.activeElement;
  const selection = document.getSelection();
  // The focus on a summary is carried over; on a button or a link, a press may be under way.
  return (
    (part.contains(active) && !active.matches("details[id] > summary")) ||
    (!selection.isCollapsed && part.contains(selection.anchorNode))
  );
}

function replace(part, fresh) {
  if (part.innerHTML === fresh.innerHTML || inUse(part)) return;
  const unfolded = [...part.querySelectorAll("details[open][id]")].map((details) => details.id);
  for (const id of unfolded) {
    const same = fresh.querySelector(`#${CSS.escape(id)}`);
    if (same) same.open = true;
  }
  const focused = part.contains(document.activeElement) ? document.activeElement.parentElement.id : "";
  part.replaceChildren(...fresh.childNodes);
  if (focused) part.querySelector(`#${CSS.escape(focused)} > summary`)?.focus();
}

async function look() {
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = page.querySelector(`[data-live="${CSS.escape(part.dataset.live)}"]`);
      if (fresh) replace(part, fresh);
    }
    failures = 0;
  } catch {
    failures += 1;
  }
  pulse.textContent = failures ? "not connected" : "live";
  pulse.classList.toggle("lost", failures > 0);
}

async function follow() {
  if (!document.hidden) await look();
  setTimeout(follow, 1000 * Math.min(LONGEST_PAUSE_S, every * 2 ** failures));
}

// What was done is said once, not again when the page is loaded anew.
if (location.search.includes("done=")) {
  const address = new URL(location.href);
  address.searchParams.delete("done");
  history.replaceState(null, "", address);
}
if (every) {
  pulse.textContent = "live";
  setTimeout(follow, 1000 * every);
}
