// Times in the viewer's own zone. Pages come with UTC: what is read is changed here, and hovering still shows UTC.

// The locale that writes dates as ISO 8601 does.
const moment = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat("sv-SE", { timeStyle: "medium" });
const zoned = new Intl.DateTimeFormat("en", { timeZoneName: "short" });

function zone(at) {
  return zoned.formatToParts(at).find(({ type }) => type === "timeZoneName").value;
}

export function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (isNaN(at)) continue;
    if (time.classList.contains("clock")) time.textContent = clock.format(at);
    else if (time.classList.contains("moment")) time.textContent = `${moment.format(at)} ${zone(at)}`;
    else if (!time.title.includes("\n")) time.title = `${moment.format(at)} ${zone(at)}\n${time.title}`;
  }
}
