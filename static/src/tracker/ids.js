/** Random and time-ordered ids. `crypto.subtle` and `randomUUID` are missing on plain http; `getRandomValues` is everywhere. */

/** @param {number} count @param {number} base of which 256 is a multiple, so that no digit is likelier @returns {string} random digits */
const digits = (count, base) => crypto.getRandomValues(new Uint8Array(count)).reduce((text, byte) => text + (byte % base).toString(base), "");

/** @returns {string} 110 random bits, in characters of base64url */
export const token = () => digits(22, 32);

// In hexadecimal fourteen digits, as every time since 2005; clocks that were never set begin earlier, and their ids here.
let last = 4.6e15;

/** @returns {string} a UUIDv7, greater than every one before in this page, also when the clock is set back */
export const uuid = () => {
  // Milliseconds and, behind them, a count of twelve bits; steps of eight stay exact in a double.
  last = Math.max(last + 8, Date.now() * 4096);
  return (0 + last.toString(16) + 8 + digits(15, 16)).replace(/(.{8})(.{4})(...)(.{4})/, "$1-$2-7$3-$4-");
};
