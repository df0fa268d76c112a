/**
 * From the queue to the collector. An item leaves the queue only when an answer says that it is on disk or refused for good; the ids make
 * repeats harmless, so that whatever is in doubt is sent again.
 */
import { attempt, base, log, prefix, site } from "./options.js";
import { get, remove, set } from "./store.js";
import { add, lost, mine, ranked, refuse, row, waiting } from "./queue.js";
import { choice, counted, held } from "./consent.js";
import { lead, rotate, saveSession, session, user } from "./sender.js";
import { encode, write } from "./json.js";

/** @typedef {import("./queue.js").Row} Row */

const SOON = 300;
const EXIT = 15e3; // with the envelope around it 16 KB: a quarter of what all keepalive requests of a page share
const KEEPALIVE = 2e4; // characters, each of three bytes at most
const ORPHAN = 1e4;
const ADDRESS = base + "collect";

// Taken before the page wraps it.
const { fetch } = window;

/** Senders whose items wait until their user is proved, and keys of items that nothing lets through: the next page tries again. @type {Set<string>} */
const parked = new Set();

/** How many items were acknowledged in this page. */
export let sent = 0;

/** Not before this time (ms), after a failure. */
export let retryAt = 0;

/** Collector's clock minus the browser's (ms), from the quickest answer. @type {number | undefined} */
let offset;
let quickest = 2e4; // a longer one was slept through

/** The newest key that went out at an exit: it is not sent again at the next one. */
let gone = "";

/** @type {any} */
let timer;
let due = Infinity;
let failures = 0;
let batch = 5e4; // bytes, which are far fewer items than the wire allows
let busy = false;

/** Whether the first items had better wait. @type {() => boolean} */
let unsettled;
/** @type {(answer: any, rows: Row[]) => void} */
let offer;
/** Looks at what pages on sibling hosts did; given something, the collector says that the browser asks not to be tracked. @type {(gpc?: any) => void} */
export let look;

/** @param {number} [wait] ms until the queue is sent; an earlier appointment stays */
export const wake = (wait = SOON) => {
  const at = Math.max(Date.now() + wait, retryAt);
  if (at < due) {
    clearTimeout(timer);
    due = at;
    timer = setTimeout(flush, at - Date.now());
  }
};

/** @param {Record<string, any>} item */
export const record = (item) => {
  look();
  add(item);
  wake();
};

/**
 * What stands around items and claims.
 * @param {import("./sender.js").Sender} from
 */
export const envelope = (from) => {
  const kept = session();
  // Proof given later for the same user serves what was tracked before it.
  const who = user?.id == from.user?.id ? user : from.user;
  return {
    v: 1,
    site,
    lead: from.lead,
    user: who && { ...who, session: kept.id == who.id && kept.lead == from.lead ? kept.token : undefined },
    sent_at: Date.now(),
    offset,
    consent: choice[0] == "i" ? "granted" : undefined,
    automation: counted,
  };
};

/** @param {Row[]} rows @param {any} head */
const body = (rows, head) => write(head).slice(0, -1) + `,"items":[${rows.map(([, text]) => text)}]}`;

/**
 * The items of one envelope: those of the first key's sender.
 * @param {string[]} keys @param {number} room in bytes @param {any} [exit] whether what has no room is passed over
 * @returns {Row[]}
 */
const pick = (keys, room, exit) => {
  /** @type {Row[]} */
  const rows = [];
  for (const key of keys) {
    const next = row(key);
    if (!next) remove(key);
    else if (!parked.has(next[2]) && !parked.has(key) && next[2] == (rows[0] || next)[2]) {
      const size = encode(next[1]).length;
      if (size <= room || (!exit && !rows[0])) {
        room -= size;
        rows.push(next);
      } else if (!exit) break;
    }
  }
  return rows;
};

/** @param {Row[]} rows @returns {Promise<boolean>} whether the next envelope may follow at once */
const post = async (rows) => {
  /** @type {any} */
  const head = { ...envelope(rows[0][3]), dropped: lost() || undefined };
  const { user: who, sent_at } = head;
  const text = body(rows, head);
  /** @type {any} */
  let answer = {};
  /** @type {any} */
  let status;
  let after = 0;
  try {
    const response = await fetch(ADDRESS, {
      method: "POST",
      body: text, // a string goes as text/plain, which asks for no preflight
      // The allowance for keepalive is small and shared with the page; where it is used up, the request fails at once.
      keepalive: !failures && text.length < KEEPALIVE,
      signal: AbortSignal.timeout?.(3e4),
    });
    status = response.status;
    after = Math.min(/** @type {any} */ (response.headers.get("Retry-After")) * 1e3 || 0, 36e5);
    answer = Object(await response.json());
  } catch (error) {
    log(error);
  }
  log(status, answer);
  const { session: given, time, refused = [] } = answer;
  const ours = answer.type == "error.list";
  // Where the answer is somebody else's (a proxy's), its status is the reason.
  const reasons = (ours ? answer.errors : status == 202 ? refused : [{ code: "http_" + status }]) || [];
  const { code, field: about } = Object(reasons[0]);
  // A firewall in between says 202 and 403 too; the collector gives its time, and its errors.
  const walled = status == 403 && !ours;
  // Smaller each time, also where most of it is the envelope.
  if ((status == 413 || walled) && rows[1]) batch = Math.min(batch, text.length) / 2;
  // It may dislike a single item: that waits for the next page, while the others pass.
  else if (walled) parked.add(rows[0][0]);
  if (status == 413 && rows[1]) return true;
  // A session that has ended, or a proof that is wrong: it may come right.
  if (/40[13]/.test(status) && /^user/.test(about)) parked.add(rows[0][2]);
  // A collector that does not know this version of the wire (`v`) is older than this script, and will be upgraded.
  else if (status == 202 ? time : /40[03]|41[03]|422/.test(status) && !walled && about != "v") for (const [key] of rows) remove(key);
  else {
    retryAt = Date.now() + Math.max(after, Math.min(1e3 * 2 ** failures++, 3e5) * (0.5 + Math.random() / 2));
    // Asked to wait, the next page waits too.
    if (after) set("wait", retryAt);
    return false;
  }
  failures = retryAt = 0;
  look(code == "consent_withheld");
  if (status == 202) {
    const trip = Date.now() - sent_at;
    // A clock that was set meanwhile makes a trip that teaches nothing.
    if (trip >= 0 && trip < quickest) {
      quickest = trip;
      offset = Math.round(time - sent_at - trip / 2);
    }
    sent += rows.length;
    if (head.dropped) set("lost", Math.max(0, lost() - head.dropped));
    // A reset in the meantime wiped the user; an answer on its way does not bring it back.
    if (given && session().id == who?.id) saveSession({ ...given, id: who.id, lead: head.lead });
    offer(answer, rows);
  }
  for (const reason of reasons) refuse(reason.code, reason.field, rows[reason.index]);
  if ((answer.lead || about == "lead") && head.lead == lead()) rotate();
  return true;
};

/** @param {any} [lock] who holds it also sends what closed tabs left, also under a clock that was ahead; the others send their own only */
const round = async (lock) => {
  try {
    let rows;
    do {
      rows = pick(waiting().filter((key) => mine(key) || (lock && Math.abs(Date.now() - parseInt(key.slice(2).replace("-", ""), 16)) > ORPHAN)), batch);
    } while (!held && rows[0] && (await post(rows)) && !unsettled());
  } catch (error) {
    log(error);
  }
};

/** Sends what waits. */
export const flush = async () => {
  due = Infinity;
  look();
  if (busy || held || unsettled()) return;
  busy = true;
  try {
    // Asking for the lock costs a millisecond; for what this tab left itself nobody has to be asked.
    await (waiting().every(mine) ? round() : navigator.locks.request(prefix, { ifAvailable: true }, round));
  } catch {
    // no locks on plain http and in sandboxes; the ids absorb what several tabs send
    await round(1);
  }
  busy = false;
  // After a failure; or another tab left them, and may still be alive.
  if (waiting()[0]) wake(retryAt ? 0 : ORPHAN);
};

/** The page may end now: the newest events first, page views after them, without an answer. They stay in the queue. */
export const exit = () => {
  if (held || Date.now() < retryAt) return;
  let keys = waiting().filter((key) => mine(key) && key > gone).reverse();
  gone = keys[0] || gone;
  ranked(keys);
  let room = EXIT;
  /** @type {Row[]} */
  let rows;
  while ((rows = pick(keys, room, 1).sort())[0]) {
    const text = body(rows, envelope(rows[0][3]));
    log(text);
    attempt(() => navigator.sendBeacon(ADDRESS, text));
    room -= encode(text).length;
    keys = keys.filter((key) => !rows.some((went) => went[0] == key));
  }
};

/** A user is identified (again): what waited for that goes on. What waits for somebody else is parked again by its answer. */
export const unpark = () => {
  parked.clear();
  wake();
};

/** The network is back, or the page is. What the collector asked for holds. */
export const hurry = () => {
  // An hour at most, also where the clock was set back since.
  retryAt = Math.min(+(/** @type {any} */ (get("wait"))) || 0, Date.now() + 36e5);
  wake(0);
};

/** @param {typeof unsettled} waits @param {typeof offer} offered @param {typeof look} looks the modules that build on this one */
export const attach = (waits, offered, looks) => {
  unsettled = waits;
  offer = offered;
  look = looks;
  hurry();
};
