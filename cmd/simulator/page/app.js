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
const textOf = (m) => m.text || fileOf(m) + (m.caption ? " " + m.caption : "");
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
    if (mine && m.text) foot.append(element("button", { type: "button", onclick: () => setMode("edit", m) }, "edit"));
    if (!mine) foot.append(element("button", { type: "button", onclick: () => setMode("reply", m) }, "reply"));
    foot.append((m.edit_date ? "edited " : "") + clock(m.date));
    const item = element("li", { class: mine ? "mine" : null });
    if (m.reply_to_message) item.append(element("div", { class: "quote" }, textOf(m.reply_to_message)));
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

function setMode(kind, message) {
  state.mode = kind ? { kind, message } : null;
  $("mode").hidden = !kind;
  if (kind === "edit") $("text").value = message.text;
  if (kind) {
    $("mode-text").textContent = (kind === "edit" ? "Edit: " : "Reply to: ") + textOf(message).slice(0, 60);
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
    const body = { chat_id: state.chosen, text, reply_to: mode ? mode.message.message_id : 0 };
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
    : await act("POST", "messages", { chat_id: state.chosen, text, reply_to: mode ? mode.message.message_id : 0 });
  if (done) {
    $("text").value = "";
    setMode(null);
  }
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
