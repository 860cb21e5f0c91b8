// Pictures of the conversation, large. Without this script each of them is a link.
(() => {
  "use strict";
  const thread = document.querySelector(".thread");
  if (!thread || !window.HTMLDialogElement) return;
  let dialog, image, name, count, shown = null;

  const all = () => [...thread.querySelectorAll("a[data-view]")];

  function element(tag, attributes, ...children) {
    const e = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
    e.append(...children);
    return e;
  }

  function build() {
    image = element("img", { alt: "" });
    name = element("a", { class: "name" });
    count = element("span", { class: "count" });
    const button = (words, sign, work) => {
      const b = element("button", { type: "button", "aria-label": words }, sign);
      b.addEventListener("click", work);
      return b;
    };
    dialog = element("dialog", { class: "viewer", "aria-label": "Picture" },
      element("div", { class: "top" }, name, count, button("Close", "✕", () => dialog.close())), image,
      button("Earlier picture", "‹", () => go(-1)), button("Later picture", "›", () => go(1)));
    dialog.addEventListener("keydown", (e) => {
      if (e.key === "ArrowLeft") go(-1);
      else if (e.key === "ArrowRight") go(1);
      else return;
      e.preventDefault();
    });
    dialog.addEventListener("click", (e) => { if (e.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => {
      image.removeAttribute("src");
      // The page may have drawn the message anew meanwhile.
      all().find((a) => a.getAttribute("href") === shown)?.focus({ preventScroll: true });
    });
    document.body.append(dialog);
  }

  function show(link) {
    const links = all(), at = links.indexOf(link);
    shown = link.getAttribute("href");
    image.src = shown;
    image.alt = link.querySelector("img")?.alt || link.querySelector(".file")?.textContent || "";
    name.textContent = image.alt;
    name.href = shown;
    count.textContent = links.length > 1 ? at + 1 + " of " + links.length : "";
  }

  function go(step) {
    const links = all(), at = links.findIndex((a) => a.getAttribute("href") === shown);
    const next = links[at + step];
    if (next) show(next);
  }

  thread.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-view]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    if (!dialog) build();
    show(link);
    dialog.showModal();
  });
})();
