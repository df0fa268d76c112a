/** Random and time-ordered ids. `crypto.subtle` and `randomUUID` are missing on plain http; `getRandomValues` is everywhere. */

const random = () => [...crypto.getRandomValues(new Uint8Array(16))];

/** @returns {string} 16 random bytes as 22 characters of base64url; two of its signs are one here, which costs a fraction of a bit */
export const token = () => btoa(String.fromCharCode(...random())).slice(0, 22).replace(/[+/]/g, "-");

let last = 0;

/** @returns {string} a UUIDv7, greater than every one before in this page, also when the clock is set back */
export const uuid = () => {
  // Milliseconds and, behind them, a count of twelve bits; steps of eight stay exact in a double.
  last = Math.max(last + 8, Date.now() * 4096);
  return (last.toString(16).padStart(15, "0") + 8 + random().slice(1).map((byte) => (byte & 15).toString(16)).join(""))
    .replace(/(.{8})(.{4})(...)(.{4})/, "$1-$2-7$3-$4-");
};
