// Things that widgets cannot do: names complete after "<" in the prompt, an image that is pasted
// anywhere on the page is uploaded as a photo, and captions with a verdict get its colour.
() => {
  const PROMPT = "#compose-prompt textarea", NAMES = "#compose-people button", MOST = 8;
  const list = document.createElement("ul");
  list.id = "name-list";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "People");
  list.hidden = true;
  document.body.append(list);
  let chosen = 0;

  const begun = (box) => {
    const before = box.value.slice(0, box.selectionStart);
    const found = /<([^<>\n]*)$/.exec(before);
    return found && { at: found.index, part: found[1].toLowerCase() };
  };

  const hide = (box) => {
    list.hidden = true;
    box.removeAttribute("aria-activedescendant");
  };

  const mark = (box, index) => {
    const options = [...list.children];
    chosen = (index + options.length) % options.length;
    options.forEach((option, at) => option.setAttribute("aria-selected", at === chosen));
    box.setAttribute("aria-activedescendant", options[chosen].id);
    options[chosen].scrollIntoView({ block: "nearest" });
  };

  const put = (box, value, caret) => {
    // Through the browser's own setter, so that the widget notices.
    const proto = HTMLTextAreaElement.prototype;
    Object.getOwnPropertyDescriptor(proto, "value").set.call(box, value);
    box.dispatchEvent(new Event("input", { bubbles: true }));
    box.setSelectionRange(caret, caret);
  };

  const take = (box, name) => {
    const { at } = begun(box);
    const rest = box.value.slice(box.selectionStart).replace(/^>/, "");
    const done = box.value.slice(0, at) + `<${name}>`;
    put(box, done + rest, done.length);
    hide(box);
    box.focus();
  };

  const show = (box) => {
    const { part } = begun(box);
    const names = [...document.querySelectorAll(NAMES)].map((chip) => chip.textContent.trim());
    const starting = names.filter((name) => name.toLowerCase().startsWith(part));
    const within = names.filter(
      (name) => name.toLowerCase().includes(part) && !starting.includes(name)
    );
    const fitting = [...starting, ...within].slice(0, MOST);
    if (!fitting.length) return hide(box);
    list.replaceChildren(
      ...fitting.map((name, index) => {
        const option = document.createElement("li");
        option.id = `name-${index}`;
        option.setAttribute("role", "option");
        option.dir = "auto";
        option.textContent = name;
        option.addEventListener("mousedown", (event) => {
          event.preventDefault();
          take(box, name);
        });
        return option;
      })
    );
    const { left, bottom } = box.getBoundingClientRect();
    Object.assign(list.style, { left: `${left}px`, top: `${bottom + 2}px` });
    list.hidden = false;
    box.setAttribute("aria-autocomplete", "list");
    box.setAttribute("aria-controls", list.id);
    mark(box, 0);
  };

  const KEYS = {
    ArrowDown: (box) => mark(box, chosen + 1),
    ArrowUp: (box) => mark(box, chosen - 1),
    Enter: (box) => take(box, list.children[chosen].textContent),
    Tab: (box) => take(box, list.children[chosen].textContent),
    Escape: (box) => hide(box),
  };

  const inPrompt = (event) => event.target instanceof Element && event.target.matches(PROMPT);
  document.addEventListener("input", (event) => {
    if (inPrompt(event)) begun(event.target) ? show(event.target) : hide(event.target);
  });
  document.addEventListener("focusout", (event) => {
    if (inPrompt(event)) hide(event.target);
  });
  document.addEventListener(
    "keydown",
    (event) => {
      if (list.hidden || !inPrompt(event) || !(event.key in KEYS)) return;
      event.preventDefault();
      event.stopPropagation();
      KEYS[event.key](event.target);
    },
    true
  );

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    const photos = files.filter((file) => file.type.startsWith("image/"));
    const drop = document.querySelector("#faces-drop input[type=file]");
    if (!photos.length || !drop) return;
    const carried = new DataTransfer();
    photos.forEach((photo) => carried.items.add(photo));
    drop.files = carried.files;
    drop.dispatchEvent(new Event("change", { bubbles: true }));
  });

  // Of `image_scores.SYMBOLS`: what captions with a verdict begin with.
  const VERDICTS = { "✓": "right", "⇄": "swapped", "◐": "blended", "⧉": "twice", "✗": "missing" };
  let due = 0;

  const colour = () => {
    due = 0;
    for (const caption of document.querySelectorAll(".cards .caption-label")) {
      const kind = VERDICTS[caption.textContent.trim()[0]] ?? "";
      if ((caption.dataset.verdict ?? "") !== kind) caption.dataset.verdict = kind;
    }
  };

  new MutationObserver(() => {
    due ||= requestAnimationFrame(colour);
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
}
