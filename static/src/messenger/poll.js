/** A page that stays open asks from time to time whether something done elsewhere opened a message: an envelope without items. */

const ADDRESS = new URL("collect", import.meta.url).href;

/**
 * @typedef {{messages?: import("../tracker/messages.js").Candidate[], poll?: number}} Answer
 * @param {import("../tracker/messages.js").Host} host @param {number} seconds until the first time
 * @param {(answer: Answer) => void} hear @param {AbortSignal} signal
 */
export const poll = (host, seconds, hear, signal) => {
  /** @type {any} */
  let timer;
  const wait = () => {
    timer = setTimeout(ask, seconds * 1e3);
  };
  const ask = async () => {
    // Whoever does not look is asked for again when the time has passed once more.
    if (document.hidden) return wait();
    try {
      const response = await fetch(ADDRESS, { method: "POST", body: host.claim({ items: [] }), signal });
      if (response.status == 202) {
        const answer = await response.json();
        if (signal.aborted) return;
        hear(answer);
        // Without a word of it there is nothing to wait for any more.
        if (!answer.poll) return;
        seconds = answer.poll;
      } else if (response.status < 500 && response.status != 429) return;
    } catch (error) {
      host.log(error);
    }
    if (!signal.aborted) wait();
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  wait();
};
