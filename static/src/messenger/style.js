/** The looks. An adopted sheet passes the strictest style rules; every size is in pixels, since the page's `rem` is its own. */

const CSS = `
:host{all:initial!important;position:static!important}
:host([hidden]){display:none!important}
*{box-sizing:border-box;margin:0;padding:0}
.card{
--edge:#7b8496;--wrong:#b3261e;--ink:#171a21;--soft:#4d5564;--paper:#fff;--line:rgba(20,26,40,.1);--fill:#1d2433;--on:#fff;--accent:var(--fill);--quiet:#f2f4f7;--hover:#e8ebf0;--link:#1f4fd1;--ring:#2f6bff;
position:fixed;z-index:2147483647;display:flex;overflow:hidden;padding:0;
width:368px;max-width:calc(100vw - 24px);max-height:calc(100vh - 40px);max-height:calc(100dvh - 40px);
font:400 15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;color:var(--ink);background:var(--paper);text-align:start;
border:1px solid var(--line);border-radius:16px;color-scheme:light dark;
box-shadow:0 1px 2px rgba(16,24,40,.06),0 8px 20px -4px rgba(16,24,40,.12),0 24px 56px -12px rgba(16,24,40,.22)}
.corner{inset-block-end:max(20px,env(safe-area-inset-bottom));inset-inline-end:20px}
.center{inset:0;margin:auto;width:480px;height:fit-content;text-align:center}
.center::backdrop{background:rgba(15,20,32,.5)}
.scroll{flex:1;min-width:0;overflow:auto;overscroll-behavior:contain}
.scroll>img{display:block;width:100%;max-height:220px;object-fit:cover;background:var(--quiet)}
.test{padding:17px 56px 17px 24px;font-size:13px;font-weight:600;background:var(--quiet);text-align:start}
.test+img+.text,.test+.text{padding-block-start:16px}
.text{padding:22px 24px 24px}
.center .text{padding:36px 36px 28px}
h1,h2,h3{font-size:17px;line-height:1.35;font-weight:650;letter-spacing:-.01em;text-wrap:balance}
h2{overflow-wrap:anywhere}
.text>h2{padding-inline-end:28px;margin-block-end:8px}
.center .text>h2{padding:0 12px;font-size:22px;line-height:1.25;letter-spacing:-.02em;margin-block-end:10px}
.scroll>img+.text>h2{padding-inline:0}
.body{color:var(--soft);overflow-wrap:anywhere}
.text>.body:first-child{padding-inline-end:24px}
.body>*+*{margin-block-start:10px}
.body :is(h1,h2,h3){color:var(--ink)}
strong{font-weight:650;color:var(--ink)}
em{font-style:italic}
a{color:var(--link);text-underline-offset:2px}
ul,ol{padding-inline-start:22px;text-align:start}
.center :is(ul,ol){width:fit-content;margin-inline:auto}
li+li{margin-block-start:4px}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--quiet);border-radius:6px;direction:ltr;unicode-bidi:isolate}
code{padding:1px 5px}
pre{padding:10px 12px;white-space:pre-wrap;text-align:left}
pre code{padding:0;background:none}
blockquote{padding-inline-start:12px;border-inline-start:3px solid var(--line);text-align:start}
hr{border:0;border-top:1px solid var(--line)}
.body img{max-width:100%;height:auto;border-radius:8px;vertical-align:middle}
.actions{display:flex;flex-wrap:wrap;gap:8px;padding:0 24px 24px}
.center .actions{justify-content:center;padding:0 36px 36px}
.button{flex:0 1 auto;display:inline-flex;align-items:center;justify-content:center;min-height:40px;padding:8px 16px;border:1px solid transparent;border-radius:10px;
font:inherit;font-size:14px;line-height:1.3;font-weight:600;color:var(--ink);background:var(--quiet);text-align:center;text-decoration:none;cursor:pointer;overflow-wrap:anywhere}
.button:hover{background:var(--hover)}
.first{color:var(--on);background:var(--fill);border-color:var(--accent)}
.first:hover{background:var(--fill);box-shadow:0 0 0 3px color-mix(in srgb,var(--accent) 28%,transparent)}
form{padding:0 24px 24px}
.center form{padding:0 36px 36px}
.text:has(+form){padding-block-end:14px}
form .actions,.center form .actions{padding:14px 0 0}
textarea,[type=email]{display:block;width:100%;min-height:44px;padding:9px 12px;border:1px solid var(--edge);border-radius:10px;resize:vertical;unicode-bidi:plaintext;
font:inherit;font-size:16px;color:var(--ink);background:var(--paper);text-align:start}
::placeholder{color:var(--soft);opacity:1}
[aria-invalid=true]{border-color:var(--wrong)}
.error{color:var(--wrong);font-size:14px;text-align:start;text-align:match-parent;unicode-bidi:plaintext;overflow-wrap:anywhere}
.center .rating+.error{text-align:center}
.error:not(:empty){padding-block-start:8px}
.choice label{display:flex;gap:10px;align-items:baseline;padding:7px 0;color:var(--ink);text-align:start;cursor:pointer;overflow-wrap:anywhere}
.choice input{flex:none;width:18px;height:18px;accent-color:var(--accent);transform:translateY(3px)}
.choice span{min-width:0}
.rating{display:grid;grid-auto-flow:column;grid-auto-columns:1fr;gap:4px}
.corner .rating{grid:auto/repeat(auto-fit,minmax(1.6em,1fr))}
.rating label{position:relative;cursor:pointer}
.rating input{position:absolute;inset:0;width:100%;height:100%;opacity:0;cursor:pointer}
.rating span{display:grid;place-items:center;min-width:24px;min-height:40px;border:1px solid var(--edge);border-radius:8px;color:var(--ink);font-size:14px;font-weight:600}
.rating label:hover span{background:var(--quiet)}
.rating :checked+span{color:var(--on)!important;background:var(--fill)!important;border-color:var(--accent)}
.rating :focus-visible+span{outline:2px solid var(--ring);outline-offset:2px}
.sender{display:flex;align-items:center;gap:10px;min-height:24px;margin-block-end:10px;padding-inline-end:28px;font-size:14px;font-weight:600;overflow-wrap:anywhere}
.center .sender{justify-content:center;padding:0 12px}
.sender bdi{min-width:0}
.avatar,.reply{border:1px solid var(--accent)}
.avatar{flex:none;display:grid;place-items:center;width:36px;height:36px;border-radius:50%;color:var(--on);background:var(--fill)}
.chat .text{padding-block-start:18px}
.chat .body,.reply{width:fit-content;max-width:100%;padding:10px 14px;border-radius:14px;border-start-start-radius:4px;color:var(--ink);background:var(--quiet)}
.reply{margin-block-end:24px;margin-inline:auto 24px;max-width:calc(100% - 72px);border-radius:14px;border-end-end-radius:4px;color:var(--on);background:var(--fill);white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext}
.banner{inset-inline:0;width:auto;max-width:none;max-height:60vh;border-width:0;border-radius:0}
.top{inset-block-start:0;border-block-end-width:1px}
.bottom{inset-block-end:0;border-block-start-width:1px}
.banner .scroll{display:flex;flex-wrap:wrap;align-items:center;justify-content:center;gap:10px 20px;padding-block:12px;padding-inline:20px 56px}
.banner .scroll>img{width:auto;max-width:72px;max-height:48px;border-radius:8px}
.banner .text{flex:0 1 auto;min-width:0;max-width:720px;padding:0}
.banner .text>h2{padding:0;margin:0;font-size:15px}
.banner .text>.body:first-child,.banner .sender{padding:0}
.banner .sender{margin:0}
.banner form{display:flex;flex-wrap:wrap;align-items:center;gap:8px;padding:0;max-width:100%}
.banner form>:first-child{flex:1 1 220px}
.banner form .actions,.banner .actions{padding:0}
.banner .error{order:1;flex:none;width:0;min-width:100%;padding:0}
.banner .error:empty{display:none}
.banner .rating{grid-auto-columns:minmax(min-content,44px)}
.banner .close{inset-block-start:16px}
.close{position:absolute;inset-block-start:12px;inset-inline-end:12px;display:grid;place-items:center;width:32px;height:32px;border:1px solid transparent;border-radius:10px;
color:var(--soft);background:var(--paper);cursor:pointer}
.close:hover{background:var(--quiet);color:var(--ink)}
.scroll:has(>img)+.close{color:#fff;background:rgba(15,20,32,.55)}
svg{width:16px;height:16px;fill:none;stroke:currentColor;stroke-width:1.75;stroke-linecap:round}
:focus{outline:0}
:focus-visible{outline:2px solid var(--ring);outline-offset:2px}
dialog:focus-visible{outline:0}
.scroll:focus-visible{outline-offset:-3px;border-radius:16px}
@media(max-width:480px){
.corner{inset-inline:12px;inset-block-end:max(12px,env(safe-area-inset-bottom));width:auto}
.center .text{padding:32px 22px 24px}
.center .actions,.center form{padding:0 22px 24px}
.rating:has(:nth-child(6)){grid:auto/repeat(6,1fr)}
.center .text>h2{padding:0 24px}
.banner .scroll{flex-flow:column;align-items:stretch;padding-inline:20px}
.banner .scroll>*{flex:none}
.banner .text{max-width:none;padding-inline-end:32px}
.banner form .actions{flex:1 1 100%}
.banner .close{inset-block-start:8px}
.button{flex:1 1 auto}}
@media(prefers-color-scheme:dark){
.card{--edge:#79839a;--wrong:#ff9b93;--ink:#f3f5f9;--soft:#b4bccb;--paper:#1b202b;--line:rgba(255,255,255,.12);--fill:#f3f5f9;--on:#161a23;--quiet:#2a3140;--hover:#343d4f;--link:#8fb2ff;--ring:#8fb2ff}}
@media(prefers-reduced-motion:no-preference){
.card{animation:in .32s cubic-bezier(.2,.8,.2,1)}
.center::backdrop{animation:fade .2s}
.leaving{opacity:0;transform:translateY(8px);transition:opacity .18s,transform .18s}
.button,.close{transition:background .15s,opacity .15s}
@keyframes in{from{opacity:0;transform:translateY(16px)}}
@keyframes fade{from{opacity:0}}}
@media(forced-colors:active){.rating :checked+span{forced-color-adjust:none;color:HighlightText!important;background:Highlight!important}}
@media print{.card{display:none}}`;

/** @typedef {import("./claim.js").Brand} Brand */

/** @param {any} colours @returns {string} those that are colours, since an address in a sheet would be fetched */
const properties = (colours) =>
  ["fill", "on", "accent", "link"].map((name) => (/^#[\da-f]{6}$/.test(colours?.[name]) ? `--${name}:${colours[name]};` : "")).join("");

/** @param {string} css */
const sheet = (css) => {
  const made = new CSSStyleSheet();
  made.replaceSync(css);
  return made;
};

/** @param {ShadowRoot} shadow @param {Brand} [brand] */
export const style = (shadow, brand) => {
  shadow.adoptedStyleSheets = [
    sheet(CSS),
    sheet(`.card{${brand ? "--ring:var(--accent);" : ""}${properties(brand)}${properties(brand?.light)}}@media(prefers-color-scheme:dark){.card{${properties(brand?.dark)}}}`),
  ];
};
