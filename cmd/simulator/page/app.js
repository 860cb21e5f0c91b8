"use strict";

// The page asks for everything anew whenever the server says that something has changed.
const $ = (id) => document.getElementById(id);
const state = { bot: null, chats: [], faults: [], chosen: 0, mode: null, seen: {}, shown: "" };

async function control(method, path, body) {
  const response = await fetch("/control/" + path, { method, body: body && JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || response.statusText);
  return answer;
}

function element(name, attributes, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "onclick") e.addEventListener("click", value);
    else if (value !== null && value !== undefined) e.setAttribute(key, value);
  }
  e.append(...children);
  return e;
}

const nameOf = (chat) => chat.title || [chat.first_name, chat.last_name].filter(Boolean).join(" ");
const kinds = { voice: "🎤 voice", audio: "🎵 audio", video: "🎬 video", video_note: "🎬 video message", animation: "🎞 animation" };
const fileOf = (m) => m.photo ? "🖼 photo" : m.sticker ? (m.sticker.emoji || "") + " sticker" :
  Object.keys(kinds).filter((k) => m[k]).map((k) => kinds[k])[0] || (m.document ? "📎 " + (m.document.file_name || "file") : "");
// richText is what can be read of a rich message.
const plain = (t) => Array.isArray(t) ? t.map(plain).join("") : typeof t === "string" ? t : t ? plain(t.text) : "";
const richText = (blocks) => (blocks || []).map((b) => b.items ? b.items.map((i) => (i.label || "•") + " " + richText(i.blocks)).join("\n") :
  b.blocks ? "> " + richText(b.blocks) : plain(b.text)).join("\n");
const textOf = (m) => m.text || (m.rich_message && richText(m.rich_message.blocks)) ||
  (m.forum_topic_created && "opened the topic “" + m.forum_topic_created.name + "”") || fileOf(m) + (m.caption ? " " + m.caption : "");
const pictureOf = (m) => m.photo ? m.photo[Math.min(1, m.photo.length - 1)].file_id : m.sticker && !m.sticker.is_video && !m.sticker.is_animated
  ? m.sticker.file_id : [m.document, m.video, m.animation].filter((f) => f && f.thumbnail).map((f) => f.thumbnail.file_id)[0];
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

let running = false, again = false;
async function refresh() {
  if (running) { again = true; return; }
  running = true;
  try {
    do {
      again = false;
      const all = await control("GET", "state");
      state.bot = all.bots[0] || null;
      state.chats = state.bot ? state.bot.chats : [];
      state.faults = all.faults;
      if (!state.chats.some((c) => c.id === state.chosen)) state.chosen = state.chats.length ? state.chats[0].id : 0;
      const messages = state.chosen ? await control("GET", "messages?chat_id=" + state.chosen) : [];
      draw(messages);
    } while (again);
  } catch (error) {
    complain("The simulator does not answer: " + error.message);
  } finally {
    running = false;
  }
}

const effects = {
  conflict: "A stranger polls with this bot's token.",
  bad_gateway: "Telegram is down.",
  reset: "The network is cut.",
  flood: "Telegram refuses messages: too many.",
  reset_after: "Messages arrive, but the bot is not told.",
  unauthorized: "The token is revoked.",
};

function draw(messages) {
  drawBot();
  const active = state.faults.map((f) => f.label || f.kind);
  for (const button of document.querySelectorAll("[data-preset]")) {
    button.setAttribute("aria-pressed", active.includes(button.dataset.preset));
  }
  $("trouble").classList.toggle("on", active.length > 0);
  complain(active.map((name) => effects[name] || "Fault: " + name + ".").join(" "));
  drawCustomers();

  const chat = state.chats.find((c) => c.id === state.chosen);
  $("who").hidden = $("write").hidden = !chat;
  $("start").hidden = !chat || messages.length > 0;
  if (chat && messages.length === 0) $("write").hidden = true;
  $("typing").hidden = !chat || !chat.typing;
  if (chat) {
    $("chat-name").textContent = nameOf(chat);
    $("block").textContent = chat.blocked ? "Unblock the bot" : "Block the bot";
  }
  drawLog(messages);
  $("log").dataset.empty = chat ? "No messages yet." : "Add a customer to begin.";
}

function drawBot() {
  const line = $("bot");
  if (!state.bot) { line.textContent = "no bot"; return; }
  const polls = state.bot.polls;
  const quiet = Date.now() / 1000 - state.bot.last_poll;
  const live = polls.waiting > 0 || quiet < 3;
  line.title = "@" + state.bot.username;
  line.className = live ? "live" : "silent";
  line.textContent = "The bot" + (live ? " is listening" :
    state.bot.last_poll ? " has not asked for messages since " + clock(state.bot.last_poll) : " has not come yet") +
    (polls.pending ? ", " + polls.pending + " waiting for it" : "");
}

function drawCustomers() {
  const list = $("customers");
  list.replaceChildren(...state.chats.map((chat) => {
    const last = chat.last, fresh = last && (state.seen[chat.id] || 0) < last.message_id;
    const name = nameOf(chat);
    const button = element("button", {
      type: "button", "aria-current": chat.id === state.chosen ? "true" : null,
      class: fresh && chat.id !== state.chosen ? "new" : null, onclick: () => choose(chat.id),
    },
      element("span", { class: "face c" + Math.abs(chat.id % 7), "aria-hidden": "true" }, [...name][0] || "?"),
      element("span", { class: "name" }, name),
      element("span", { class: "last" }, chat.blocked ? "has blocked the bot" : last ? textOf(last) : "has not written yet"));
    return element("li", {}, button);
  }));
}

function drawLog(messages) {
  const log = $("log");
  const shown = JSON.stringify([state.chosen, messages]);
  if (shown === state.shown) return;
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80 || !state.shown.startsWith("[" + state.chosen + ",");
  state.shown = shown;
  log.replaceChildren(...messages.map((m) => {
    const mine = !m.from.is_bot;
    const foot = element("div", { class: "foot" });
    if (mine && !m.forum_topic_created) foot.append(element("button", { type: "button", onclick: () => setMode("edit", m) }, "edit"));
    foot.append(element("button", { type: "button", title: "Select a part of the text first to reply to that",
      onclick: (e) => setMode("reply", m, chosenIn(e.target.closest("li"))) }, "reply"));
    if (!mine) for (const emoji of ["👍", "❤", "🔥"]) {
      const now = m.reactions || [];
      foot.append(element("button", { type: "button", class: "react", "aria-pressed": now.includes(emoji), onclick: () => act("POST", "reactions",
        { chat_id: state.chosen, message_id: m.message_id, emoji: now.includes(emoji) ? now.filter((e) => e !== emoji) : [...now, emoji] }) }, emoji));
    }
    const topic = m.message_thread_id && messages.find((t) => t.message_id === m.message_thread_id && t.forum_topic_created);
    foot.append((m.edit_date ? "edited " : "") + clock(m.date));
    const item = element("li", { class: mine ? "mine" : null });
    if (topic && topic !== m) item.append(element("div", { class: "topic" }, "# " + topic.forum_topic_created.name));
    if (m.reply_to_message && m.reply_to_message !== topic && !m.reply_to_message.forum_topic_created) {
      item.append(element("div", { class: "quote" }, m.quote ? "“" + m.quote.text + "”" : textOf(m.reply_to_message)));
    }
    const picture = pictureOf(m);
    if (picture) item.append(element("img", { src: "/control/file?file_id=" + encodeURIComponent(picture), alt: "", loading: "lazy" }));
    item.append(element("div", { class: "body", dir: "auto" }, textOf(m)));
    const rows = (m.reply_markup && m.reply_markup.inline_keyboard) || [];
    if (rows.length) {
      item.append(element("div", { class: "keys" }, ...rows.flat().map((key) => element("button", {
        type: "button",
        onclick: () => act("POST", "presses", { chat_id: state.chosen, message_id: m.message_id, data: key.callback_data || "" }),
      }, key.text))));
    }
    item.append(foot);
    return item;
  }));
  $("topics").replaceChildren(...messages.filter((m) => m.forum_topic_created).map((m) => element("option", { value: m.forum_topic_created.name })));
  state.topics = messages.filter((m) => m.forum_topic_created);
  if (messages.length) state.seen[state.chosen] = messages[messages.length - 1].message_id;
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function complain(text) {
  $("alarm").textContent = text;
  $("alarm").hidden = !text;
}

async function act(method, path, body) {
  try {
    await control(method, path, body);
    await refresh();
    return true;
  } catch (error) {
    complain(error.message);
    return false;
  }
}

function choose(id) {
  state.chosen = id;
  setMode(null);
  refresh();
}

// chosenIn is what is selected of a message's text.
function chosenIn(item) {
  const chosen = getSelection(), body = item.querySelector(".body");
  return chosen.rangeCount && body.contains(chosen.anchorNode) && body.contains(chosen.focusNode) ? chosen.toString() : "";
}

function setMode(kind, message, quote) {
  state.mode = kind ? { kind, message, quote } : null;
  $("mode").hidden = !kind;
  if (kind === "edit") $("text").value = message.text || message.caption || textOf(message);
  if (kind) {
    $("mode-text").textContent = (kind === "edit" ? "Edit: " : quote ? "Reply to the part: " : "Reply to: ") + (quote || textOf(message)).slice(0, 60);
    $("text").focus();
  }
}

$("write").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text").value, mode = state.mode;
  const files = [...$("file").files];
  if (files.length) {
    const sent = [];
    for (const file of files) sent.push(await asSent(file, $("kind").value));
    const body = { ...whereTo(mode), text };
    if (await act("POST", "messages", sent.length > 1 ? { ...body, files: sent } : { ...body, file: sent[0] })) {
      $("text").value = $("file").value = "";
      showFiles();
      setMode(null);
    }
    return;
  }
  if (!text.trim()) return;
  const done = mode && mode.kind === "edit"
    ? await act("POST", "edits", { chat_id: state.chosen, message_id: mode.message.message_id, text })
    : await act("POST", "messages", { ...whereTo(mode), ...($("rich").checked ? { rich_message: asRich(text) } : { text }) });
  if (done) {
    $("text").value = "";
    setMode(null);
  }
});

// whereTo is the chat, what is replied to, and the topic: one that is there, or a new one.
function whereTo(mode) {
  const name = $("topic").value.trim(), known = (state.topics || []).find((m) => m.forum_topic_created.name === name);
  return {
    chat_id: state.chosen, reply_to: mode ? mode.message.message_id : 0, quote: (mode && mode.quote) || "",
    ...(known ? { message_thread_id: known.message_id } : name ? { topic: name } : {}),
  };
}

// asRich makes a rich message of lines: # for a heading, - for an item of a list, > for a quote.
function asRich(text) {
  const blocks = [];
  for (const line of text.split("\n").filter((l) => l.trim())) {
    const paragraph = (t) => ({ type: "paragraph", text: t });
    if (line.startsWith("# ")) blocks.push({ type: "heading", text: line.slice(2), size: 1 });
    else if (line.startsWith("> ")) blocks.push({ type: "blockquote", blocks: [paragraph(line.slice(2))] });
    else if (line.startsWith("- ")) {
      const item = { label: "•", blocks: [paragraph(line.slice(2))] }, last = blocks[blocks.length - 1];
      if (last && last.type === "list") last.items.push(item);
      else blocks.push({ type: "list", items: [item] });
    } else blocks.push(paragraph(line));
  }
  return { blocks };
}
// A press of a button leaves what is selected.
document.addEventListener("mousedown", (event) => { if (event.target.closest(".foot button")) event.preventDefault(); });
$("more-button").addEventListener("click", () => {
  $("more").hidden = !$("more").hidden;
  $("more-button").setAttribute("aria-expanded", !$("more").hidden);
});

// asSent is a file as the control API takes it.
async function asSent(file, kind) {
  if (kind === "auto") {
    kind = /^image\/(jpeg|png|gif|webp)$/.test(file.type) ? "photo" : file.type.startsWith("video/") ? "video" :
      file.type.startsWith("audio/") ? "audio" : "document";
  }
  const url = await new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(file);
  });
  return { kind, name: file.name, media_type: file.type, data: url.slice(url.indexOf(",") + 1) };
}

function showFiles() {
  const files = [...$("file").files];
  $("files").hidden = !files.length;
  $("files-text").textContent = files.map((f) => f.name).join(", ");
}
$("file").addEventListener("change", showFiles);
$("attach").addEventListener("click", () => $("file").click());
$("files-end").addEventListener("click", () => { $("file").value = ""; showFiles(); });

$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("write").requestSubmit();
  }
  if (event.key === "Escape") { setMode(null); $("text").value = ""; }
});

$("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const first_name = $("name").value.trim();
  if (!first_name) return;
  const chat_id = Math.max(1000, ...state.chats.map((c) => c.id)) + 1;
  if (await act("POST", "customers", { chat_id, first_name, language_code: navigator.language.slice(0, 2) })) {
    $("name").value = "";
    choose(chat_id);
  }
});

$("start").addEventListener("click", () => act("POST", "messages", { chat_id: state.chosen, text: "/start" }));
$("mode-end").addEventListener("click", () => { setMode(null); $("text").value = ""; });
$("block").addEventListener("click", () => {
  const chat = state.chats.find((c) => c.id === state.chosen);
  act("POST", chat.blocked ? "unblock" : "block", { chat_id: chat.id });
});
for (const button of document.querySelectorAll("[data-preset]")) {
  button.addEventListener("click", () => {
    const on = state.faults.filter((f) => f.label === button.dataset.preset);
    if (on.length) on.forEach((f) => act("DELETE", "faults?id=" + f.id));
    else act("POST", "faults", { preset: button.dataset.preset });
  });
}

refresh();
const events = new EventSource("/control/events");
events.addEventListener("change", refresh);
events.addEventListener("error", () => {
  complain("The simulator has ended, or cannot be reached. This page comes back by itself.");
  if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 2000);
});
setInterval(() => { if (state.bot) drawBot(); }, 5000); // "is listening" goes stale without an event
