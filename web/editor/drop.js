/** Files that are dragged onto the editor. */
import { t } from "../words.js";
import { element, icon } from "./dom.js";

/**
 * Takes files that are dropped: on the stage they go to that point, on the timeline to that frame.
 * @param {HTMLElement} editor
 * @param {{session: import("./session.js").Session, stage: import("./stage.js").Stage,
 *   timeline: import("./timeline.js").Timeline, importer: import("./importer.js").Importer,
 *   notices: import("./notices.js").Notices}} parts
 * @returns {HTMLElement} what covers the editor while files are over it
 */
export function dropArea(editor, { session, stage, timeline, importer, notices }) {
  const root = element(
    "div",
    "drop",
    { hidden: true },
    icon("upload"),
    element("strong", "", { textContent: t("editor.drop") }),
  );
  const dragged = (event) => {
    event.preventDefault();
    event.stopPropagation();
    root.hidden = !session.editable;
    event.dataTransfer.dropEffect = session.editable ? "copy" : "none";
  };
  editor.addEventListener("dragenter", dragged);
  editor.addEventListener("dragover", dragged);
  editor.addEventListener("dragleave", (event) => {
    event.stopPropagation();
    if (!editor.contains(event.relatedTarget)) root.hidden = true;
  });
  editor.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    root.hidden = true;
    const files = [...event.dataTransfer.files];
    if (!files.length) return notices.say(t("editor.no_files"), "warning");
    const onStage = stage.root.contains(event.target);
    const onTimeline = timeline.root.contains(event.target);
    const frame = onTimeline ? Math.max(0, timeline.frameAt(event)) : session.playhead;
    importer.addFiles(files, { frame, point: onStage ? stage.pointOf(event) : null });
  });
  return root;
}
