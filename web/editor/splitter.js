/** The bar between stage and timeline. */
import { t } from "../words.js";
import { element, follow } from "./dom.js";

/** Pixels that the stage and the timeline keep at least. */
const LEAST_SCENE = 96;
const LEAST_TIMELINE = 96;
/** Pixels that an arrow key moves it. */
const STEP = 16;

/**
 * A bar that gives the timeline more room, or less.
 * @param {HTMLElement} main holds both
 * @param {HTMLElement} timeline
 */
export function splitter(main, timeline) {
  const set = (height) => {
    const most = main.clientHeight - LEAST_SCENE;
    const pixels = Math.max(LEAST_TIMELINE, Math.min(height, most));
    main.style.setProperty("--sky-timeline", `${pixels}px`);
    bar.setAttribute("aria-valuenow", pixels);
    bar.setAttribute("aria-valuemax", most);
  };
  const bar = element("div", "splitter", {
    tabIndex: 0,
    role: "separator",
    "aria-orientation": "horizontal",
    "aria-label": t("editor.splitter"),
    "aria-valuemin": LEAST_TIMELINE,
    title: t("editor.splitter"),
    focus: () => set(timeline.offsetHeight), // says how high it is now
    keydown: (event) => {
      const step = { ArrowUp: STEP, ArrowDown: -STEP }[event.key];
      if (!step) return;
      event.preventDefault();
      set(timeline.offsetHeight + step);
    },
    pointerdown: (event) => {
      if (event.button !== 0) return;
      event.stopPropagation();
      const zoom = main.getBoundingClientRect().height / main.clientHeight;
      const before = timeline.offsetHeight;
      const move = (now) => set(before + (event.clientY - now.clientY) / zoom);
      follow(event, { move, end: move, cancel: () => set(before) });
    },
  });
  return bar;
}
