/* Tells Dripline what visitors do on a website, as far as they allow it. How to use it: docs/website.md.

   what happens ──say──► queue, kept over page loads ──flush──► POST /v1/b ──► dropped from the queue once Dripline has it

   It calls nobody but the address it was loaded from, depends on nothing, evaluates nothing, and works under a strict content policy. */
(() => {
  "use strict";
  if (window.dripline && window.dripline.track) return; // it stands on the page twice

  const script = document.currentScript || document.querySelector("script[data-write-key]");
  const settings = script ? script.dataset : {};
  const target = script ? new URL("v1/b", script.src || location.href).href : "";
  const PREFIX = "dripline.";
  const MOST_KEPT = 200; // events that wait for a better connection
  const LARGEST_POST = 60000; // browsers let 64 KiB outlive their page
  const LONGEST_TEXT = 500;

  // What is remembered: in localStorage, else in a cookie, else for as long as the page stands.

  const memory = {};

  const cookie = (name, value, seconds) => {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `${PREFIX}${name}=${value}; Path=/; Max-Age=${seconds}; SameSite=Lax${secure}`;
  };

  const recall = (name) => {
    try {
      const kept = localStorage.getItem(PREFIX + name);
      if (kept !== null) return kept;
    } catch (_) {} // storage is forbidden here
    const found = `; ${document.cookie}`.split(`; ${PREFIX}${name}=`)[1];
    return found === undefined ? memory[name] || null : decodeURIComponent(found.split(";")[0]);
  };

  const remember = (name, value) => {
    try {
      localStorage.setItem(PREFIX + name, value);
    } catch (_) {
      cookie(name, encodeURIComponent(value), 31536000);
    }
    if (recall(name) !== value) memory[name] = value;
  };

  const forget = (name) => {
    try {
      localStorage.removeItem(PREFIX + name);
    } catch (_) {}
    if (document.cookie.includes(PREFIX + name)) cookie(name, "", 0);
    delete memory[name];
  };

  // What the visitor allows. Without it nothing is sent, and nothing is remembered but his no.

  const objects = () =>
    navigator.globalPrivacyControl === true || [navigator.doNotTrack, window.doNotTrack].some((said) => said === "1" || said === "yes");

  const mayTell = () => {
    if (!settings.writeKey || objects()) return false;
    return settings.consent === "required" ? recall("consent") === "yes" : recall("consent") !== "no";
  };

  const reset = () => {
    ["anonymous", "user"].forEach(forget);
    storedQueues().forEach((name) => localStorage.removeItem(name));
    queue = [];
    seen = "";
  };

  const consent = (given) => {
    if (given) {
      remember("consent", "yes");
      start();
    } else {
      reset();
      settings.consent === "required" ? forget("consent") : remember("consent", "no");
    }
  };

  // What happens.

  const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  const anonymousId = () => {
    if (!mayTell()) return null;
    if (!recall("anonymous")) remember("anonymous", newId());
    return recall("anonymous");
  };

  const place = () => location.pathname + location.search + (/^#[!/]/.test(location.hash) ? location.hash : "");

  let seen = ""; // the place of the last page view
  let referrer = document.referrer;

  const thisPage = () => ({
    path: location.pathname,
    search: location.search,
    title: document.title,
    url: location.href.split("#")[0],
    referrer,
  });

  const context = () => {
    const campaign = {};
    new URLSearchParams(location.search).forEach((value, name) => {
      if (name.startsWith("utm_")) campaign[name === "utm_campaign" ? "name" : name.slice(4)] = value;
    });
    return {
      page: thisPage(),
      campaign: Object.keys(campaign).length ? campaign : undefined,
      locale: navigator.language,
      timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      library: { name: "dripline.js", version: "1" },
    };
  };

  const say = (type, fields) => {
    if (!mayTell()) return;
    const common = { type, messageId: newId(), timestamp: new Date().toISOString(), anonymousId: anonymousId() };
    const userId = recall("user") || undefined;
    try {
      queue.push(JSON.stringify({ ...common, userId, context: context(), ...fields }));
    } catch (error) {
      console.error("dripline.js: this cannot be told as JSON", fields, error);
      return;
    }
    queue = queue.slice(-MOST_KEPT);
    keepQueue();
    if (!timer) later(SOON);
  };

  const track = (event, properties) => {
    if (event) say("track", { event: String(event), properties });
    else console.error("dripline.js: track needs the name of what happened");
  };

  const identify = (userId, traits) => {
    if (!mayTell()) return;
    if (typeof userId === "object") [userId, traits] = [null, userId];
    if (userId) {
      const known = recall("user");
      if (known && known !== String(userId)) forget("anonymous"); // somebody else at the same device
      remember("user", String(userId));
    }
    if (userId || traits) say("identify", { traits });
  };

  const page = (name, properties) => {
    if (name && typeof name === "object") [name, properties] = [undefined, name];
    say("page", { name, properties: { ...thisPage(), ...properties } });
  };

  // Page views, also where a page only pretends to be another one.

  const look = () => {
    if (settings.pageViews === "off" || !mayTell() || place() === seen) return;
    if (seen) referrer = location.origin + seen;
    seen = place();
    page();
  };

  let looking;
  const lookSoon = () => {
    clearTimeout(looking);
    looking = setTimeout(look, 50); // the title often follows the address
  };

  ["pushState", "replaceState"].forEach((name) => {
    const original = history[name];
    history[name] = function (...given) {
      const result = original.apply(this, given);
      lookSoon();
      return result;
    };
  });
  addEventListener("popstate", lookSoon);
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return; // it comes back as it was left
    seen = "";
    look();
  });

  // Forms, links and buttons that say what they mean: <form data-dripline="Ebook Downloaded" data-dripline-title="The guide">.

  const UNTOLD_TYPES = /^(password|hidden|file|submit|button|image|reset|output)$/;
  const UNTOLD_NAMES = /passw|secret|token|card|cvc|cvv|csc|iban|account.?n|\bssn|\botp|^pin$|\bcc-|one-time-code/i;

  const isCardNumber = (text) => {
    const digits = text.replace(/[ -]/g, "");
    if (!/^\d{12,19}$/.test(digits)) return false;
    const sum = [...digits].reverse().reduce((total, digit, at) => {
      const value = at % 2 ? digit * 2 : +digit;
      return total + (value > 9 ? value - 9 : value);
    }, 0);
    return sum % 10 === 0; // Luhn's check digit
  };

  const isTold = (field) =>
    field.name &&
    typeof field.value === "string" &&
    !field.disabled &&
    !UNTOLD_TYPES.test(field.type) &&
    ![field.name, field.id, field.autocomplete].some((word) => UNTOLD_NAMES.test(word)) &&
    !field.hasAttribute("data-dripline-skip") &&
    (field.type !== "radio" || field.checked);

  const valueOf = (field) => {
    if (field.type === "checkbox" && !field.hasAttribute("value")) return field.checked;
    if (field.type === "checkbox" && !field.checked) return undefined;
    if (field.type === "select-multiple") return Array.from(field.selectedOptions, (option) => option.value);
    const text = field.value.trim().slice(0, LONGEST_TEXT);
    return text === "" || isCardNumber(text) ? undefined : text;
  };

  const plain = (text) => (text === "true" ? true : text === "false" ? false : String(Number(text)) === text ? Number(text) : text);

  const saidBy = (element) => {
    const said = {};
    for (const { name, value } of element.attributes) {
      if (name.startsWith("data-dripline-")) said[name.slice(14).replace(/-/g, "_")] = plain(value);
    }
    return said;
  };

  const onSubmit = ({ target: form }) => {
    const event = form.getAttribute("data-dripline");
    if (!event) return;
    const properties = {};
    for (const field of Array.from(form.elements).filter(isTold)) {
      const value = valueOf(field);
      if (value === undefined) continue;
      properties[field.name] = field.name in properties ? [].concat(properties[field.name], value) : value;
      if ((field.type === "email" || /e-?mail/i.test(`${field.name} ${field.autocomplete}`)) && /^[^\s@]+@[^\s@]+$/.test(value)) {
        properties.email = value;
      }
    }
    if (properties.email) identify({ email: properties.email });
    track(event, { ...properties, ...saidBy(form) });
    flush();
  };

  const onClick = ({ target: clicked }) => {
    const element = clicked.closest && clicked.closest("a[data-dripline],button[data-dripline]");
    if (element) track(element.getAttribute("data-dripline"), saidBy(element));
  };

  document.addEventListener("submit", onSubmit, true);
  document.addEventListener("click", onClick, true);

  // The queue: what Dripline does not have yet. A repeat is harmless, for every event has a `messageId`.

  const SOON = 200;
  const queueName = PREFIX + "queue." + newId().slice(0, 8); // one for each open page
  let queue = [];
  let inFlight = [];
  let failures = 0;
  let timer;

  const storedQueues = () => {
    try {
      return Object.keys(localStorage).filter((name) => name.startsWith(PREFIX + "queue."));
    } catch (_) {
      return [];
    }
  };

  const keepQueue = () => {
    try {
      if (queue.length) localStorage.setItem(queueName, JSON.stringify(queue));
      else localStorage.removeItem(queueName);
    } catch (_) {}
  };

  const takeOverQueues = () => {
    storedQueues().forEach((name) => {
      try {
        if (name !== queueName) queue = JSON.parse(localStorage.getItem(name)).concat(queue).slice(-MOST_KEPT);
      } catch (_) {}
      if (name !== queueName) localStorage.removeItem(name);
    });
    keepQueue();
  };

  const bytes = (text) => new Blob([text]).size;

  const later = (wait) => {
    clearTimeout(timer);
    timer = setTimeout(flush, wait);
  };

  const nextBatch = () => {
    let size = 0;
    const waiting = queue.filter((text) => !inFlight.includes(text));
    return waiting.filter((text, at) => (size += bytes(text)) < LARGEST_POST || at === 0);
  };

  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    const batch = mayTell() ? nextBatch() : [];
    if (!batch.length) return;
    inFlight = inFlight.concat(batch);
    post(`{"batch":[${batch}],"writeKey":${JSON.stringify(settings.writeKey)},"sentAt":"${new Date().toISOString()}"}`).then(
      (answer) => onAnswer(batch, answer),
      () => tryAgain(batch),
    );
  };

  const post = (body) => {
    // As text, so that no browser has to ask first whether it may.
    const isHeld = "keepalive" in Request.prototype;
    if (!isHeld && document.visibilityState === "hidden" && navigator.sendBeacon(target, body)) return Promise.resolve({ ok: true });
    return fetch(target, { method: "POST", body, keepalive: isHeld && bytes(body) < 65536, credentials: "omit" });
  };

  const onAnswer = (batch, answer) => {
    if (answer.status === 429 || answer.status === 408 || answer.status >= 500) return tryAgain(batch, answer.headers.get("Retry-After"));
    land(batch);
    queue = queue.filter((text) => !batch.includes(text));
    keepQueue();
    failures = 0;
    if (nextBatch().length && !timer) later(0);
    if (answer.json) {
      answer.json().then((told) => (told.rejected || told.code) && console.warn("dripline.js: not taken", told.rejected || told), () => {});
    }
  };

  const tryAgain = (batch, retryAfter) => {
    land(batch);
    failures += 1;
    const backoff = Math.min(60, 2 ** failures) * (0.5 + Math.random() / 2);
    later(1000 * Math.max(backoff, Number(retryAfter) || 0));
  };

  const land = (batch) => {
    inFlight = inFlight.filter((text) => !batch.includes(text));
  };

  addEventListener("pagehide", flush);
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && flush());

  // Begin.

  const start = () => {
    if (!mayTell()) return;
    takeOverQueues();
    look();
    if (queue.length && !timer) later(SOON);
  };

  const begin = () => {
    if (!settings.writeKey) console.error("dripline.js: its script tag needs data-write-key");
    if (objects()) reset();
    start();
    early.forEach(push);
  };

  const early = Array.isArray(window.dripline) ? window.dripline : [];
  const push = ([name, ...given]) => window.dripline[name](...given);
  window.dripline = { track, identify, page, consent, reset, anonymousId, push };
  if (document.prerendering) document.addEventListener("prerenderingchange", begin, { once: true });
  else begin();
})();
