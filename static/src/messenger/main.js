/**
 * The messenger: waits for what opens the messages that may be shown in this view, claims the best of them and shows it. One at a time in a
 * page; the next view ends it. Loaded by tracker.js, which hands over what it may ask of it.
 */
import { arms } from "./arm.js";
import { claim } from "./claim.js";
import { blocked, until } from "./page.js";
import { poll } from "./poll.js";
import { show } from "./show.js";

/**
 * @typedef {import("../tracker/messages.js").Host} Host
 * @typedef {import("../tracker/messages.js").Candidate} Candidate
 * @typedef {object} Stay one view until it ends: the next one begins, the user leaves, or the consent is withdrawn
 * @property {string} view
 * @property {AbortSignal} signal
 * @property {() => boolean} over
 * @property {Candidate[]} waiting what is to be claimed, best first
 * @property {string[]} ranked messages in the order they were named in
 * @property {Set<string>} armed messages that wait for something to happen
 * @property {{id: string, here: AbortController}} [shown] what is on show or about to be; withdrawn, it goes while the stay goes on
 * @property {boolean} busy whether something is claimed or shown
 * @property {boolean} polls
 */

/** @type {Stay | undefined} */
let present;

/** @param {Host} host @returns {Stay} */
const begin = (host) => {
  host.end?.();
  const end = new AbortController();
  const view = host.view();
  host.end = () => end.abort();
  const over = () => end.signal.aborted || host.view() != view;
  return { view, signal: end.signal, over, waiting: [], ranked: [], armed: new Set(), busy: false, polls: false };
};

/** @param {Host} host @param {Stay} stay */
const work = async (host, stay) => {
  const { over, waiting } = stay;
  while (waiting[0]) {
    // Claiming is what counts as sent, so it waits for somebody to look and for the page's own dialogs to go.
    await until(() => over() || !blocked());
    if (over()) return;
    const message = await claim(host, /** @type {Candidate} */ (waiting.shift()), over).catch(host.log);
    if (over()) return;
    if (message) {
      const here = new AbortController();
      stay.signal.addEventListener("abort", () => here.abort());
      stay.shown = { id: message.id, here };
      await until(() => here.signal.aborted || !blocked());
      if (over()) return;
      if (here.signal.aborted) continue;
      // A test counts nowhere: neither what becomes of it nor the events of its buttons.
      await show(message.test ? { ...host, record() {}, track() {} } : host, message, here.signal);
      if (over()) return;
      // What else the page brought up is named again by the next answer, if the caps still allow it; what happened meanwhile happened once.
      waiting.splice(0, waiting.length, ...waiting.filter(({ trigger }) => arms[trigger || ""]));
    }
  }
};

/** @param {Host} host @param {Stay} stay @param {Candidate} candidate may be claimed now */
const open = (host, stay, candidate) => {
  const { waiting, ranked } = stay;
  if (!waiting.some(({ id }) => id == candidate.id)) waiting.push(candidate);
  waiting.sort((one, other) => ranked.indexOf(one.id) - ranked.indexOf(other.id));
  if (stay.busy) return;
  stay.busy = true;
  work(host, stay)
    .catch(host.log)
    .then(() => {
      stay.busy = false;
    });
};

/** @param {Host} host @param {Stay} stay @param {Candidate} candidate @param {import("./arm.js").Arm} arm */
const wait = (host, stay, candidate, arm) => {
  const { signal, armed } = stay;
  if (armed.has(candidate.id)) return;
  armed.add(candidate.id);
  const done = new AbortController();
  signal.addEventListener("abort", () => done.abort());
  const fire = () => {
    done.abort();
    armed.delete(candidate.id);
    open(host, stay, candidate);
  };
  arm(candidate, stay.view, fire, done.signal);
};

/**
 * @param {Host} host
 * @param {Candidate[]} candidates what may be claimed in the view now shown, at once or when something happens in it, best first
 * @param {number} [seconds] until the collector is asked what may be claimed then
 */
export const offer = (host, candidates, seconds) => {
  if (!present || present.over()) present = begin(host);
  const stay = present;
  const named = candidates.map(({ id }) => id);
  stay.ranked = [...named, ...stay.ranked.filter((id) => !named.includes(id))];
  for (const candidate of candidates) {
    if (candidate.trigger == "withdrawn") {
      if (candidate.id == stay.shown?.id) stay.shown.here.abort();
      continue;
    }
    const arm = arms[candidate.trigger || ""];
    if (arm) wait(host, stay, candidate, arm);
    else open(host, stay, candidate);
  }
  if (seconds && !stay.polls) {
    stay.polls = true;
    poll(host, seconds, (answer) => {
      stay.polls = !!answer.poll;
      offer(host, answer.messages || []);
    }, stay.signal);
  }
};
