// Keeps a page current: at each tick the page is fetched anew, and what has changed in it is put in place.
"use strict";
(() => {
  const RETRY = 5000;
  const pause = document.getElementById("pause");
  const contact = document.getElementById("contact");
  const held = document.getElementById("held");
  let paused = false;
  let fetching = false;

  const named = (region) => `.scroll[aria-label="${CSS.escape(region.getAttribute("aria-label") || "")}"]`;

  // What is marked, or typed into, stays as it is until it is left.
  const isInUse = (element) => {
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && selection.rangeCount && element.contains(selection.anchorNode)) return true;
    const focused = document.activeElement;
    return element.contains(focused) && focused.matches("input, select, textarea, button, summary");
  };

  // Whoever is on a link, or in a table that is scrolled, is so afterwards.
  const renewed = (old, now) => {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const scrolled = [...old.querySelectorAll(".scroll")].map((region) => [named(region), region.scrollLeft]);
    const selector = focused && (focused.matches(".scroll") ? named(focused) : focused.matches("a[href]") ? `a[href="${CSS.escape(focused.getAttribute("href"))}"]` : null);
    old.replaceChildren(...document.adoptNode(now).childNodes);
    for (const [region, left] of scrolled) {
      const found = left ? old.querySelector(region) : null;
      if (found) found.scrollLeft = left;
    }
    const found = selector ? old.querySelector(selector) : null;
    if (found) found.focus({ preventScroll: true });
  };

  const renew = async () => {
    if (paused || fetching || document.hidden) return;
    fetching = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.title = fresh.title;
      let isHeld = false;
      for (const old of document.querySelectorAll("[data-live]")) {
        const now = fresh.getElementById(old.id);
        if (!now || now.innerHTML === old.innerHTML) continue;
        if (isInUse(old)) isHeld = true;
        else renewed(old, now);
      }
      held.hidden = !isHeld;
      contact.hidden = true;
    } catch {
      contact.hidden = false;
    } finally {
      fetching = false;
    }
  };

  // A browser opens a stream that was cut anew by itself, but not one that was refused: then it is asked again, and the page looks by itself.
  const listen = () => {
    const events = new EventSource("/events");
    events.addEventListener("tick", renew);
    events.addEventListener("error", () => {
      renew();
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, RETRY);
    });
  };

  if (document.body.dataset.still !== undefined) return;
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) renew();
  });
  document.addEventListener("visibilitychange", renew);
  listen();
})();
