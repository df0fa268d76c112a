/** The public interface: `window.leadlight(method, ...)`, what it answers, and the npm package that calls it. */

declare namespace Leadlight {
  /** Options, as `data-` attributes of the script tag (with `-` for `_`) or in `window.leadlightSettings`. */
  interface Settings {
    /** The public site key. Also `tracker.js?site=KEY`. */
    site?: string;
    /** What holds until the visitor chooses: `granted` (the default), `required` or `denied`. */
    consent?: "granted" | "required" | "denied";
    /** The domain of the lead cookie; `none` for this host only. Without it the widest one the browser takes. */
    cookie_domain?: string;
    /** The site's other domains: links there take the visitor along. The pages there name this one. */
    link_domains?: string | string[];
    /** Names of query parameters that may leave the page, besides `utm_*`, `ref` and click ids. */
    query?: string | string[];
    /** Count a change of the hash as a page view, and send the hash. */
    hash?: boolean;
    /** The page's `<link rel="canonical">` is its address, where it is of the same host. For routers that keep it up to date. */
    canonical?: boolean;
    /** Track inside frames. */
    frames?: boolean;
    /** Somebody of the staff looks at the page as a customer: nothing is tracked, shown or used up. */
    impersonated?: boolean;
    /** `count`: a browser driven by a program is counted (for a site's own tests). */
    automation?: "count";
    /** Say in the console what happens. Also `?leadlight_debug=1`. */
    debug?: boolean;
    /** Nothing is tracked while this is true. A setting only, which may change at any time. */
    paused?: boolean;
    /** No message is shown while this is true. A setting only, which may change at any time. */
    hide_messages?: boolean;
    /** What to read address and attributes of where tracker.js is imported, so that it has no tag. A setting only. */
    script?: Pick<HTMLScriptElement, "src" | "dataset"> | null;
  }

  /** Values that are none of these are replaced or dropped; they never throw. */
  type Value = string | number | boolean | bigint | Date | Error | null | undefined | { [key: string]: Value } | Value[];

  interface Attributes {
    /** Hex HMAC-SHA256 of the user id under the site's identity verification secret. */
    user_hash?: string;
    /** A signed identity token (HS256), instead of `user_hash`. */
    jwt?: string;
    /** Somebody of the staff looks at the page as this user: nothing is tracked, shown or used up until the next page or the next user. */
    impersonated?: boolean;
    [name: string]: Value;
  }

  interface MessageEvent {
    id: string;
    action: "shown" | "seen" | "clicked" | "answered" | "dismissed" | "closed";
    /** What was asked, where it was answered. */
    question?: "email" | "text" | "choice" | "rating";
  }

  interface Status {
    site: string | undefined;
    /**
     * Why nothing is sent; empty when it is: `site_missing`, `frame`, `automation`, `impersonated`, `opted_out`, `gpc`,
     * `dnt`, `consent_required`, `consent_denied`.
     */
    held: string;
    /** The visitor's explicit choice: `in.TEXT_VERSION`, `out`, or empty. */
    choice: string;
    /** The public half of the lead; the secret is never shown. Empty while held. */
    lead: string;
    /** The user id asserted in this page view. */
    user: string | undefined;
    /** The id of the page view. */
    view: string;
    /** Items that wait: for the network, for consent, or for their user to be identified again. */
    queued: number;
    /** Items that the collector answered in this page, duplicates and refused ones included. */
    sent: number;
    /** The last twenty items or envelopes that were refused. */
    refused: { code: string; field?: string }[];
    /** Items lost because the store overflowed, not reported yet. */
    dropped: number;
    /** When the next attempt is due after a failure (ms), or 0. */
    retry_at: number;
  }

  /** What `leadlight(method, ...)` does, by method. */
  interface Calls {
    track(name: string, metadata?: { [key: string]: Value }): void;
    page(): void;
    identify(...who: [user_id: string | number | null, attributes?: Attributes] | [attributes: Attributes & { user_id?: string | number }]): void;
    reset(): void;
    optIn(text_version?: string): void;
    optOut(): void;
    showMessage(id: string): void;
    onMessage(listener: (event: MessageEvent) => void): void;
    status(): Status;
  }

  interface Call {
    <Method extends keyof Calls>(method: Method, ...given: Parameters<Calls[Method]>): ReturnType<Calls[Method]>;
    /** Calls made before the script arrived. */
    q?: any;
    /** Set once the tracker is there. */
    v?: number;
  }

  /** What the npm package takes beside the options of the tag. */
  interface LoadSettings extends Settings {
    site: string;
    /** The collector's address: `https://collect.example.com`, or the path of one that is proxied, `/ll`. */
    host: string;
  }

  /** What the npm package exports. On a server each of them does nothing. */
  interface Module extends Omit<Calls, "status"> {
    /** Fetches the tracker from the collector and starts it; once in a page, whatever is asked later. */
    load(settings: LoadSettings): void;
    /** Nothing before the tracker has arrived, and on a server. */
    status(): Status | undefined;
  }
}

interface Window {
  leadlight: Leadlight.Call;
  leadlightSettings?: Leadlight.Settings;
}
