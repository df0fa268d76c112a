/**
 * Stands for the script tag in tracker.mjs: a module has no `document.currentScript`, but knows its own address. Options come from
 * `leadlightSettings`. The build puts it in.
 */
export const SELF = { src: import.meta.url, getAttribute: () => null };
