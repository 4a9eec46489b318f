// Everything that can be asked of a document and done to it, by name: the vectors and the random edits name it.

export * from "../../web/editor/clipboard.js";
export * from "../../web/editor/document.js";
export * from "../../web/editor/edit_canvas.js";
export * from "../../web/editor/edit_items.js";
export * from "../../web/editor/edit_space.js";
export * from "../../web/editor/edit_time.js";
export * from "../../web/editor/schema.js";
