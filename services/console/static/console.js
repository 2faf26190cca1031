// Keeps the parts of a page fresh: asks for the fragment once a second while the page is seen, and swaps only what differs.
"use strict";

const PERIOD = 1000;
const root = document.querySelector("[data-live]");

function localTimes(scope) {
  const format = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  for (const time of scope.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    time.title = at.toISOString();
    time.textContent = format.format(at);
  }
}

function swap(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const old = root.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!old || old.dataset.seen === part.innerHTML) continue;
    const open = [...old.querySelectorAll("details[open][id]")].map((details) => details.id);
    const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.dataset.seen = part.innerHTML;
    old.replaceChildren(...document.importNode(part, true).childNodes);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focus) document.getElementById(focus)?.focus();
    localTimes(old);
  }
}

let etag = "";

async function refresh() {
  try {
    const answer = await fetch(root.dataset.live, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
    if (answer.status === 401) return location.reload();
    root.toggleAttribute("data-lost", answer.status >= 400);
    if (answer.status !== 200) return;
    etag = answer.headers.get("ETag");
    swap(await answer.text());
  } catch {
    root.toggleAttribute("data-lost", true);
  }
}

async function keepFresh() {
  if (!document.hidden) await refresh();
  setTimeout(keepFresh, PERIOD);
}

localTimes(document);
if (root) {
  for (const part of root.querySelectorAll("[data-part]")) part.dataset.seen = "";
  keepFresh();
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
}
