// Live updates and sending without leaving the page. Everything here works without this script, too.
(() => {
  "use strict";
  const one = (selector, root = document) => root.querySelector(selector);
  const live = one("#live"), banner = one("#banner"), list = one("#list"), head = one("#head"), messages = one("#messages");
  const thread = one(".thread"), compose = one("#compose"), conversation = Number(one("[data-conversation]")?.dataset.conversation || 0);
  const title = document.title;
  let last = Number(document.body.dataset.event), source = null, wait = 0, reconnecting = 0;

  // --- times in the reader's zone
  const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
  const exact = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const day = new Intl.DateTimeFormat([], { day: "numeric", month: "short" });
  const year = new Intl.DateTimeFormat([], { day: "numeric", month: "short", year: "numeric" });
  const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  const full = new Intl.DateTimeFormat([], { dateStyle: "full", timeStyle: "medium" });
  for (const p of document.querySelectorAll(".zone")) p.textContent = "Times are in your time zone, " + zone.replaceAll("_", " ") + ".";
  function localTimes(root) {
    const now = new Date();
    for (const t of root.querySelectorAll("time")) {
      const at = new Date(t.dateTime);
      const today = at.toDateString() === now.toDateString();
      const date = at.getFullYear() === now.getFullYear() ? day.format(at) : year.format(at);
      const short = "clock" in t.dataset ? exact.format(at) : clock.format(at);
      t.textContent = today ? short : t.closest(".item") ? date : date + ", " + short;
      t.title = full.format(at) + " (" + zone + ")";
    }
  }

  // --- pieces of the page
  async function get(url) {
    const response = await fetch(url, { headers: { Accept: "text/html" } });
    const html = await response.text();
    if (response.headers.has("X-Banner")) put(banner, html);
    if (!response.ok) throw new Error(response.status);
    return { html, response };
  }
  function put(element, html) {
    if (element.dataset.html === html) return;
    // Who works with the keyboard stays where he was: on the same link, or on the button in the same place.
    const focused = element.contains(document.activeElement) ? document.activeElement : null, href = focused?.getAttribute("href");
    const place = focused && [...element.querySelectorAll("a, button")].indexOf(focused);
    const top = element.scrollTop;
    element.innerHTML = html;
    element.dataset.html = html;
    localTimes(element);
    element.scrollTop = top;
    if (!focused) return;
    const now = [...element.querySelectorAll("a, button")];
    (href ? now.find((a) => a.getAttribute("href") === href) : now[place])?.focus({ preventScroll: true });
  }
  // At most one fetch of each piece at a time; what comes meanwhile leads to one more. One that failed is tried again
  // when the stream is back, and at the next look.
  const running = new Map(), failed = new Map();
  function soon(name, work) {
    if (running.has(name)) { running.set(name, true); return; }
    running.set(name, false);
    (async () => {
      do {
        running.set(name, false);
        try { await work(); } catch { failed.set(name, work); break; }
      } while (running.get(name));
      running.delete(name);
    })();
  }
  function again() {
    const works = [...failed];
    failed.clear();
    for (const [name, work] of works) soon(name, work);
  }
  const views = one("#views");
  const refresh = (element) => {
    if (element && element === list) refresh(views);
    return element && soon(element.id, async () => {
      const { html, response } = await get(element.dataset.source);
      if (element !== banner) put(element, html);
      else noticeGap(Number(response.headers.get("X-Last-Event")));
    });
  };
  // Each form about the conversation carries the version that it was made from. So they follow together with it, but not
  // under the hands of somebody who fills one in: he is told when the conversation has changed meanwhile.
  const desk = one("#desk"), deskForms = one("#desk-forms");
  let filling = false;
  deskForms?.addEventListener("input", () => { filling = true; });
  desk?.addEventListener("toggle", () => { if (desk.open) about(); });
  function about() {
    refresh(head);
    if (desk?.open && !filling) soon("desk", async () => {
      const { html } = await get(deskForms.dataset.source);
      if (!filling) put(deskForms, html);
    });
  }

  // --- messages
  const wanted = new Set();
  let seenTopic = null;
  function want(id) {
    wanted.add(id);
    soon("messages", async () => {
      const ids = [...wanted].slice(0, 50);
      if (!ids.length) return;
      const url = new URL(messages.dataset.source, location.href);
      for (const i of ids) {
        url.searchParams.append("id", i);
        wanted.delete(i); // before it is asked for: what is wanted again meanwhile has changed again
      }
      try {
        const { html, response } = await get(url), left = ids.indexOf(Number(response.headers.get("X-Next")));
        show(html);
        if (left > 0) for (const i of ids.slice(left)) wanted.add(i); // they were too much for one answer
      } catch (e) {
        for (const i of ids) wanted.add(i);
        throw e;
      }
      if (wanted.size) running.set("messages", true);
    });
  }
  const atEnd = () => Math.abs(thread.scrollTop) < 60; // 0 is the end: the thread is reversed
  function show(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    localTimes(template.content);
    for (const fresh of [...template.content.querySelectorAll(".message, .memo, .deed")]) {
      const id = Number(fresh.dataset.id), old = document.getElementById(fresh.id);
      if (old) {
        const focused = old.contains(document.activeElement);
        old.replaceWith(fresh);
        if (focused) (one("button", fresh) || thread).focus({ preventScroll: true });
        continue;
      }
      const first = messages.firstElementChild;
      if (!("newest" in messages.dataset) || first && id < Number(first.dataset.id)) continue;
      const album = fresh.dataset.album, group = album && [...messages.children].findLast((g) => g.dataset.album === album && one("ol", g));
      const into = group ? one("ol", group) : messages, follow = atEnd() || fresh.classList.contains("out");
      let item = fresh;
      if (album && !group) {
        item = fresh.closest(".group").cloneNode();
        item.dataset.id = id;
        item.append(document.createElement("ol"));
        item.firstChild.append(fresh);
      }
      const words = fresh.classList.contains("message");
      if (words) fresh.classList.add("new");
      into.insertBefore(item, [...into.children].find((m) => Number(m.dataset.id) > id) || null);
      if (words) seenTopic?.(fresh);
      if (follow) thread.scrollTop = 0;
      else if (words) announce();
    }
    read();
  }
  function announce() {
    if (one(".arrived")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "arrived";
    button.textContent = "New message ↓";
    button.onclick = () => { thread.scrollTop = 0; button.remove(); };
    one(".flow").append(button);
  }
  thread?.addEventListener("scroll", () => { if (atEnd()) { one(".arrived")?.remove(); read(); } }, { passive: true });
  // What stands beside messages: notes, and what was done.
  const beside = () => messages && "newest" in messages.dataset && soon("beside", async () => show((await get(messages.dataset.beside)).html));
  // The newest message was shown: nothing here is unread any more. Where that cannot be said, it stays unread.
  let readTo = 0;
  function read() {
    const ids = messages && "newest" in messages.dataset && !document.hidden && atEnd() ? [...messages.querySelectorAll(".message")].map((m) => Number(m.dataset.id)) : [];
    const newest = Math.max(0, ...ids);
    if (newest <= readTo) return;
    readTo = newest;
    soon("read", async () => {
      await fetch("/api/v1/conversations/" + conversation + "/read", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ message_id: newest }) });
      refresh(list);
    });
  }
  readTo = Math.max(0, ...[...messages?.querySelectorAll(".message") || []].map((m) => Number(m.dataset.id))); // the server knows

  // What a message replies to is on this page, or on another one that the link opens.
  messages?.addEventListener("click", (event) => {
    const link = event.target.closest("a.reply");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || !document.getElementById(link.dataset.message)) return;
    event.preventDefault();
    location.hash = link.dataset.message;
  });

  // What a message said before is shown below it, and goes with another press.
  messages?.addEventListener("click", async (event) => {
    const link = event.target.closest("a.edited");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const message = link.closest(".message"), shown = one(".wordings", message);
    if (shown) { shown.remove(); link.ariaExpanded = "false"; return; }
    try {
      const template = document.createElement("template");
      template.innerHTML = (await get(link.dataset.source)).html;
      localTimes(template.content);
      if (!one(".wordings", message)) link.closest(".meta").after(template.content);
      link.ariaExpanded = "true";
    } catch { location.href = link.href; }
  });

  // --- events
  function say(state, words) {
    if (!live || live.textContent === words) return;
    live.className = "live " + state;
    live.textContent = words;
  }
  function connect() {
    clearTimeout(reconnecting);
    source?.close();
    source = new EventSource("/api/v1/events?after=" + last);
    source.onopen = () => { wait = 0; say("on", "Live"); refresh(banner); again(); };
    // The browser gives up after an answer like 503; so this comes back by itself, always.
    source.onerror = () => {
      source.close();
      say("off", "Reconnecting…");
      refresh(banner);
      wait = Math.min(wait ? wait * 2 : 500, 10000);
      clearTimeout(reconnecting);
      reconnecting = setTimeout(connect, wait * (0.5 + Math.random() / 2));
    };
    const on = (type, work) => source.addEventListener(type, (event) => { last = Number(event.lastEventId); work(JSON.parse(event.data)); });
    on("message.created", (e) => { message(e); if (document.hidden) document.title = "● " + title; });
    on("message.updated", message);
    on("conversation.updated", (e) => { refresh(list); if (e.conversation_id === conversation) { about(); beside(); } });
    on("note.created", (e) => { if (e.conversation_id === conversation) beside(); });
    on("note.updated", (e) => { if (e.conversation_id === conversation) beside(); });
    on("bot.updated", () => { refresh(banner); waiting(); });
    on("reset", () => location.reload());
  }
  function message(e) {
    refresh(list);
    if (e.conversation_id === conversation && messages) { want(e.message_id); about(); }
    if (one(".banner")) refresh(banner); // it counts what waits
  }
  // Why an answer waits can change without an event: a bot that falls silent makes none.
  function waiting() {
    for (const m of document.querySelectorAll(".message.queued")) want(Number(m.dataset.id));
  }
  // A line can be dead without an error; then the page falls behind the number that the banner comes with.
  let behind = 0;
  function noticeGap(newest) {
    if (newest > last && behind === last) connect();
    behind = newest > last ? last : 0;
  }
  setInterval(() => { if (!document.hidden) { refresh(banner); again(); waiting(); } }, 10000);
  addEventListener("online", connect);
  let leaving = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(leaving);
    if (document.hidden) {
      // A browser has six connections to a server: tabs that nobody looks at must not hold them all.
      leaving = setTimeout(() => { clearTimeout(reconnecting); source.close(); source = null; say("", ""); }, 300000);
    } else {
      document.title = title;
      read();
      if (!source || source.readyState !== EventSource.OPEN) connect();
    }
  });
  addEventListener("pageshow", (e) => { if (e.persisted) connect(); });

  // --- forms
  let answer = null;
  const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  async function send(form, method, body, headers) {
    const response = await fetch(form.dataset.api, {
      method, headers: { Accept: "application/json", ...(body && { "Content-Type": "application/json" }), ...headers }, body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(40000), // the server gives up before
    });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(response.status === 401 ? "You are signed out. Your text is kept; sign in with a new link in another tab and press Send again."
      : answer.detail ? answer.detail[0].toUpperCase() + answer.detail.slice(1) + "." : "That did not work (" + response.status + "). Your text is kept; try again.");
    return answer;
  }
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.api) return;
    event.preventDefault();
    if (form === compose) return answer();
    const button = event.submitter;
    if (button.ariaDisabled) return;
    button.ariaDisabled = "true"; // not disabled, which would take the focus away
    try {
      const done = await send(form, form.dataset.method || "POST", button.name ? { [button.name]: button.value } : undefined);
      refresh(list);
      if (button.name) about();
      else want(Number(form.dataset.message) || done.id);
    } catch (e) {
      button.ariaDisabled = null;
      button.title = e.message;
      complain(e.message);
    }
  });
  function complain(words) {
    const place = one("#compose-error");
    place.textContent = words;
    place.hidden = !words;
  }
  if (compose) {
    const text = one("textarea", compose), key = one("[name=key]", compose), button = one("button", compose), draft = "draft-" + conversation;
    const grow = () => { text.style.height = "auto"; text.style.height = text.scrollHeight + 2 + "px"; };
    let failed = false;
    // Where the answer goes: to the message that was chosen, else to the topic of the customer's last message that was
    // on the page when writing began.
    const to = one("#compose-to"), topic = one("#compose-topic"), reply = one("[name=reply_to]", compose), at = one("[name=topic_id]", compose);
    const place = () => {
      to.hidden = !reply.value;
      topic.hidden = !!reply.value || !one("bdi", topic).textContent;
    };
    seenTopic = (message) => {
      if (text.value || !message.classList.contains("in") || message.classList.contains("service")) return;
      if (message.dataset.topic === "0" && !at.value) return;
      at.value = message.dataset.topic;
      one("bdi", topic).textContent = one(".topic bdi", message)?.textContent || "";
      place();
    };
    const seeAll = () => { const seen = [...messages.querySelectorAll(".message.in:not(.service)")].pop(); if (seen) seenTopic(seen); };
    const another = () => { if (failed) { key.value = newKey(); failed = false; } }; // another answer
    const quiet = () => { reply.value = ""; place(); };
    one(".cancel", to).addEventListener("click", (e) => { e.preventDefault(); another(); quiet(); text.focus(); });
    messages.addEventListener("click", (e) => {
      const link = e.target.closest(".answer-to");
      if (!link || e.ctrlKey || e.metaKey || e.shiftKey) return;
      e.preventDefault();
      const message = link.closest(".message"), line = one(".reply", to);
      const part = (name, words) => { const b = document.createElement("bdi"); b.className = name; b.textContent = words; return b; };
      line.replaceChildren(part("whose", one(".author bdi", message)?.textContent || ""), " ",
        part("first", (one(".text", message) || one(".file", message) || one(".said-of", message))?.textContent.slice(0, 200) || ""));
      reply.value = link.dataset.id;
      another();
      place();
      text.focus();
    });
    try { if (!text.value) text.value = sessionStorage.getItem(draft) || ""; } catch { /* no storage, no drafts */ }
    const keep = () => { try { text.value ? sessionStorage.setItem(draft, text.value) : sessionStorage.removeItem(draft); } catch { /* as above */ } };
    text.addEventListener("input", () => {
      another();
      if (!text.value) seeAll();
      const n = [...text.value].length, max = Number(text.dataset.max);
      one("#compose-hint").textContent = n > max ? n + " of at most " + max + " characters" : "Ctrl+Enter sends";
      keep();
      grow();
    });
    text.addEventListener("keydown", (e) => {
      if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); compose.requestSubmit(); }
    });
    // Canned answers: a stroke in an empty box looks for one.
    const canned = one("#canned"), find = one("#canned-q"), found = one("#canned-list");
    let saved = [], then = null, missing = "";
    const gap = () => text.value.match(/\{[a-z_]+\}/)?.[0] || "";
    function listCanned() {
      const q = find.value.toLowerCase();
      found.replaceChildren(...saved.filter((c) => (c.folder + " " + c.name + " " + c.text).toLowerCase().includes(q)).slice(0, 50).map((c) => {
        const line = document.createElement("li"), b = document.createElement("button"), words = document.createElement("small");
        b.type = "button";
        b.textContent = (c.folder ? c.folder + " / " : "") + c.name;
        words.textContent = c.text;
        b.append(words);
        b.onclick = () => useCanned(c);
        line.append(b);
        return line;
      }));
    }
    function useCanned(c) {
      const name = one("#head h1 bdi")?.textContent || "", filled = { first_name: name.split(" ")[0], name, operator: one(".me")?.textContent || "" };
      canned.close();
      text.value = c.text.replace(/\{([a-z_]+)\}/g, (all, what) => filled[what] || all);
      then = c.then;
      text.dispatchEvent(new Event("input"));
      text.focus();
      if (gap()) { const from = text.value.indexOf(gap()); text.setSelectionRange(from, from + gap().length); }
    }
    async function chooseCanned(e) {
      e.preventDefault();
      try {
        const response = await fetch("/api/v1/canned", { headers: { Accept: "application/json" } });
        if (!response.ok) throw new Error(response.status);
        saved = (await response.json()).items;
      } catch { complain("The canned answers could not be read; try again."); return; }
      find.value = "";
      listCanned();
      canned.showModal();
      find.focus();
    }
    text.addEventListener("keydown", (e) => {
      if (e.key === "/" && !text.value && !e.ctrlKey && !e.metaKey && !e.altKey && !e.isComposing) chooseCanned(e);
    });
    one("#canned-open").addEventListener("click", (e) => { if (!e.ctrlKey && !e.metaKey && !e.shiftKey) chooseCanned(e); });
    find.addEventListener("input", listCanned);
    find.addEventListener("keydown", (e) => { if (e.key === "Enter") { e.preventDefault(); one("button", found)?.click(); } });
    text.addEventListener("input", () => { if (!text.value) then = null; });
    // What follows an answer: its tags are added to those that are there.
    async function follow(after) {
      const api = "/api/v1/conversations/" + conversation, now = await (await fetch(api)).json();
      await send({ dataset: { api } }, "PATCH", { tags: [...new Set([...now.tags, ...after.tags])],
        ...(after.assignee !== null && { assignee_id: after.assignee || null }), ...(after.status && { status: after.status }) }, { "If-Match": '"' + now.version + '"' });
    }
    answer = async () => {
      if (button.disabled) return;
      if (gap() && gap() !== missing) {
        missing = gap();
        complain("Fill in " + missing + " first, or press Send again to send it as it is.");
        return;
      }
      const after = then;
      button.disabled = true;
      complain("");
      const sent = text.value;
      try {
        const m = await send(compose, "POST", { text: sent, ...(reply.value && { reply_to: Number(reply.value) }),
          ...(at.value && { topic_id: Number(at.value) }) }, { "Idempotency-Key": key.value });
        key.value = newKey();
        quiet();
        if (text.value === sent) text.value = "";
        seeAll();
        keep();
        grow();
        want(m.id);
        refresh(list);
        then = null;
        missing = "";
        if (after && (after.tags.length || after.assignee !== null || after.status)) {
          follow(after).catch(() => complain("The answer is stored. What was to follow it (tags, a colleague, closing) could not be done."));
        }
      } catch (e) {
        failed = true;
        complain(e instanceof TypeError || e.name === "TimeoutError" ? "No connection. Your text is kept; press Send again, it is sent once." : e.message);
      }
      button.disabled = false;
      text.focus();
    };
    if (text.value) { keep(); grow(); } // also what the server sent back
  }

  // --- keys, never while somebody writes
  let went = 0; // when g was pressed, which leads to a view with the next key
  const open = (id) => { const d = one(id); if (d) d.open = true; return d; };
  async function change(body) {
    const item = document.activeElement?.closest(".item"), id = Number(item?.dataset.id) || conversation;
    if (!id) return;
    try { await send({ dataset: { api: "/api/v1/conversations/" + id } }, "PATCH", body); } catch (e) { say("off", e.message); }
    refresh(list);
    if (id === conversation) about();
  }
  const step = (by) => {
    const items = [...document.querySelectorAll(".item")], now = items.indexOf(document.activeElement?.closest(".item") || one(".item.current"));
    items[now < 0 ? 0 : Math.min(Math.max(now + by, 0), items.length - 1)]?.focus();
  };
  const keys = {
    j: () => step(1), k: () => step(-1), "/": () => one("#q").focus(), "?": () => one("#keys").showModal(),
    r: () => one("#compose-text")?.focus(), n: () => open("#memo") && one("#memo-text").focus(),
    a: () => change({ assignee_id: Number(document.body.dataset.me) }),
    e: () => change({ status: document.activeElement?.closest(".item") ? "closed" : one("#status button")?.value || "closed" }),
    s: () => open("#desk") && one("#snooze button")?.focus(), u: () => one("#unread")?.requestSubmit(),
  };
  document.addEventListener("keydown", (e) => {
    const at = e.target;
    if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || at.isContentEditable || at.closest?.("input, textarea, select, dialog")) return;
    if (Date.now() - went < 2000) {
      went = 0;
      const to = one("#views [data-key=" + CSS.escape(e.key) + "]");
      if (to) { e.preventDefault(); to.click(); return; }
    }
    if (e.key === "g") went = Date.now();
    if (!Object.hasOwn(keys, e.key)) return;
    e.preventDefault();
    keys[e.key]();
  });

  localTimes(document);
  connect();
})();
