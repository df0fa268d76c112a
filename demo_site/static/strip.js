// The strip "What Leadlight sees": reads leadlight("status") now and then and says it in words. Everything the tracker may leave
// out, it may leave out here too: the strip must never be the reason that the page breaks.
"use strict";

const EVERY_MS = 400;
const MOST_ENTRIES = 15;
const KEPT = "plainsheet_strip";
// A page view is written down by the tracker once the title had time to change; before that an empty queue says nothing about it.
const SETTLED_MS = 1200;
const WHY_HELD = {
  opted_out: "you asked not to be tracked here",
  gpc: "your browser sends Global Privacy Control",
  dnt: "your browser sends Do Not Track",
  consent_required: "waiting for your consent",
  consent_denied: "this site does not track",
  automation: "a program drives this browser",
};

const strip = document.getElementById("leadlight-strip");
const part = (name) => document.getElementById(`strip-${name}`);
const panel = part("panel");
const toggle = part("toggle");

// What the strip remembers from page to page of this tab: whether it is open, what was sent, and whom the collector knows.
function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT)) || {};
  } catch {
    return {};
  }
}
function remember(change) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify({ ...remembered(), ...change }));
  } catch {
    // Without storage the list starts anew on each page.
  }
}

function setOpen(open) {
  panel.hidden = !open;
  toggle.setAttribute("aria-expanded", String(open));
  remember({ open });
}
toggle.addEventListener("click", () => setOpen(panel.hidden));
strip.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !panel.hidden) {
    setOpen(false);
    toggle.focus();
  }
});

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// -- what this tab did ---------------------------------------------------------------------------------------------------------

// Entries are `{name, about, at, state}`, newest first. What a page tells Leadlight is known here without asking the tracker, which
// reports numbers, not names: the page's own calls, its address, and what site.js tracks.
let entries = Array.isArray(remembered().entries) ? remembered().entries : [];

function note(name, about) {
  entries = [{ name, about, at: Date.now(), state: "waiting" }, ...entries].slice(0, MOST_ENTRIES);
  remember({ entries });
}

note("page-view", location.pathname);
for (const [method, first, second] of JSON.parse(strip.dataset.calls)) {
  if (method === "reset") note("reset", "a new visitor from here on");
  if (method === "track") note(first, second);
  if (method === "identify") {
    // The tracker sends attributes when they have changed, not with every page, and so the list shows them then.
    const { user_hash: _proof, ...attributes } = second;
    const said = JSON.stringify([first, attributes]);
    if (remembered().said !== said) note("identify", { user_id: first, ...attributes });
    remember({ said });
  }
}
document.addEventListener("plainsheet:tracked", ({ detail }) => note(detail.name, detail.metadata));
addEventListener("pageshow", (event) => {
  if (event.persisted) {
    entries = remembered().entries || entries;
    note("page-view", location.pathname);
  }
});

// -- what the tracker says -----------------------------------------------------------------------------------------------------

// null while only the stub is there, or when the script was blocked.
function readStatus() {
  try {
    const status = window.leadlight("status");
    return status && typeof status === "object" ? status : null;
  } catch {
    return null;
  }
}

function settleEntries(status) {
  const empty = !status.queued && !status.retry_at;
  for (const entry of entries) {
    if (entry.state !== "waiting") continue;
    if (status.held) entry.state = "held back";
    else if (empty && Date.now() - entry.at > SETTLED_MS) entry.state = "sent";
  }
  remember({ entries });
}

// -- saying it -----------------------------------------------------------------------------------------------------------------

function showWho(status) {
  const who = part("who");
  const { user, lead } = status;
  who.textContent = user ? `User ${user}` : lead ? `Visitor ${lead}` : "Nobody";
  who.title = who.textContent;
  who.classList.toggle("is-user", Boolean(user));
  // The profile exists once the collector has had something of this person.
  const person = user ? `user_id=${encodeURIComponent(user)}` : lead ? `lead=${encodeURIComponent(lead)}` : "";
  if (person && status.sent) remember({ known: person });
  const profile = part("profile");
  profile.hidden = !person || remembered().known !== person;
  if (!profile.hidden) profile.href = `${strip.dataset.collector}/console/people/find?${person}`;
}

function showLast(status) {
  const waiting = status.queued ? `, ${status.queued} waiting` : "";
  const held = status.held ? `Nothing is sent: ${WHY_HELD[status.held] || status.held}` : "";
  const last = entries[0];
  part("last").textContent = held || `${last.name} ${last.state}${last.state === "sent" ? waiting : ""}`;
}

function showFacts(status) {
  const facts = {
    "User id": status.user || "none on this page",
    "Visitor id": status.lead || "none",
    Tracking: status.held ? `off: ${WHY_HELD[status.held] || status.held}` : "on",
    "Acknowledged on this page": status.sent || 0,
    Waiting: status.queued || 0,
  };
  if (status.dropped) facts["Lost, as the store was full"] = status.dropped;
  const refused = Array.isArray(status.refused) ? status.refused : [];
  if (refused.length) facts.Refused = refused.map(({ code, field }) => [code, field].filter(Boolean).join(" ")).join(", ");
  part("facts").replaceChildren(
    ...Object.entries(facts).map(([name, value]) => {
      const row = document.createElement("div");
      row.append(element("dt", name), element("dd", String(value)));
      return row;
    }),
  );
}

function showEntries() {
  part("sends").replaceChildren(
    ...entries.map(({ name, about, at, state }) => {
      const row = document.createElement("li");
      const details = typeof about === "string" ? about : JSON.stringify(about);
      const code = element("code", details || "");
      code.title = details || "";
      row.append(
        element("time", new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" })),
        element("b", name),
        code,
        element("span", state, `strip-state is-${state.replace(" ", "-")}`),
      );
      return row;
    }),
  );
}

function showConsent(status) {
  part("opt-out").hidden = Boolean(status.held);
  part("opt-in").hidden = !status.held || status.held === "automation";
}

part("opt-out").addEventListener("click", () => window.leadlight("optOut"));
part("opt-in").addEventListener("click", () => window.leadlight("optIn"));

// Drawn only when something has changed, so that text can be selected and nothing is read out twice.
let drawn = "";
function draw() {
  const status = readStatus();
  if (status) settleEntries(status);
  const now = JSON.stringify([status, entries]);
  if (now === drawn) return;
  drawn = now;
  showEntries();
  if (!status) {
    part("last").textContent = "The tracker has not answered yet. The site works without it.";
    return;
  }
  showWho(status);
  showLast(status);
  showFacts(status);
  showConsent(status);
}

if (remembered().open) setOpen(true);
draw();
setInterval(() => {
  if (document.visibilityState === "visible") draw();
}, EVERY_MS);
