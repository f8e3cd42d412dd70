// All keys in one table: the key, its action, and its description in the help.

const name = (key) => ({ ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space" })[key] ?? (key.length === 1 ? key.toUpperCase() : key);

const MOVES = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown", " "]);

// whether the focused element uses the key itself: a text field any key, a slider or checkbox those that change it
function takes(target, key) {
  const field = target.closest?.("input, select, textarea, dialog");
  return Boolean(field) && (!field.matches("input[type=range], input[type=checkbox]") || MOVES.has(key));
}

export class Keys {
  #rows = [];

  // `pressed` is a list of names of KeyboardEvent.key, with the prefix "Ctrl+", "Alt+" or "Shift+"
  add(pressed, words, run) {
    this.#rows.push({ pressed, words, run });
    return this;
  }

  listen(target, when, act) {
    target.addEventListener("keydown", (event) => {
      if (takes(event.target, event.key) || !when()) return;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
      const plain = `${control}${event.altKey ? "Alt+" : ""}${key}`;
      const shifted = `${control}${event.altKey ? "Alt+" : ""}Shift+${key}`;
      const row = this.#rows.find(({ pressed }) => pressed.includes(event.shiftKey ? shifted : plain)) ??
        // for signs only the sign itself counts, however a keyboard layout produces it
        (event.shiftKey && key.length === 1 && !/[a-z]/.test(key) && this.#rows.find(({ pressed }) => pressed.includes(plain)));
      if (!row) return;
      // a focused button uses Enter and Space itself
      if (event.target.closest?.("button") && (key === "Enter" || key === " ")) return;
      event.preventDefault();
      act(() => row.run(event));
    });
  }

  describe(list) {
    list.replaceChildren(...this.#rows.filter(({ words }) => words).map(({ pressed, words }) => {
      const row = document.createElement("div");
      const text = document.createElement("span");
      text.textContent = words;
      const keys = document.createElement("span");
      const shown = pressed.slice(0, 4).flatMap((combination) => {
        const cap = document.createElement("kbd");
        cap.textContent = combination.split(/\+(?=.)/).map(name).join("+");
        return [cap, " "];
      });
      keys.append(...shown);
      row.append(text, keys);
      return row;
    }));
  }
}
