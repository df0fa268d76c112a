/** What a guest in somebody's page does with errors, and what it says in the console. */

/** @typedef {(...given: any[]) => any} Fn */

/** @type {Set<string>} */
const said = new Set();

/** @param {string} words said once */
export const say = (words) => {
  if (!said.has(words)) console.info("Leadlight: " + words);
  said.add(words);
};

/** @param {Fn} work @param {...any} given @returns {any} what it gave, or nothing where it threw */
export const run = (work, ...given) => {
  try {
    return work(...given);
  } catch (error) {
    console.error(error);
  }
};
