// Single keys: they act unless something is being typed, and a person can turn them off in their list (`?`).

const OFF = "keys-off";
const list = document.getElementById("keys");
const choice = document.getElementById("keys-on");
let led = false; // whether the key before was `g`
let place = -1;

function rows() {
  const found = document.querySelectorAll("#main tbody tr, #main .types > li");
  return [...found].filter((row) => row.querySelector("a[href]"));
}

function step(by) {
  const all = rows();
  const focused = all.findIndex((row) => row.contains(document.activeElement));
  // A live page may have taken the row with the focus away: what is there now is the next one.
  place = Math.min(Math.max((focused < 0 ? place : focused) + by, 0), all.length - 1);
  all[place]?.querySelector("a[href]").focus();
}

function search() {
  const field = document.querySelector("#main [type=search]");
  if (!field) return location.assign("/tasks#search");
  field.focus();
  field.select();
}

const ACTS = {
  "/": search,
  "?": () => list.showModal(),
  j: () => step(1),
  k: () => step(-1),
  x: () => document.activeElement.closest("tr")?.querySelector("[type=checkbox]")?.click(),
  u: () => document.querySelector("#main .crumb a")?.click(),
  g: () => (led = true),
};

function isTyped(target) {
  return target.matches("textarea, select, input:not([type=checkbox])") || target.isContentEditable;
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (list.open || isTyped(target) || !choice.checked) return;
  const link = led && document.querySelector(`#places [data-key="${CSS.escape(key)}"]`);
  led = false;
  if (!link && !Object.hasOwn(ACTS, key)) return;
  event.preventDefault(); // `/` must not be typed into the field that it leads to
  if (link) link.click();
  else ACTS[key]();
});

document.addEventListener("click", ({ target }) => {
  if (target.closest("[data-shows-keys]")) list.showModal();
});

choice.checked = localStorage.getItem(OFF) === null;
choice.addEventListener("change", () => {
  if (choice.checked) localStorage.removeItem(OFF);
  else localStorage.setItem(OFF, "1");
});

if (location.hash === "#search") {
  history.replaceState(null, "", location.pathname + location.search);
  search();
}
