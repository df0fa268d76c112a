import { OpenPanel } from "@openpanel/web";

const op = new OpenPanel({ apiUrl: COLLECTOR, clientId: "0123", trackScreenViews: true });
window.bench = {
  view: () => op.screenView(location.pathname),
  track: (n) => op.track("bench-event", { n, plan: "pro", item: "Desk lamp" }),
  identify: () => op.identify({ profileId: "user-1", firstName: "Ada", email: "ada@example.com" }),
};
