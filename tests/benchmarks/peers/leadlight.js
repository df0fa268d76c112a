// Loaded by its own script tag, as a site does it.
window.bench = {
  view: () => leadlight("page"),
  track: (n) => leadlight("track", "bench-event", { n, plan: "pro", item: "Desk lamp" }),
  identify: () => leadlight("identify", "user-1", { name: "Ada", email: "ada@example.com" }),
};
