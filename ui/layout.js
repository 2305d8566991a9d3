// <people-layout>: a canvas of boxes that say where the people of a prompt are. They are drawn, moved
// and resized by mouse, finger or keyboard. What is to be shown comes as the event "people-layout" of
// the document; what was changed goes into hidden fields of the page.
() => {
  const FIELD = "#compose-boxes :is(textarea, input)";
  const MODE = '#compose-regions input[value="boxes"]';
  const PROMPT = "#compose-prompt textarea";
  const STEP = 0.02, DRAG = 4; // of a key, as a share; pixels from which on a press is a drag
  // White letters are readable on each; borders differ, too.
  const COLOURS = ["#1d4ed8", "#b45309", "#047857", "#be185d", "#6d28d9", "#0e7490", "#854d0e", "#475569"];
  const EMPTY =
    "As soon as the prompt names two or more people, they appear here: write names in < and >, or those of celebrities.";
  const HELP =
    "Drag a box to move it, its corners to resize it; press a name and drag to draw that box anew; " +
    "double-click puts it back. By keyboard: arrow keys move, with Shift they resize, Delete puts it back.";
  const STRENGTHS =
    "Identity strength of each: less is nearer to the scene of the prompt, more is nearer to the person. It is written into the prompt, as in <ada:0.7>.";
  // The page puts the element away with its tab; this stays.
  const state = { people: [], aspect: 1.5, boxes: {}, mode: "automatic", chosen: "", armed: "", received: "" };
  const sent = []; // texts on their way through the hidden field
  const shown = new Set();

  const parse = (text, other) => {
    try {
      return JSON.parse(text) ?? other;
    } catch {
      return other;
    }
  };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const drawn = (name) => state.mode === "boxes" && state.boxes[name];
  const boxOf = (person) => drawn(person.name) || person.box;
  const percent = (share) => `${Math.round(share * 100)}`;
  const make = (tag, className, text = "") => {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  };

  const write = (field, text) => {
    // Through the browser's own setter, so that the widget notices.
    const proto = Object.getPrototypeOf(field);
    Object.getOwnPropertyDescriptor(proto, "value").set.call(field, text);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const send = () => {
    const named = state.people.map(({ name }) => name).filter((name) => state.boxes[name]);
    const rounded = (box) => box.map((share) => Math.round(share * 1000) / 1000);
    const boxes = Object.fromEntries(named.map((name) => [name, rounded(state.boxes[name])]));
    const text = named.length ? JSON.stringify(boxes) : "";
    const field = document.querySelector(FIELD);
    if (!field || field.value === text) return;
    sent.push(text);
    clearTimeout(send.late);
    send.late = setTimeout(() => sent.splice(0), 3000); // what has not come back by now will not
    write(field, text);
  };

  // Strengths are in the prompt, as in <ada:0.7>.
  const strengthen = (name, strength) => {
    const field = document.querySelector(PROMPT);
    const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    const written = new RegExp(`<\\s*(${escaped})\\s*(?::\\s*[\\d.]+\\s*)?>`, "gi");
    const put = (_, as) => (strength === 1 ? `<${as}>` : `<${as}:${strength}>`);
    if (field) write(field, field.value.replace(written, put));
  };

  const put = (name, box) => {
    if (state.mode !== "boxes") {
      state.boxes = {};
      state.mode = "boxes";
      document.querySelector(MODE)?.click();
    }
    if (box) state.boxes[name] = box;
    else delete state.boxes[name];
    send();
    show();
  };

  const show = () => shown.forEach((element) => element.show());

  document.addEventListener("people-layout", ({ detail: [plan, boxes, mode] }) => {
    const { people, aspect } = parse(plan, {});
    if (Array.isArray(people)) Object.assign(state, { people, aspect });
    const text = boxes ?? "";
    const echo = sent.indexOf(text);
    if (echo >= 0) sent.splice(0, echo + 1);
    else if (!sent.length || text !== state.received) {
      // Not what was there before the canvas sent anything, so it is from an image or an upload.
      state.boxes = parse(text, {});
      sent.splice(0);
    }
    state.received = text;
    state.mode = mode;
    if (!state.people.some(({ name }) => name === state.armed)) state.armed = "";
    show();
  });

  class PeopleLayout extends HTMLElement {
    connectedCallback() {
      this.least = Number(this.dataset.least);
      this.empty = make("p", "layout-empty", EMPTY);
      this.names = make("div", "layout-names");
      this.canvas = make("div", "layout-canvas");
      this.said = make("p", "layout-said");
      this.said.setAttribute("aria-live", "polite");
      const help = make("p", "layout-help", HELP);
      help.id = "compose-layout-help";
      this.strengths = make("div", "layout-strengths");
      const parts = [this.names, this.canvas, this.said, help, this.strengths];
      this.replaceChildren(this.empty, ...parts);
      for (const type of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
        this.canvas.addEventListener(type, (event) => this[type](event));
      this.canvas.addEventListener("dblclick", (event) => this.reset(event));
      this.canvas.addEventListener("keydown", (event) => this.keydown(event));
      this.canvas.addEventListener("focusin", (event) => this.choose(event.target.dataset.name));
      shown.add(this);
      this.show();
    }

    disconnectedCallback() {
      shown.delete(this);
    }

    // --- what is seen ---------------------------------------------------------------------------

    show() {
      const some = state.people.length > 0, off = state.mode === "off";
      this.empty.hidden = some || off;
      for (const part of [...this.children].slice(1)) part.hidden = off || !some;
      this.strengths.hidden = !state.people.some(({ strength }) => strength != null);
      this.canvas.style.setProperty("--aspect", state.aspect);
      const names = state.people.map(({ name }) => name);
      if (JSON.stringify(names) !== this.built) this.build(names);
      state.people.forEach((person, index) => this.place(person, index));
    }

    build(names) {
      this.built = JSON.stringify(names);
      this.canvas.replaceChildren(...names.map((name, index) => this.box(name, index)));
      const again = make("button", "layout-reset", "Reset");
      again.type = "button";
      again.title = "Put all boxes back";
      again.addEventListener("click", () => {
        state.boxes = {};
        state.armed = "";
        send();
        show();
      });
      this.names.replaceChildren(...names.map((name, index) => this.name(name, index)), again);
      const rows = names.map((name, index) => this.strength(name, index));
      this.strengths.replaceChildren(...rows, make("p", "layout-help", STRENGTHS));
    }

    strength(name, index) {
      const row = make("label", "layout-strength"), slider = make("input", "");
      row.style.setProperty("--colour", COLOURS[index % COLOURS.length]);
      const text = make("span", "");
      text.append(make("i", "", `${index + 1}`), make("bdi", "", name));
      slider.setAttribute("aria-label", `Strength of ${name}`);
      Object.assign(slider, { type: "range", min: 0, max: 1.5, step: 0.05 });
      const number = make("output", "");
      slider.addEventListener("input", () => {
        this.sliding = true;
        number.textContent = slider.value;
      });
      slider.addEventListener("change", () => {
        this.sliding = false;
        strengthen(name, Number(slider.value));
      });
      row.append(text, slider, number);
      return row;
    }

    name(name, index) {
      const button = make("button", "layout-name");
      button.type = "button";
      button.style.setProperty("--colour", COLOURS[index % COLOURS.length]);
      button.title = "Draw this box anew";
      const text = make("bdi", "", name);
      button.append(make("i", "", `${index + 1}`), text);
      button.addEventListener("click", () => {
        state.armed = state.armed === name ? "" : name;
        state.chosen = name;
        show();
      });
      return button;
    }

    box(name, index) {
      const box = make("div", `layout-box style-${index % 3}`);
      box.dataset.name = name;
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-describedby", "compose-layout-help");
      box.style.setProperty("--colour", COLOURS[index % COLOURS.length]);
      const label = make("span", "layout-label");
      label.append(make("i", "", `${index + 1}`), make("bdi", "", name));
      box.append(label);
      for (const corner of ["nw", "ne", "sw", "se"]) {
        const handle = make("span", `layout-handle ${corner}`);
        handle.dataset.corner = corner;
        box.append(handle);
      }
      return box;
    }

    place(person, index, box = boxOf(person)) {
      const element = this.canvas.children[index], [left, top, right, bottom] = box;
      const where = { left, top, width: right - left, height: bottom - top };
      for (const [side, share] of Object.entries(where)) element.style[side] = `${share * 100}%`;
      const own = drawn(person.name);
      element.classList.toggle("drawn", Boolean(own));
      element.classList.toggle("chosen", state.chosen === person.name);
      element.setAttribute("aria-label", `${person.name}, ${this.words(box)}`);
      this.names.children[index].setAttribute("aria-pressed", state.armed === person.name);
      this.canvas.classList.toggle("armed", Boolean(state.armed));
      const row = this.strengths.children[index], slider = row.querySelector("input");
      row.hidden = person.strength == null;
      if (this.sliding) return;
      slider.value = person.strength ?? 1;
      row.querySelector("output").textContent = slider.value;
    }

    words([left, top, right, bottom]) {
      const across = `${percent(left)} to ${percent(right)} % from the left`;
      return `${across}, ${percent(top)} to ${percent(bottom)} % from the top`;
    }

    say(name) {
      const person = state.people.find((each) => each.name === name);
      if (person) this.said.textContent = `${name}: ${this.words(boxOf(person))}`;
    }

    choose(name) {
      if (!name) return;
      state.chosen = name;
      show();
      this.say(name);
    }

    // --- pointers -------------------------------------------------------------------------------

    at(event) {
      const { left, top, width, height } = this.canvas.getBoundingClientRect();
      return [
        clamp((event.clientX - left) / width, 0, 1), clamp((event.clientY - top) / height, 0, 1),
      ];
    }

    pointerdown(event) {
      if (event.button || this.drag || !state.people.length) return;
      event.preventDefault();
      const under = event.target.closest(".layout-box"), corner = event.target.dataset.corner;
      const free = state.people.find(({ name }) => !drawn(name)) ?? state.people[0];
      const name = state.armed || under?.dataset.name || state.chosen || free.name;
      const index = state.people.findIndex((person) => person.name === name);
      if (index < 0) return;
      const how = state.armed || !under ? "draw" : corner || "move";
      const from = [...boxOf(state.people[index])];
      this.drag = { how, name, index, from, start: this.at(event), x: event.clientX, y: event.clientY };
      this.canvas.setPointerCapture(event.pointerId);
      this.canvas.children[index].focus({ preventScroll: true });
    }

    pointermove(event) {
      if (!this.drag) return;
      const { x, y, index } = this.drag;
      if (!this.drag.box && Math.hypot(event.clientX - x, event.clientY - y) < DRAG) return;
      this.drag.box = this.dragged(this.at(event));
      this.place(state.people[index], index, this.drag.box);
    }

    pointerup() {
      const drag = this.drag;
      this.drag = null;
      if (!drag?.box) return;
      state.armed = "";
      put(drag.name, drag.box);
      this.say(drag.name);
    }

    pointercancel() {
      this.drag = null;
      this.show();
    }

    dragged([x, y]) {
      const { how, start, from } = this.drag, [left, top, right, bottom] = from;
      const least = this.least;
      if (how === "move") return moved(from, x - start[0], y - start[1]);
      if (how === "draw") {
        const [x0, x1] = span(start[0], x, least), [y0, y1] = span(start[1], y, least);
        return [x0, y0, x1, y1];
      }
      return [
        how.endsWith("w") ? Math.min(x, right - least) : left,
        how.startsWith("n") ? Math.min(y, bottom - least) : top,
        how.endsWith("e") ? Math.max(x, left + least) : right,
        how.startsWith("s") ? Math.max(y, top + least) : bottom,
      ];
    }

    reset(event) {
      // The event's own target is the canvas, which has captured the pointer.
      const under = document.elementFromPoint(event.clientX, event.clientY);
      const name = under?.closest(".layout-box")?.dataset.name;
      if (!name) return;
      put(name, null);
      this.say(name);
    }

    // --- keyboard -------------------------------------------------------------------------------

    keydown(event) {
      const person = state.people.find(({ name }) => name === event.target.dataset.name);
      if (!person || event.ctrlKey || event.metaKey || event.altKey) return;
      const [left, top, right, bottom] = boxOf(person);
      const [x, y] = KEYS[event.key] ?? [0, 0];
      if (event.key === "Delete" || event.key === "Backspace") put(person.name, null);
      else if (!x && !y) return;
      else if (!event.shiftKey) put(person.name, moved(boxOf(person), x, y));
      else {
        const edges = [clamp(right + x, left + this.least, 1), clamp(bottom + y, top + this.least, 1)];
        put(person.name, [left, top, ...edges]);
      }
      event.preventDefault();
      this.say(person.name);
    }
  }

  const KEYS = {
    ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP],
  };

  const moved = ([left, top, right, bottom], x, y) => {
    const dx = clamp(x, -left, 1 - right), dy = clamp(y, -top, 1 - bottom);
    return [left + dx, top + dy, right + dx, bottom + dy];
  };

  // Both ends in order, not too near to one another, inside of the image.
  const span = (a, b, least) => {
    const low = Math.min(Math.min(a, b), 1 - least);
    return [low, Math.max(Math.max(a, b), low + least)];
  };

  customElements.define("people-layout", PeopleLayout);
}
