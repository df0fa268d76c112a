// The strip "What Leadlight sees": reads leadlight("status") now and then and says it in words. Everything the tracker may leave
// out, it may leave out here too: the strip must never be the reason that the page breaks.
"use strict";

const EVERY_MS = 400;
const SHOWN = 12;
const KEPT = "plainsheet_strip";

const strip = document.getElementById("leadlight-strip");
const part = (name) => document.getElementById(`strip-${name}`);
const panel = part("panel");
const toggle = part("toggle");

// What the strip remembers from page to page of this tab: whether it is open, and the sends of the pages before.
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

// -- reading the status --------------------------------------------------------------------------------------------------------

const list = (value) => (Array.isArray(value) ? value : []);
const text = (value) => (typeof value === "string" || typeof value === "number" ? String(value) : "");

// The name of an entry, whether it is the item itself or wraps it.
function entry(item, state) {
  if (typeof item === "string") return { name: item, state };
  const inner = item.item || item.event || item;
  return {
    id: text(inner.id || item.id),
    name: text(inner.name) || text(inner.type) || text(item.type) || "call",
    at: Number(inner.at || item.at) || 0,
    metadata: inner.metadata || inner.attributes,
    state: text(item.state || item.result) || state,
    reason: text(item.code || item.reason || item.message),
  };
}

// One shape from whatever the status holds; null while only the stub is there.
function readStatus() {
  let status;
  try {
    status = window.leadlight && window.leadlight("status");
  } catch {
    return null;
  }
  if (!status || typeof status !== "object") return null;
  const lead = status.lead && typeof status.lead === "object" ? status.lead.id : status.lead || status.lead_id;
  const user = status.user && typeof status.user === "object" ? status.user.id : status.user || status.user_id;
  const consent = status.consent && typeof status.consent === "object" ? status.consent.state : status.consent;
  return {
    lead: text(lead).split(".")[0],
    user: text(user),
    consent: text(consent),
    entries: [
      ...list(status.waiting || status.queued || status.queue).map((item) => entry(item, "waiting")),
      ...list(status.sent || status.recent).map((item) => entry(item, "sent")),
      ...list(status.refused || status.refusals).map((item) => entry(item, "refused")),
      ...list(status.held).map((item) => entry(item, "held back")),
    ],
  };
}
